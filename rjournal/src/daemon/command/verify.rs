//! Room `daemon`: VERIFY: reads all receivers of a journal from the medium, every checksum and every link of the chain; or
//! compares them with a partner's, head by head.

use serde::{Deserialize, Serialize};

use super::remote_journal::refused_by;
use super::{CommandError, ErrorKind};
use crate::daemon::system::{JournalRuntime, Shared};
use crate::entry::{ChainHead, Position, QualifiedName, RdbName, Sequence};
use crate::receiver::{ChainReader, Checked};
use crate::remote::{Held, PartnerReply, PartnerRequest, RefusalCode};

/// Heads compared with a partner: one about every so many entries.
const COMPARED: u64 = 1024;
/// Bytes read at once.
const READ_BYTES: usize = 4 * 1024 * 1024;

/// VERIFY.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Verify {
    /// The journal.
    pub journal: QualifiedName,
    /// Compare with this partner rather than read everything here.
    pub partner: Option<RdbName>,
}

/// What VERIFY found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Verified {
    /// The journal.
    pub journal: QualifiedName,
    /// The first entry looked at.
    pub from: Sequence,
    /// The last entry looked at.
    pub to: Sequence,
    /// Receivers read.
    pub receivers: u64,
    /// Bundles read.
    pub bundles: u64,
    /// Entries read.
    pub entries: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Chain head at the last entry.
    pub head: Option<ChainHead>,
    /// With a partner: heads that were compared.
    pub compared: u64,
    /// Whether everything holds.
    pub good: bool,
    /// What does not, and where.
    pub finding: Option<String>,
}

impl Shared {
    pub(super) async fn verify(&self, request: Verify) -> Result<Verified, CommandError> {
        let runtime = self.require_journal(request.journal)?;
        let (reader, upto) = match &runtime {
            JournalRuntime::Local(local) => (
                local.journal.reader().clone(),
                local.journal.tail().marks().written,
            ),
            JournalRuntime::Copy(copy) => {
                (copy.copy.reader().clone(), copy.copy.tail().marks().written)
            }
            JournalRuntime::Opening(opening) => (opening.reader.clone(), opening.tip.sequence),
            JournalRuntime::Broken(broken) => {
                return Err(CommandError::new(
                    ErrorKind::Damaged,
                    "RJN1002",
                    broken.reason.clone(),
                ));
            }
        };
        if let Some(partner) = request.partner {
            self.compare_with(request.journal, partner, &runtime, &reader, upto)
                .await
        } else {
            let journal = request.journal;
            tokio::task::spawn_blocking(move || Ok(read_all(journal, &reader, upto)))
                .await
                .map_err(|error| {
                    CommandError::new(ErrorKind::Internal, "RJN1003", error.to_string())
                })?
        }
    }

    async fn compare_with(
        &self,
        journal: QualifiedName,
        partner: RdbName,
        runtime: &JournalRuntime,
        reader: &ChainReader,
        upto: Sequence,
    ) -> Result<Verified, CommandError> {
        let source = runtime
            .source()
            .ok_or_else(|| CommandError::refused("RJN4010", "the journal is not open"))?;
        let ask = |at| PartnerRequest::Heads {
            journal: source.id(),
            at,
        };
        let held = held_by(partner, self.ask_partner(partner, ask(Vec::new())).await?)?;
        let from = reader.oldest().sequence.max(held.oldest);
        let to = upto.min(held.written);
        let step = (to.entries_since(from) / COMPARED).max(1);
        let mut at: Vec<Sequence> = (from.get()..=to.get())
            .step_by(usize::try_from(step).unwrap_or(1))
            .map(Sequence::new)
            .collect();
        if at.last() != Some(&to) {
            at.push(to);
        }
        let heads = held_by(partner, self.ask_partner(partner, ask(at)).await?)?.heads;
        // The head before the oldest entry is compared, too, but that entry is not here.
        let first = from.next().min(to.max(Sequence::FIRST));
        let mut verified = nothing_yet(journal, first, to);
        let mut good_upto = from;
        for (sequence, theirs) in heads {
            let ours = reader.head_at(sequence)?;
            verified.compared += 1;
            if ours.is_none() || ours != theirs {
                verified.good = false;
                verified.finding = Some(format!(
                    "the histories are equal at entry {good_upto} and different at entry {sequence}: they fork in between"
                ));
                break;
            }
            good_upto = sequence;
            verified.head = ours;
        }
        Ok(verified)
    }
}

/// What a partner says it holds, or why it does not say so.
fn held_by(partner: RdbName, reply: PartnerReply) -> Result<Held, CommandError> {
    match reply {
        PartnerReply::Held(held) => Ok(held),
        PartnerReply::Refused(refusal) if refusal.code == RefusalCode::NoSuchJournal => Err(
            CommandError::new(ErrorKind::NotFound, "RJN4020", refusal.text),
        ),
        PartnerReply::Refused(refusal) => Err(refused_by(partner, &refusal)),
        _ => Err(CommandError::new(
            ErrorKind::Internal,
            "CPF70C5",
            "the partner gave another answer than was asked for",
        )),
    }
}

const fn nothing_yet(journal: QualifiedName, from: Sequence, to: Sequence) -> Verified {
    Verified {
        journal,
        from,
        to,
        receivers: 0,
        bundles: 0,
        entries: 0,
        bytes: 0,
        head: None,
        compared: 0,
        good: true,
        finding: None,
    }
}

/// Reads everything up to an entry: checksums, numbering and the chain through every entry.
fn read_all(journal: QualifiedName, reader: &ChainReader, upto: Sequence) -> Verified {
    let oldest = reader.oldest();
    let mut checked = Checked::from(oldest);
    let mut finding = None;
    while checked.position.sequence < upto && finding.is_none() {
        let read = reader.check(&mut checked, upto, READ_BYTES);
        finding = read.err().map(|error| error.to_string());
    }
    let Position { sequence, head } = checked.position;
    let good = finding.is_none();
    Verified {
        receivers: checked.receivers,
        bundles: checked.bundles,
        entries: checked.entries,
        bytes: checked.bytes,
        head: good.then_some(head),
        good,
        finding,
        ..nothing_yet(
            journal,
            oldest.sequence.next(),
            if good { sequence } else { upto },
        )
    }
}
