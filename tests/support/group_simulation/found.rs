//! Package `tests`, groups under seeds: everything that is on the disks of all members: every entry of every journal and copy, and
//! of every archive. Must not judge.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rjournal::disk::CrashedDisk;
use rjournal::entry::codec::{BUNDLE_HEADER_BYTES, Entries};
use rjournal::entry::{
    BundleHeader, EntryView, JournalId, Kind, RECEIVER_HEADER_BYTES, ReceiverHeader, ReceiverId,
};
use rjournal::receiver::ChainReader;

use super::member::{Side, dir_of};
use super::proof::hash;
use super::world::World;

/// `(term, boot, nonce)` of a bundle.
type Rank = (u64, u64, u64);

/// Everything found.
#[derive(Default)]
pub(super) struct Found {
    /// What an entry is, by journal, epoch and number: one and the same everywhere (P3).
    entries: BTreeMap<(JournalId, Rank, u64), u64>,
    /// Deposits by journal and number, with all ids found there.
    users: BTreeMap<(JournalId, u64), BTreeSet<u64>>,
    /// By member and journal: deposits of its copy, by number.
    pub(super) copies: BTreeMap<(usize, JournalId), BTreeMap<u64, u64>>,
}

impl Found {
    /// Reads everything.
    pub(super) fn read(world: &World) -> Self {
        let mut found = Self::default();
        for (number, member) in world.members.iter().enumerate() {
            let member = member.borrow();
            let disk = member.disk.image();
            for (writer, of) in world.group.members.iter().enumerate() {
                found.read_archives(&disk, &dir_of(writer), of.journal);
                let side = member.up.as_ref().map(|up| &up.sides[writer]);
                let reader = match side {
                    Some(Side::Open(open)) => open.journal.reader().clone(),
                    Some(Side::Opening(crank)) => crank.recovered().reader(),
                    Some(Side::Copy(side)) => side.copy.shared().reader().clone(),
                    Some(Side::Broken(_)) | None => continue,
                };
                found.read_copy(number, of.journal, &reader);
            }
        }
        found
    }

    /// Whether a deposit is where it was answered to be, in some copy or archive.
    pub(super) fn has(&self, journal: JournalId, sequence: u64, id: u64) -> bool {
        let ids = self.users.get(&(journal, sequence));
        ids.is_some_and(|ids| ids.contains(&id))
    }

    /// Whether a deposit is anywhere.
    pub(super) fn has_anywhere(&self, id: u64) -> bool {
        self.users.values().any(|ids| ids.contains(&id))
    }

    fn read_copy(&mut self, member: usize, journal: JournalId, reader: &ChainReader) {
        let (mut after, tip) = (reader.oldest().sequence, reader.tip().sequence);
        let mut users = BTreeMap::new();
        while after < tip {
            let bundles = reader
                .bundles_after(after, tip, 1 << 20)
                .expect("a readable copy");
            let last = bundles.last().expect("bundles up to the tip");
            after = last.header.last();
            for bundle in &bundles {
                let rank = rank(&bundle.header);
                for view in bundle.entries() {
                    let view = view.expect("a readable entry");
                    if let Some(id) = self.note(journal, rank, &view) {
                        users.insert(view.sequence.get(), id);
                    }
                }
            }
        }
        self.copies.insert((member, journal), users);
    }

    fn read_archives(&mut self, disk: &CrashedDisk, dir: &Path, journal: JournalId) {
        let orphans = dir.join("orphans");
        let inside = |path: &&Path| {
            path.parent() == Some(&orphans) && path.extension().is_some_and(|end| end == "entries")
        };
        for path in disk.paths().filter(inside) {
            let bytes = disk.content(path).unwrap_or_default();
            self.read_archive(bytes, journal);
        }
    }

    /// Receiver headers and bundles, one behind the other; the last ones may be missing where it was never finished.
    fn read_archive(&mut self, bytes: &[u8], journal: JournalId) {
        let (mut at, mut receiver) = (0, ReceiverId::NONE);
        while at + BUNDLE_HEADER_BYTES <= bytes.len() {
            let header = bytes.get(at..at + RECEIVER_HEADER_BYTES);
            if let Some(Ok(header)) = header.map(ReceiverHeader::decode) {
                receiver = header.receiver;
                at += RECEIVER_HEADER_BYTES;
                continue;
            }
            let Ok(header) = BundleHeader::read(&bytes[at..], receiver) else {
                return;
            };
            let end = at + header.length as usize;
            let Some(bundle) = bytes.get(at..end) else {
                return;
            };
            for view in Entries::new(bundle, &header) {
                let Ok(view) = view else {
                    return;
                };
                self.note(journal, rank(&header), &view);
            }
            at = end;
        }
    }

    /// Notes an entry; gives the number of the deposit in it, if it is one.
    fn note(&mut self, journal: JournalId, rank: Rank, view: &EntryView<'_>) -> Option<u64> {
        let sequence = view.sequence.get();
        let what = hash(0, &view.leaf());
        let known = *self
            .entries
            .entry((journal, rank, sequence))
            .or_insert(what);
        assert_eq!(
            known, what,
            "P3: entry {sequence} of epoch {rank:?} in {journal} is two entries"
        );
        let id = view.payload.bytes().first_chunk::<8>();
        let id = id.filter(|_| view.kind == Kind::USER);
        let id = u64::from_le_bytes(*id?);
        self.users
            .entry((journal, sequence))
            .or_default()
            .insert(id);
        Some(id)
    }
}

const fn rank(header: &BundleHeader) -> Rank {
    (header.epoch.term, header.epoch.boot, header.epoch.nonce)
}
