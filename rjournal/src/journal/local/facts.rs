//! Room `journal`, a local journal: what its own entries say while it is recovered: the in-sync set, the last opening, the last
//! deposit key. Must not know where bundles come from.

use crate::entry::control_entry::{Neighbour, OpenEntry, SetChange};
use crate::entry::{Epoch, HandOver, Kind, SealedBundle, Sequence, TermRecord, Timestamp};
use crate::error::JournalError;

/// What was read while a journal was recovered.
#[derive(Debug, Default)]
pub(in crate::journal) struct Facts {
    pub(in crate::journal) set: Option<(Sequence, SetChange)>,
    pub(in crate::journal) opened: Sequence,
    /// The record of the last term opened, as far as its entry was read.
    pub(in crate::journal) term: Option<TermRecord>,
    /// The role was handed over with the last entry but those that end a receiver, and nothing was opened since.
    pub(in crate::journal) handed_over: Option<(Sequence, HandOver)>,
    pub(in crate::journal) last_keyed: Sequence,
    pub(in crate::journal) last_time: Timestamp,
    pub(in crate::journal) epoch: Epoch,
    /// The last entry, if it ended a receiver.
    pub(in crate::journal) next: Option<Neighbour>,
    pub(in crate::journal) damage: Option<JournalError>,
}

impl Facts {
    pub(in crate::journal) fn read(&mut self, bundle: &SealedBundle) {
        self.epoch = bundle.header().epoch;
        self.last_time = self.last_time.max(bundle.last_time());
        for view in bundle.entries().flatten() {
            self.next = None;
            let read = match view.kind {
                Kind::OPENED => {
                    self.opened = view.sequence;
                    self.handed_over = None;
                    OpenEntry::decode(view.payload.bytes())
                        .map(|entry| self.term = entry.term.or(self.term))
                }
                Kind::HAND_OVER => HandOver::decode(view.payload.bytes())
                    .map(|entry| self.handed_over = Some((view.sequence, entry))),
                Kind::IN_SYNC_SET => SetChange::decode(view.payload.bytes())
                    .map(|set| self.set = Some((view.sequence, set))),
                Kind::RECEIVER_NEXT => {
                    Neighbour::decode(view.payload.bytes()).map(|next| self.next = Some(next))
                }
                _ => Ok(()),
            };
            let keyed = view.extension().map(|extension| extension.key.is_some());
            if keyed == Ok(true) {
                self.last_keyed = view.sequence;
            }
            if let Err(source) = read.and(keyed.map(|_| ())) {
                self.damage.get_or_insert(JournalError::Entry {
                    sequence: view.sequence,
                    source,
                });
            }
        }
    }
}
