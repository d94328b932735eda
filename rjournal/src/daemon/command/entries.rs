//! Room `daemon`: single entries: SNDJRNE puts a user's own in, DSPJRN shows them, DSPDEP says what became of a deposit.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{CommandError, ErrorKind};
use crate::daemon::system::{JournalRuntime, Shared};
use crate::daemon::user::process_user;
use crate::entry::control_entry::{Neighbour, OpenEntry, OpenReason, Policy, SetChange, SetReason};
use crate::entry::record::Format;
use crate::entry::{
    Actor, DepositKey, Draft, EntryView, FileName, HandOver, JournalId, Kind, ObjectId, Payload,
    QualifiedName, Sequence, Timestamp,
};
use crate::journal::{AckClass, Answer, KeyFound, UnknownReason};
use crate::remote::ShipLimit;

/// Most entries shown at once.
const COUNT_MAX: usize = 10_000;
/// Bytes of receivers looked through in one request.
const LOOK_BYTES_MAX: usize = 64 * 1024 * 1024;

/// SNDJRNE.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SendEntry {
    /// The journal.
    pub journal: QualifiedName,
    /// Entry type, two characters.
    pub entry_type: String,
    /// Its data.
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
    /// A file it is about.
    pub file: Option<FileName>,
    /// Makes a retry land at most once.
    pub key: Option<DepositKey>,
    /// How long to wait for the answer, in milliseconds; UNKNOWN afterwards.
    pub wait_ms: u64,
    /// Who sends it: over the control socket, the user at its other end, whatever is said here.
    #[serde(default)]
    pub user: Option<String>,
}

/// What SNDJRNE was answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EntrySent {
    /// The entry.
    pub sequence: Sequence,
    /// How well it is kept; nothing where that is UNKNOWN.
    pub class: Option<AckClass>,
    /// Why it is UNKNOWN.
    pub unknown: Option<UnknownReason>,
    /// Whether it had landed before, under the same key.
    pub again: bool,
    /// The journal it is in, where it landed in an earlier term of the recovery group in another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<QualifiedName>,
}

/// DSPJRN.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DisplayEntries {
    /// The journal.
    pub journal: QualifiedName,
    /// The first entry to look at.
    pub from: Sequence,
    /// The last entry to look at.
    pub to: Option<Sequence>,
    /// How many entries at most.
    pub count: usize,
    /// The last ones rather than the first.
    #[serde(default)]
    pub newest: bool,
    /// Only these codes, as in `"RC"`; all when empty.
    #[serde(default)]
    pub codes: String,
    /// Only this object.
    pub object: Option<ObjectId>,
    /// Only this commit cycle.
    pub cycle: Option<Sequence>,
    /// Only entries deposited at or after this time.
    pub from_time: Option<Timestamp>,
    /// Only entries deposited at or before this time.
    pub to_time: Option<Timestamp>,
    /// Show what is not confirmed (copy) or not answered (local) yet, too.
    #[serde(default)]
    pub unconfirmed: bool,
    /// At most so many bytes of each payload.
    pub payload_bytes: usize,
}

/// One entry for people.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DisplayedEntry {
    /// Number.
    pub sequence: Sequence,
    /// When.
    pub time: Timestamp,
    /// Code and type.
    pub kind: Kind,
    /// Object, if any.
    pub object: Option<ObjectId>,
    /// Record number or count.
    pub count: u64,
    /// Commit cycle, 0 outside one.
    pub cycle: Sequence,
    /// Version of the format.
    pub format: u32,
    /// JOFLAG.
    pub indicator: u8,
    /// Job, user, program, system.
    pub actor: [Option<String>; 4],
    /// Deposit key.
    pub key: Option<DepositKey>,
    /// Whether it is confirmed (copy) or answered (local).
    pub confirmed: bool,
    /// Length of the payload.
    pub payload_length: u64,
    /// The payload's first bytes.
    #[serde(with = "serde_bytes")]
    pub payload: Vec<u8>,
    /// What the payload says, for entries of the journal's own and of files.
    pub meaning: Option<String>,
}

/// What DSPJRN shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entries {
    /// The entries, in order.
    pub entries: Vec<DisplayedEntry>,
    /// Where to go on; nothing when the end was reached.
    pub next: Option<Sequence>,
    /// The oldest entry here.
    pub oldest: Sequence,
    /// The last entry that could be shown.
    pub last: Sequence,
}

/// DSPDEP.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FindDeposit {
    /// The journal.
    pub journal: QualifiedName,
    /// The key.
    pub key: DepositKey,
}

/// What became of a deposit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DepositState {
    /// It is in the journal, and its class is decided.
    Landed,
    /// It is in the journal, its class is not decided yet.
    Waiting,
    /// It is not in the journal: a retry deposits it.
    Absent,
    /// It is too old to tell.
    #[serde(rename = "TOO_OLD")]
    TooOld,
}

/// What DSPDEP found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DepositFound {
    /// What became of it.
    pub state: DepositState,
    /// The entry.
    pub sequence: Option<Sequence>,
    /// How well it is kept, where this opening of the journal still knows.
    pub class: Option<AckClass>,
    /// The journal it is in, where it landed in an earlier term of the recovery group in another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<QualifiedName>,
}

impl Shared {
    pub(super) async fn send_entry(&self, request: SendEntry) -> Result<EntrySent, CommandError> {
        let runtime = self.require_journal(request.journal)?;
        let kind = Kind::user(&request.entry_type)
            .map_err(|error| CommandError::invalid(error.to_string()))?;
        let local = match &runtime {
            JournalRuntime::Local(local) => local,
            JournalRuntime::Copy(_) => {
                let remote = || {
                    let text = format!(
                        "{} is a remote journal; deposit at its source",
                        request.journal
                    );
                    CommandError::refused("CPF7003", text)
                };
                return Err(self.closed_by_group(request.journal).unwrap_or_else(remote));
            }
            JournalRuntime::Opening(_) | JournalRuntime::Broken(_) => {
                let text = format!("journal {} is not open", request.journal);
                return Err(CommandError::refused("CPF7003", text).help("WRKJRNA says why"));
            }
        };
        let object = match &request.file {
            Some(file) => self.catalog(|catalog| catalog.files.get(file).map(|record| record.id)),
            None => Some(ObjectId::NONE),
        };
        let object = object.ok_or_else(|| {
            CommandError::not_found(
                "file",
                request
                    .file
                    .as_ref()
                    .map_or_else(String::new, ToString::to_string),
            )
        })?;
        let actor = local.journal.attributes().actor.then(|| {
            let user = request.user.clone().unwrap_or_else(process_user);
            Actor::new("SNDJRNE", &user, "RJOURNAL", self.name.as_str())
        });
        let draft = Draft {
            object,
            key: request.key,
            actor: actor.as_ref(),
            ..Draft::new(kind, &request.data)
        };
        let ticket =
            crate::daemon::deposit::deposit_unit(&local.journal, &[draft], &*self.clock).await?;
        let journal = ticket.again().journal();
        let journal = journal.and_then(|journal| self.name_in_group(journal));
        let again = ticket.again().is_again();
        let sequence = ticket.sequence();
        let answer = tokio::time::timeout(Duration::from_millis(request.wait_ms), ticket).await;
        let unknown = |why| EntrySent {
            sequence,
            class: None,
            unknown: Some(why),
            again,
            journal,
        };
        match answer {
            Ok(Answer::Landed { class, .. }) => Ok(EntrySent {
                sequence,
                class: Some(class),
                unknown: None,
                again,
                journal,
            }),
            Ok(Answer::Unknown { why, .. }) => Ok(unknown(why)),
            Ok(Answer::Refused { .. }) => Err(CommandError::new(
                ErrorKind::Poisoned,
                "CPF7003",
                "the entry was not journaled: the journal stopped",
            )),
            Err(_) => Ok(unknown(UnknownReason::Deadline)),
        }
    }

    pub(super) fn display_entries(
        &self,
        request: &DisplayEntries,
    ) -> Result<Entries, CommandError> {
        let runtime = self.require_journal(request.journal)?;
        let (reader, written, settled) = match &runtime {
            JournalRuntime::Local(local) => {
                let marks = local.journal.tail().marks();
                (local.journal.reader().clone(), marks.written, marks.settled)
            }
            JournalRuntime::Copy(copy) => {
                let marks = copy.copy.tail().marks();
                (copy.copy.reader().clone(), marks.written, marks.settled)
            }
            JournalRuntime::Opening(opening) => (
                opening.reader.clone(),
                opening.tip.sequence,
                opening.tip.sequence,
            ),
            JournalRuntime::Broken(broken) => {
                return Err(CommandError::new(
                    ErrorKind::Damaged,
                    "RJN1002",
                    broken.reason.clone(),
                ));
            }
        };
        let last = if request.unconfirmed {
            written
        } else {
            settled
        };
        let oldest = reader.oldest().sequence.next();
        let to = request.to.unwrap_or(last).min(last);
        let from = request.from.max(oldest);
        let limit = request.count.clamp(1, COUNT_MAX);
        let mut entries: std::collections::VecDeque<DisplayedEntry> =
            std::collections::VecDeque::new();
        let (mut after, mut looked, mut next) = (from.before(), 0, None);
        'bundles: while after < to {
            let bundles = reader.bundles_after(after, written, 1024 * 1024)?;
            let Some(end) = bundles.last().map(|bundle| bundle.header.last()) else {
                break;
            };
            for bundle in &bundles {
                for view in bundle.entries() {
                    let view = view.map_err(|error| {
                        CommandError::new(ErrorKind::Damaged, "RJN1002", error.to_string())
                    })?;
                    if view.sequence <= after || view.sequence > to || !request.wants(&view) {
                        continue;
                    }
                    if entries.len() == limit {
                        if request.newest {
                            entries.pop_front();
                        } else {
                            next = Some(view.sequence);
                            break 'bundles;
                        }
                    }
                    let mut shown = show(&view, view.sequence <= settled, request.payload_bytes);
                    let of_term = self.meaning_of_term(view.kind, view.payload.bytes());
                    shown.meaning = of_term.or(shown.meaning);
                    entries.push_back(shown);
                }
                looked += bundle.bytes.len();
            }
            after = end;
            if looked > LOOK_BYTES_MAX && !request.newest && after < to {
                next = Some(after.next());
                break;
            }
        }
        Ok(Entries {
            entries: entries.into(),
            next,
            oldest,
            last,
        })
    }

    pub(super) fn find_deposit(&self, request: &FindDeposit) -> Result<DepositFound, CommandError> {
        let JournalRuntime::Local(local) = self.require_journal(request.journal)? else {
            let text = format!(
                "{} is no local journal that is open: deposits are found where they are made",
                request.journal
            );
            return Err(CommandError::refused("RJN4010", text));
        };
        let found = |state, sequence, class| DepositFound {
            state,
            sequence,
            class,
            journal: None,
        };
        Ok(match local.journal.find_key(request.key) {
            KeyFound::New => found(DepositState::Absent, None, None),
            KeyFound::TooOld => found(DepositState::TooOld, None, None),
            KeyFound::Landed {
                sequence,
                journal: Some(journal),
                ..
            } => DepositFound {
                journal: self.name_in_group(journal),
                ..found(DepositState::Landed, Some(sequence), None)
            },
            KeyFound::Landed { sequence, .. } => match local.journal.ticket(sequence).now() {
                Some(Answer::Landed { class, .. }) => {
                    let known = sequence > local.journal.opened_at();
                    found(DepositState::Landed, Some(sequence), known.then_some(class))
                }
                _ => found(DepositState::Waiting, Some(sequence), None),
            },
        })
    }

    /// Name here of a journal of a recovery group.
    fn name_in_group(&self, journal: JournalId) -> Option<QualifiedName> {
        let group = self.groups.of_journal(journal)?;
        group.look(|at| at.group.name_at(self.id, journal))
    }

    /// How far entries of a journal may be read by those who apply them.
    pub(in crate::daemon) fn readable_upto(runtime: &JournalRuntime) -> Sequence {
        runtime
            .source()
            .map_or(Sequence::NONE, |source| match &runtime {
                JournalRuntime::Local(local) => local.journal.tail().marks().settled,
                _ => source.marks(ShipLimit::Confirmed).shippable,
            })
    }
}

impl DisplayEntries {
    fn wants(&self, view: &EntryView<'_>) -> bool {
        (self.codes.is_empty() || self.codes.contains(view.kind.code()))
            && self.object.is_none_or(|object| view.object == object)
            && self.cycle.is_none_or(|cycle| view.cycle == cycle)
            && self.from_time.is_none_or(|time| view.time >= time)
            && self.to_time.is_none_or(|time| view.time <= time)
    }
}

fn show(view: &EntryView<'_>, confirmed: bool, payload_bytes: usize) -> DisplayedEntry {
    let extension = view.extension().unwrap_or_default();
    let text = |field: Option<&str>| field.map(str::to_owned);
    let bytes = view.payload.bytes();
    let payload_length = match view.payload {
        Payload::Present(bytes) => bytes.len() as u64,
        Payload::Omitted { length, .. } => u64::from(length),
    };
    DisplayedEntry {
        sequence: view.sequence,
        time: view.time,
        kind: view.kind,
        object: (!view.object.is_none()).then_some(view.object),
        count: view.count,
        cycle: view.cycle,
        format: view.format,
        indicator: view.indicator,
        actor: [
            text(extension.job),
            text(extension.user),
            text(extension.program),
            text(extension.system),
        ],
        key: extension.key.map(|(key, _)| key),
        confirmed,
        payload_length,
        payload: bytes
            .get(..payload_bytes.min(bytes.len()))
            .unwrap_or_default()
            .to_vec(),
        meaning: meaning(view.kind, bytes),
    }
}

/// What the payload of an entry of the journal's own, or of a file's, says.
fn meaning(kind: Kind, payload: &[u8]) -> Option<String> {
    match kind {
        Kind::OPENED => {
            let entry = OpenEntry::decode(payload).ok()?;
            let closes = entry.term.and_then(|term| term.closed).map(|closed| {
                format!(
                    "; closes term {} after entry {} of journal {}",
                    closed.term, closed.last.sequence, closed.journal
                )
            });
            Some(format!(
                "opened in epoch {} ({}), before it {}{}",
                entry.epoch,
                open_reason(entry.reason),
                entry.epoch_before,
                closes.unwrap_or_default()
            ))
        }
        Kind::HAND_OVER => {
            let entry = HandOver::decode(payload).ok()?;
            Some(format!(
                "term {} is handed over to {}",
                entry.term, entry.to
            ))
        }
        Kind::IN_SYNC_SET => {
            let change = SetChange::decode(payload).ok()?;
            let names = |members: &[crate::entry::control_entry::Member]| {
                members
                    .iter()
                    .map(|member| {
                        format!(
                            "{}:{} at {}",
                            member.rdb, member.journal, member.acknowledged
                        )
                    })
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            let left = if change.left.is_empty() {
                String::new()
            } else {
                format!("; left: {}", names(&change.left))
            };
            Some(format!(
                "in-sync set {{{}}} ({}, policy {}){left}",
                names(&change.members),
                set_reason(change.reason),
                policy(change.policy)
            ))
        }
        Kind::RECEIVER_NEXT => Neighbour::decode(payload)
            .ok()
            .map(|next| format!("next receiver {}", next.name)),
        Kind::RECEIVER_PREVIOUS => {
            let previous = Neighbour::decode(payload).ok()?;
            Some(if previous.receiver.is_none() {
                "first receiver".to_owned()
            } else {
                format!("previous receiver {}", previous.name)
            })
        }
        Kind::FILE_CREATE | Kind::FILE_CHANGE => Format::decode(payload)
            .ok()
            .map(|format| format!("file {}", format.file())),
        _ => None,
    }
}

const fn open_reason(reason: OpenReason) -> &'static str {
    match reason {
        OpenReason::Created => "*CREATED",
        OpenReason::Restarted => "*RESTARTED",
        OpenReason::Adopted => "*ADOPTED",
        OpenReason::Alone => "*ALONE",
        OpenReason::Term => "*TERM",
    }
}

const fn set_reason(reason: SetReason) -> &'static str {
    match reason {
        SetReason::Joined => "*JOINED",
        SetReason::TimedOut => "*TIMEDOUT",
        SetReason::TargetFailed => "*TGTFAILED",
        SetReason::Operator => "*OPERATOR",
        SetReason::OpenedAlone => "*ALONE",
        SetReason::NewTerm => "*NEWTERM",
    }
}

const fn policy(policy: Policy) -> &'static str {
    match policy {
        Policy::Degrade => "*DEGRADE",
        Policy::Block => "*BLOCK",
        Policy::Reject => "*REJECT",
    }
}
