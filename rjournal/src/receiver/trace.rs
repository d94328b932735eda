//! Room `receiver`: the receivers of a journal of which nothing else is known: found by their headers alone, put in order,
//! and read whole from the medium, from the first to the last bundle. Reads only, and takes no part of a chain for all of
//! it. Must not know what the entries mean, or what is made of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::{self, Window, file_name};
use super::record::ReceiverRecord;
use super::recovery::{self, Evidence};
use super::survey::{Forgiving, open_if_there};
use crate::disk::{Disk, DiskFile};
use crate::entry::{Position, RECEIVER_HEADER_BYTES, ReceiverHeader, SealedBundle, Timestamp};
use crate::error::ReceiverError;

/// How much is looked at once for bytes that are not zero.
const PIECE_BYTES: usize = 1024 * 1024;

/// What is met on the way through a journal, in order.
#[derive(Debug)]
pub enum Met<'a> {
    /// The next receiver begins.
    Receiver(&'a ReceiverHeader),
    /// Its next bundle.
    Bundle(&'a SealedBundle),
}

/// The headers of the receivers in `dir`, in the order of the chain, with the numbers of their files.
///
/// # Errors
/// [`ReceiverError`]: there is none, a file holds bundles and no header, or they are not one chain.
pub fn headers(
    disk: &Arc<dyn Disk>,
    dir: &Path,
) -> Result<Vec<(u64, ReceiverHeader)>, ReceiverError> {
    let names = disk
        .list(dir)
        .map_err(|source| ReceiverError::io("could not be listed", dir, source))?;
    let mut found = Vec::new();
    for number in names.iter().filter_map(|name| file::file_number(name)) {
        let path = dir.join(file_name(number));
        let Some(file) = open_if_there(&**disk, &path)? else {
            continue;
        };
        drop(file.drop_cache());
        match file::read_header(&Forgiving(Arc::clone(&file)), &path)? {
            Ok(header) => found.push((number, header)),
            // A file made ready for the next receiver, or one whose header a crash kept from the medium: no bundle.
            Err(_) if is_blank(&*file, &path)? => {}
            Err(found) => return Err(ReceiverError::Headless { path, found }),
        }
    }
    in_order(dir, found)
}

/// Whether nothing stands behind the header of a file.
fn is_blank(file: &dyn DiskFile, path: &Path) -> Result<bool, ReceiverError> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = RECEIVER_HEADER_BYTES as u64;
    loop {
        let count = file
            .read_at(&mut piece, at)
            .map_err(|source| ReceiverError::io("could not be read", path, source))?;
        if count == 0 {
            return Ok(true);
        }
        if piece.iter().take(count).any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += count as u64;
    }
}

/// Puts receivers behind each other, as their headers name the ones before them. All of them must be one chain.
fn in_order(
    dir: &Path,
    mut found: Vec<(u64, ReceiverHeader)>,
) -> Result<Vec<(u64, ReceiverHeader)>, ReceiverError> {
    found.sort_by_key(|(number, header)| (header.before.sequence, *number));
    let begins = |(_, header): &(u64, ReceiverHeader)| {
        let mut others = found.iter();
        !others.any(|(_, other)| other.receiver == header.previous)
    };
    let Some(first) = found.iter().position(begins) else {
        return Err(ReceiverError::NoReceivers {
            dir: dir.to_path_buf(),
        });
    };
    let mut chain = vec![found.remove(first)];
    while let Some((_, last)) = chain.last() {
        let follows = |(_, header): &(u64, ReceiverHeader)| {
            header.previous == last.receiver && header.journal == last.journal
        };
        let Some(next) = found.iter().position(follows) else {
            break;
        };
        chain.push(found.remove(next));
    }
    match (found.first(), chain.last()) {
        (Some((_, stray)), Some((_, last))) => Err(ReceiverError::NotJoined {
            receiver: stray.name,
            begins: stray.before.sequence,
            ends: last.before.sequence,
        }),
        _ => Ok(chain),
    }
}

/// Reads all of a journal whose headers were found, and gives what a receiver directory keeps of it. Every detached
/// receiver must reach to the next one. `evidence` is what is known of the last one; `read` is told bytes as they are read.
///
/// # Errors
/// [`ReceiverError`]: a receiver is damaged, cut short or not joined. Nothing is changed.
pub fn trace(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    chain: &[(u64, ReceiverHeader)],
    evidence: Evidence,
    read: &dyn Fn(u64),
    met: &mut dyn FnMut(Met<'_>),
) -> Result<Vec<ReceiverRecord>, ReceiverError> {
    let mut records = Vec::new();
    for (index, (number, header)) in chain.iter().enumerate() {
        let next = chain.get(index + 1).map(|(_, next)| next.before);
        met(Met::Receiver(header));
        let place = (dir.join(file_name(*number)), *number);
        let known = next.map_or(evidence, |next| Evidence {
            known: next.sequence,
            ..evidence
        });
        let (last, record) = trace_one(disk, place, header, (known, next), read, met)?;
        if let Some(next) = next.filter(|next| *next != last) {
            let name = chain.get(index + 1).map(|(_, next)| next.name);
            return Err(ReceiverError::NotJoined {
                receiver: name.unwrap_or(header.name),
                begins: next.sequence,
                ends: last.sequence,
            });
        }
        records.push(record);
    }
    Ok(records)
}

fn trace_one(
    disk: &Arc<dyn Disk>,
    (path, number): (PathBuf, u64),
    header: &ReceiverHeader,
    (evidence, next): (Evidence, Option<Position>),
    read: &dyn Fn(u64),
    met: &mut dyn FnMut(Met<'_>),
) -> Result<(Position, ReceiverRecord), ReceiverError> {
    let io = |action, source| ReceiverError::io(action, &path, source);
    let file = disk
        .open(&path)
        .map_err(|source| io("could not be opened", source))?;
    if next.is_none() {
        // What a flush failed to write may stand in memory alone (DESIGN rule 6).
        drop(file.sync());
    }
    drop(file.drop_cache());
    let length = file
        .length()
        .map_err(|source| io("could not be measured", source))?;
    let file: Arc<dyn DiskFile> = Arc::new(Forgiving(file));
    let mut window = Window::new(file, path, header.receiver);
    let (mut attached_at, mut detached_at) = (None, Timestamp::ZERO);
    let readable = recovery::read_to_end(&mut window, header, length, evidence, &mut |bundle| {
        attached_at.get_or_insert(bundle.last_time());
        detached_at = bundle.last_time();
        read(u64::from(bundle.header().length));
        met(Met::Bundle(bundle));
    })?;
    let record = ReceiverRecord {
        receiver: header.receiver,
        name: header.name,
        file: number,
        before: header.before,
        last: next,
        bytes: readable.end,
        attached_at: attached_at.unwrap_or(Timestamp::ZERO),
        detached_at: next.map(|_| detached_at),
        saved: false,
    };
    Ok((readable.last, record))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{ChainHead, ReceiverId, Sequence};
    use crate::receiver::damage::tests::header;

    fn receiver(id: u8, previous: u8, before: u64) -> (u64, ReceiverHeader) {
        let header = ReceiverHeader {
            receiver: ReceiverId::from_bytes([id; 16]),
            previous: ReceiverId::from_bytes([previous; 16]),
            before: Position {
                sequence: Sequence::new(before),
                head: ChainHead::from_bytes([id; 32]),
            },
            ..header()
        };
        (u64::from(id), header)
    }

    fn order(found: &[(u64, ReceiverHeader)]) -> Result<Vec<u64>, ReceiverError> {
        let chain = in_order(Path::new("receivers"), found.to_vec())?;
        Ok(chain.into_iter().map(|(number, _)| number).collect())
    }

    #[test]
    fn receivers_are_put_in_order_by_the_ones_they_name_not_by_their_files() {
        // The oldest are gone: the first one here names one that is not.
        let found = [receiver(4, 9, 20), receiver(9, 2, 10), receiver(3, 4, 30)];
        assert_eq!(order(&found).expect("a chain"), [9, 4, 3]);
        // One that was begun and got no entry stands where the one before it ends.
        let begun = [receiver(1, 0, 0), receiver(2, 1, 0)];
        assert_eq!(order(&begun).expect("a chain"), [1, 2]);
    }

    #[test]
    fn receivers_that_are_not_one_chain_are_nothing_to_go_on_with() {
        assert!(matches!(order(&[]), Err(ReceiverError::NoReceivers { .. })));
        let hole = [receiver(1, 0, 0), receiver(3, 2, 20)];
        let error = order(&hole).expect_err("one is missing");
        assert!(matches!(error, ReceiverError::NotJoined { .. }), "{error}");
        let two = [receiver(1, 0, 0), receiver(2, 1, 9), receiver(3, 1, 9)];
        assert!(order(&two).is_err());
        let (number, mut foreign) = receiver(2, 1, 9);
        foreign.journal = crate::entry::JournalId::from_bytes([1; 16]);
        assert!(order(&[receiver(1, 0, 0), (number, foreign)]).is_err());
    }
}
