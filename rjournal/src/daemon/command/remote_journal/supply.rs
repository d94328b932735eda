//! Room `daemon`: bytes of a journal for a partner whose disk lost them (RPRJRN there), as they stand on the disk here. Must
//! not know what is wrong there.

use crate::daemon::catalog::Partner;
use crate::daemon::system::{JournalRuntime, Shared};
use crate::daemon::task::accept::refused;
use crate::entry::{JournalId, QualifiedName, RdbName, ReceiverId, Sequence};
use crate::journal::{Control, JournalKind};
use crate::link::Wired;
use crate::receiver::ChainReader;
use crate::remote::{Frame, PartnerReply, RefusalCode, STORED_BYTES_MAX};

/// A journal as a partner may read it.
struct Shelf {
    name: QualifiedName,
    reader: ChainReader,
    upto: Sequence,
}

/// A journal that a partner feeds, or is fed with.
pub(in crate::daemon) struct Tied {
    control: Control,
    reader: ChainReader,
    written: Sequence,
    fed_upto: Sequence,
    feeds: bool,
}

impl Tied {
    /// Its name here.
    pub(in crate::daemon) const fn name(&self) -> QualifiedName {
        self.control.name
    }

    /// The entry before the oldest here, as it is now.
    pub(in crate::daemon) fn oldest(&self) -> Sequence {
        self.reader.oldest().sequence
    }
}

/// What is wanted of a receiver.
#[derive(Debug, Clone, Copy)]
pub(in crate::daemon) struct StoredWanted {
    pub(in crate::daemon) journal: JournalId,
    pub(in crate::daemon) receiver: ReceiverId,
    pub(in crate::daemon) header: bool,
    pub(in crate::daemon) after: Sequence,
    pub(in crate::daemon) upto: Sequence,
}

impl Shared {
    /// The reply, and the frames that follow it.
    pub(in crate::daemon) async fn stored(
        &self,
        rdb: RdbName,
        partner: &Partner,
        wanted: StoredWanted,
    ) -> (PartnerReply, Vec<Wired>) {
        let shelf = match self.shelf(rdb, partner, wanted.journal) {
            Ok(shelf) => shelf,
            Err(reply) => return (reply, Vec::new()),
        };
        let system = self.name;
        let read = tokio::task::spawn_blocking(move || shelf.read(wanted)).await;
        match read {
            Ok(Ok(frames)) => {
                let reply = PartnerReply::Stored {
                    frames: u32::try_from(frames.len()).unwrap_or(u32::MAX),
                };
                (reply, frames.into_iter().map(Wired::Session).collect())
            }
            Ok(Err(text)) => (
                refused(RefusalCode::Damaged, format!("{system}: {text}")),
                Vec::new(),
            ),
            Err(error) => (refused(RefusalCode::Damaged, error.to_string()), Vec::new()),
        }
    }

    /// A journal that waits for its in-sync set is read, too: the one it waits for may be the one that asks.
    fn shelf(
        &self,
        rdb: RdbName,
        partner: &Partner,
        journal: JournalId,
    ) -> Result<Shelf, PartnerReply> {
        let tied = self.tied(rdb, partner, journal)?;
        Ok(Shelf {
            name: tied.name(),
            upto: if tied.feeds {
                tied.written
            } else {
                tied.fed_upto
            },
            reader: tied.reader,
        })
    }

    /// Entries are read by the system that feeds this journal, which sealed or forwarded them, and by those this journal
    /// feeds: as far as they are fed. The same two may have what was made of those entries: a save of a store.
    pub(in crate::daemon) fn tied(
        &self,
        rdb: RdbName,
        partner: &Partner,
        journal: JournalId,
    ) -> Result<Tied, PartnerReply> {
        let found = self.runtimes().into_iter().find_map(|runtime| {
            let (control, reader, written, fed_upto) = readable(&runtime)?;
            (control.journal == journal).then_some((control, reader, written, fed_upto))
        });
        let Some((control, reader, written, fed_upto)) = found else {
            return Err(refused(
                RefusalCode::NoSuchJournal,
                format!("{} holds nothing of that journal", self.name),
            ));
        };
        let name = control.name;
        let feeds = matches!(&control.kind, JournalKind::Remote(source) if source.system == partner.system)
            && partner.may_feed(name);
        let is_fed = control
            .links
            .iter()
            .any(|link| link.system == partner.system);
        if !feeds && !is_fed {
            let text = format!(
                "{rdb} neither feeds {name} on {} nor is fed with it: it may not read its entries",
                self.name
            );
            return Err(refused(RefusalCode::NotAuthorised, text));
        }
        Ok(Tied {
            control,
            reader,
            written,
            fed_upto,
            feeds,
        })
    }
}

/// What is kept about a journal that can be read, how far it is on this disk, and how far systems it feeds may have it.
fn readable(runtime: &JournalRuntime) -> Option<(Control, ChainReader, Sequence, Sequence)> {
    Some(match runtime {
        JournalRuntime::Local(local) => {
            let written = local.journal.tail().marks().written;
            let reader = local.journal.reader().clone();
            (local.journal.control(), reader, written, written)
        }
        JournalRuntime::Copy(copy) => {
            let marks = copy.copy.tail().marks();
            let reader = copy.copy.reader().clone();
            (copy.copy.control(), reader, marks.written, marks.settled)
        }
        JournalRuntime::Opening(opening) => {
            let written = opening.tip.sequence;
            (
                opening.control.clone(),
                opening.reader.clone(),
                written,
                written,
            )
        }
        JournalRuntime::Broken(_) => return None,
    })
}

impl Shelf {
    fn read(&self, wanted: StoredWanted) -> Result<Vec<Frame>, String> {
        let Some(header) = self.reader.header(wanted.receiver) else {
            return Err(format!("{} has no such receiver any more", self.name));
        };
        if wanted.header {
            return Ok(vec![Frame::Header(header.encode().into())]);
        }
        let upto = wanted.upto.min(self.upto);
        let bundles = self
            .reader
            .bundles_after(wanted.after, upto, STORED_BYTES_MAX)
            .map_err(|error| error.to_string())?;
        // The next receiver's are asked for by its own name.
        let same = bundles
            .into_iter()
            .take_while(|bundle| bundle.receiver.receiver == wanted.receiver);
        Ok(same.map(|bundle| Frame::Bundle(bundle.bytes)).collect())
    }
}
