//! Room `receiver`: a detached receiver's file ends in zeros that were laid down for bundles which never came: they are given
//! back to the disk, some time after the change of receivers. Must not know when; whoever deposits never waits for it.

use std::io::ErrorKind;

use super::reader::{ChainReader, Receiver};
use super::record::ReceiverRecord;
use crate::error::ReceiverError;

impl ChainReader {
    /// Whether a detached receiver's file may be longer than what is in it.
    pub fn is_trimmable(&self) -> bool {
        let receivers = self.shared.receivers();
        receivers.iter().any(|receiver| {
            let state = receiver.lock();
            state.detached_at.is_some() && !state.trimmed
        })
    }

    /// Shortens the file of the oldest detached receiver that is longer than what is in it, and gives how many bytes the
    /// disk has back; 0 when there was none. `kept` is the receiver directory as it is on the disk: what it does not list as
    /// detached, and just as long, is left alone.
    ///
    /// A crash at any moment leaves a file of the one length or the other, and both are good: recovery asks a detached
    /// receiver for no more bytes than the directory says.
    ///
    /// # Errors
    /// `Io` when the disk refuses; that receiver is not tried again.
    pub fn trim(&self, kept: &[ReceiverRecord]) -> Result<u64, ReceiverError> {
        let receivers = self.shared.receivers().clone();
        for receiver in receivers {
            let is_kept = kept.iter().any(|record| *record == receiver.record());
            let trimmed = receiver.lock().trimmed;
            if trimmed || !is_kept {
                continue;
            }
            let freed = self.trim_file(&receiver)?;
            if freed > 0 {
                return Ok(freed);
            }
        }
        Ok(0)
    }

    fn trim_file(&self, receiver: &Receiver) -> Result<u64, ReceiverError> {
        let path = self.shared.path(receiver.number);
        let io = |action, source| ReceiverError::io(action, &path, source);
        let file = match self.shared.disk.open(&path) {
            Ok(file) => file,
            // It was deleted meanwhile.
            Err(source) if source.kind() == ErrorKind::NotFound => return Ok(0),
            Err(source) => return Err(io("could not be opened", source)),
        };
        let freed = {
            let mut state = receiver.lock();
            // Under one lock: a cut that takes it up again comes before this, and it is attached, or behind it.
            if state.detached_at.is_none() {
                return Ok(0);
            }
            state.trimmed = true;
            let length = file
                .length()
                .map_err(|source| io("could not be measured", source))?;
            let freed = length.saturating_sub(state.end);
            if freed > 0 {
                file.set_length(state.end)
                    .map_err(|source| io("could not be shortened", source))?;
            }
            freed
        };
        if freed > 0 {
            file.sync()
                .map_err(|source| io("could not be flushed", source))?;
        }
        Ok(freed)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::disk::{Disk, MemoryDisk};
    use crate::entry::codec::{self, BUNDLE_HEADER_BYTES, Seal};
    use crate::entry::{
        Alignment, Draft, Epoch, GroupId, JournalId, Kind, Position, QualifiedName, ReceiverHeader,
        ReceiverId, SealedBundle, Sequence, SystemId, Timestamp,
    };
    use crate::receiver::{Chain, Evidence};

    fn open(disk: &MemoryDisk, kept: &[ReceiverRecord], cut_at: Option<Position>) -> Chain {
        let evidence = Evidence {
            cut_at,
            ..Evidence::default()
        };
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let journal = JournalId::from_bytes([1; 16]);
        Chain::open(disk, Path::new("r"), journal, kept, evidence, &mut |_| {})
            .expect("nothing is damaged")
            .chain
    }

    fn attach(chain: &mut Chain, number: u8) {
        let name: QualifiedName = format!("L/R{number}").parse().unwrap();
        let journal = JournalId::from_bytes([1; 16]);
        let previous = chain.attached().map_or(ReceiverId::NONE, |a| a.receiver);
        let header = ReceiverHeader {
            receiver: ReceiverId::from_bytes([number; 16]),
            journal,
            group: GroupId::from(journal),
            name,
            journal_name: name,
            origin_name: crate::entry::SystemName::new("PRD").unwrap(),
            origin: SystemId::from_bytes([2; 16]),
            previous,
            before: chain.tip(),
            threshold: 65_536,
            alignment: Alignment::Packed,
        };
        chain.attach(&header, Timestamp::from_micros(1)).unwrap();
    }

    fn write(chain: &mut Chain, text: &str) -> Position {
        let before = chain.tip();
        let attached = chain.attached().unwrap();
        let mut buffer = vec![0; BUNDLE_HEADER_BYTES];
        let draft = Draft::new(Kind::USER, text.as_bytes());
        let (next, time) = (before.sequence.next(), Timestamp::from_micros(1));
        codec::encode_entry(&mut buffer, &draft, next, time, None, None);
        let seal = Seal {
            receiver: attached.receiver,
            offset: chain.end(),
            align: attached.alignment.bytes(),
            epoch: Epoch {
                term: 1,
                boot: 1,
                nonce: 1,
            },
            before,
            durable_upto: Sequence::NONE,
        };
        let bundle: SealedBundle = codec::seal(buffer, 1, &seal);
        chain.write(&bundle).unwrap();
        chain.sync().unwrap();
        chain.tip()
    }

    /// Two receivers; the first holds two bundles.
    fn two() -> (MemoryDisk, Chain, Position) {
        let disk = MemoryDisk::new();
        disk.create_dir(Path::new("r")).unwrap();
        let mut chain = open(&disk, &[], None);
        attach(&mut chain, 1);
        let first = write(&mut chain, "first");
        write(&mut chain, "second");
        attach(&mut chain, 2);
        write(&mut chain, "third");
        (disk, chain, first)
    }

    fn length(disk: &MemoryDisk, chain: &Chain, index: usize) -> u64 {
        let path = chain.reader().paths()[index].clone();
        disk.open(&path).unwrap().length().unwrap()
    }

    #[test]
    fn a_detached_receiver_keeps_its_bundles_and_the_attached_one_all_it_was_prepared_with() {
        let (disk, chain, _) = two();
        let records = chain.reader().records();
        let before = (length(&disk, &chain, 0), length(&disk, &chain, 1));
        let stale = [ReceiverRecord {
            last: None,
            detached_at: None,
            ..records[0].clone()
        }];
        assert_eq!(chain.reader().trim(&stale).unwrap(), 0, "not on disk yet");
        let freed = chain.reader().trim(&records).unwrap();
        assert_eq!(freed, before.0 - records[0].bytes);
        assert_eq!(length(&disk, &chain, 0), records[0].bytes);
        assert_eq!(length(&disk, &chain, 1), before.1);
        assert!(!chain.reader().is_trimmable());
        assert_eq!(chain.reader().trim(&records).unwrap(), 0);
        let (reader, tip) = (chain.reader(), chain.tip());
        assert_eq!(reader.head_at(Sequence::new(2)).unwrap().unwrap(), {
            let second = reader.bundles_after(Sequence::new(1), Sequence::new(2), 0);
            second.unwrap()[0]
                .head_at(Sequence::new(2))
                .unwrap()
                .unwrap()
        });
        // Found again by a directory that knows of it, and by one of before the change.
        for kept in [&records[..], &stale[..]] {
            let again = open(&disk.image().power_on(), kept, None);
            assert_eq!(again.tip(), tip);
        }
    }

    #[test]
    fn a_cut_takes_up_a_trimmed_receiver_again_and_it_grows_as_before() {
        let (disk, mut chain, first) = two();
        let records = chain.reader().records();
        assert!(chain.reader().trim(&records).unwrap() > 0);
        // Power is lost in the middle of it: the cut that was begun is finished at the next opening.
        let mut again = open(&disk.image().power_on(), &records, None);
        again.cut(first).unwrap();
        chain.cut(first).unwrap();
        for chain in [&mut chain, &mut again] {
            assert_eq!(chain.tip(), first);
            let large = "other".repeat(50_000);
            let tip = write(chain, &large);
            assert_eq!(tip.sequence, Sequence::new(2));
            assert!(!chain.reader().is_trimmable(), "it is attached");
        }
    }

    #[test]
    fn power_lost_while_a_file_is_shortened_leaves_a_good_one() {
        for dies in [None, Some(1)] {
            let (disk, chain, _) = two();
            let (records, tip) = (chain.reader().records(), chain.tip());
            if let Some(nth) = dies {
                disk.die_at_sync(disk.syncs() + nth);
            }
            assert_eq!(chain.reader().trim(&records).is_err(), dies.is_some());
            for seed in 0..16 {
                let after = disk.crash(seed).power_on();
                assert_eq!(open(&after, &records, None).tip(), tip);
            }
        }
    }
}
