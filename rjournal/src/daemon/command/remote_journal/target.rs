//! Room `daemon`: remote journals, on the target: partners ask for one to be made, and what is held here. Must not know why.

use super::supply::StoredWanted;
use crate::daemon::catalog::Partner;
use crate::daemon::system::{JournalRuntime, Shared};
use crate::daemon::task::accept::refused;
use crate::entry::{QualifiedName, RdbName, Sequence, THRESHOLD_MAX, THRESHOLD_MIN};
use crate::journal::{Attributes, JournalKind, SourceRecord};
use crate::link::Wired;
use crate::remote::{Held, PartnerReply, PartnerRequest, RefusalCode};

/// A reply that nothing follows.
const fn alone(reply: PartnerReply) -> (PartnerReply, Vec<Wired>) {
    (reply, Vec::new())
}

impl Shared {
    /// A partner asks for something outside a session: the reply, and the frames that follow it.
    pub(in crate::daemon) async fn partner_request(
        &self,
        rdb: RdbName,
        partner: &Partner,
        request: PartnerRequest,
    ) -> (PartnerReply, Vec<Wired>) {
        let reply = match request {
            PartnerRequest::Stored {
                journal,
                receiver,
                header,
                after,
                upto,
            } => {
                let wanted = StoredWanted {
                    journal,
                    receiver,
                    header,
                    after,
                    upto,
                };
                return self.stored(rdb, partner, wanted).await;
            }
            PartnerRequest::JoinGroup(_)
            | PartnerRequest::Group(_)
            | PartnerRequest::Promise(_)
            | PartnerRequest::DeleteGroup { .. }
            | PartnerRequest::CheckPath { .. }
            | PartnerRequest::Feed { .. } => match self.arc() {
                Some(shared) => shared.group_request(rdb, partner, request).await,
                None => refused(RefusalCode::Stopped, "the system is stopping".to_owned()),
            },
            PartnerRequest::Save(request) => self.save_request(rdb, partner, request).await,
            // Names no journal: whoever has a key in the directory may ask.
            PartnerRequest::Ping => PartnerReply::Pong {
                system: self.id,
                system_name: self.name,
            },
            PartnerRequest::Heads { journal, at } => self.held(rdb, partner, journal, &at),
            PartnerRequest::AddRemoteJournal {
                system,
                system_name,
                journal,
                source_journal,
                target_journal,
                threshold,
                path,
            } => {
                if system != partner.system {
                    return alone(refused(
                        RefusalCode::NotAuthorised,
                        "the system names itself otherwise than its key does".to_owned(),
                    ));
                }
                if path.contains(&self.id) {
                    let text = format!(
                        "the entries would come back to {}, which they have passed",
                        self.name
                    );
                    return alone(refused(RefusalCode::Cycle, text));
                }
                if !partner.may_feed(target_journal) {
                    let text = format!(
                        "the directory entry {rdb} on {} does not allow it; there: CHGRDBDIRE --rdb {rdb} --alwjrn {}",
                        self.name,
                        partner.allowing(target_journal)
                    );
                    return alone(refused(RefusalCode::NotAuthorised, text));
                }
                let _admin = self.admin.lock().await;
                let source = SourceRecord {
                    system,
                    name: system_name,
                    journal: source_journal,
                    path,
                };
                self.make_remote(journal, target_journal, source, threshold)
                    .await
            }
        };
        alone(reply)
    }

    async fn make_remote(
        &self,
        journal: crate::entry::JournalId,
        name: QualifiedName,
        source: SourceRecord,
        threshold: u64,
    ) -> PartnerReply {
        if let Err(error) = self.require_library(name.library) {
            return refused(RefusalCode::NoSuchJournal, error.to_string());
        }
        match self.runtime_of(name) {
            Some(JournalRuntime::Copy(copy)) => {
                let same = copy.copy.id() == journal
                    && matches!(&copy.copy.control().kind, JournalKind::Remote(kept) if kept.system == source.system);
                if same {
                    PartnerReply::Added {
                        system: self.id,
                        system_name: self.name,
                        again: true,
                    }
                } else {
                    let text = format!(
                        "{name} on {} is a copy of another journal or fed by another system",
                        self.name
                    );
                    refused(RefusalCode::WrongJournal, text)
                }
            }
            Some(_) => refused(
                RefusalCode::WrongJournal,
                format!("{name} on {} is a journal already", self.name),
            ),
            None => {
                let attributes = Attributes {
                    threshold: threshold.clamp(THRESHOLD_MIN, THRESHOLD_MAX),
                    ..Attributes::default()
                };
                match self.make_copy(journal, name, source, attributes).await {
                    Ok(()) => PartnerReply::Added {
                        system: self.id,
                        system_name: self.name,
                        again: false,
                    },
                    Err(error) => refused(RefusalCode::Damaged, error.to_string()),
                }
            }
        }
    }

    /// What is held here of a journal, by its identity. A partner is told of what it may feed, and of what it is fed with.
    fn held(
        &self,
        rdb: RdbName,
        partner: &Partner,
        journal: crate::entry::JournalId,
        at: &[Sequence],
    ) -> PartnerReply {
        let found = self
            .runtimes()
            .into_iter()
            .filter_map(|runtime| runtime.source())
            .find(|source| source.id() == journal);
        let Some(source) = found else {
            return refused(
                RefusalCode::NoSuchJournal,
                format!("{} holds nothing of that journal", self.name),
            );
        };
        let links = source.control().links;
        let fed = links.iter().any(|link| link.system == partner.system);
        if !fed && !partner.may_feed(source.name()) {
            let text = format!(
                "the directory entry {rdb} on {} does not allow it; there: CHGRDBDIRE --rdb {rdb} --alwjrn {}",
                self.name,
                partner.allowing(source.name())
            );
            return refused(RefusalCode::NotAuthorised, text);
        }
        let (oldest, marks) = (
            source.reader().oldest().sequence,
            source.marks(crate::remote::ShipLimit::Written),
        );
        let heads = at
            .iter()
            .take(4096)
            .map(|sequence| (*sequence, source.reader().head_at(*sequence).ok().flatten()))
            .collect();
        PartnerReply::Held(Held {
            oldest,
            written: marks.shippable,
            confirmed: marks.confirmable,
            epoch: source.epoch(),
            heads,
        })
    }
}
