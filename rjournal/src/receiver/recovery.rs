//! Room `receiver`: what a crash left at the end of the last receiver, decided by evidence, not by position
//! (failures.md RCV-1 to RCV-8, ruling 5).
//!
//! Bundles are read one after the other until one does not continue the chain. What stands there is then judged by
//! what is known to have been flushed on this disk: `known`, from the copy's flush mark, its apply stores and what
//! partners remember; and, where this system sealed the bundles itself, `durable_upto` of any later valid bundle.
//!
//! | case | rest of the file | known beyond the last good entry | then |
//! | --- | --- | --- | --- |
//! | 1 end | all zero | no | the journal ends here |
//! | 2 cut short | all zero | yes | refuse: somebody cut the file |
//! | 3 torn tail | not all zero | no | the rest is copied aside and zeroed, the journal ends here |
//! | 4 damage | not all zero | yes | refuse: nothing is cut, another copy can repair it |
//!
//! Reading never repairs; [`clean`] does, and a crash in the middle of it leads to the same decision again.
//! Must not know what the entries mean.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::file::{Found, Window};
use crate::disk::{Disk, DiskFile};
use crate::entry::codec::{self, BUNDLE_BYTES_MAX, BUNDLE_HEADER_BYTES};
use crate::entry::{
    BundleHeader, CodecError, Epoch, Position, RECEIVER_HEADER_BYTES, ReceiverHeader, SealedBundle,
    Sequence,
};
use crate::error::ReceiverError;

/// What is known about this disk beside the receiver itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Evidence {
    /// An entry known to have been flushed here.
    pub known: Sequence,
    /// Whether this system sealed the bundles: then their `durable_upto` speaks of this disk.
    pub sealed_here: bool,
    /// A cut at this position was begun and must be finished: what stands behind it is archived already.
    pub cut_at: Option<Position>,
}

/// Something an interrupted operation left behind and opening cleaned up, for the message about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leftover {
    /// A file that was never a receiver was removed.
    File {
        /// The file.
        path: PathBuf,
    },
    /// A torn tail was copied aside and zeroed.
    TornTail {
        /// The receiver's file.
        path: PathBuf,
        /// Where the tail began, in bytes.
        offset: u64,
        /// How many bytes were not zero, up to the last one.
        bytes: u64,
        /// Where they were copied.
        aside: PathBuf,
    },
}

/// How far a receiver can be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Readable {
    /// Byte behind the last good bundle.
    pub(super) end: u64,
    /// Last good entry.
    pub(super) last: Position,
    /// Whether something other than zeros stands behind it.
    pub(super) torn: bool,
}

/// Reads a receiver to its end and decides what the end is.
///
/// `visit` sees every good bundle in order.
///
/// # Errors
/// [`ReceiverError::CutShort`] and [`ReceiverError::Corrupt`] as the table says; `Io` when the medium cannot be read.
pub(super) fn read_to_end(
    window: &mut Window,
    header: &ReceiverHeader,
    file_length: u64,
    evidence: Evidence,
    visit: &mut dyn FnMut(&SealedBundle),
) -> Result<Readable, ReceiverError> {
    let mut end = RECEIVER_HEADER_BYTES as u64;
    let mut last = header.before;
    let mut epoch = Epoch::NONE;
    let found = loop {
        if evidence.cut_at == Some(last) {
            return Ok(Readable {
                end,
                last,
                torn: !is_zero(window, end, file_length)?,
            });
        }
        match next_bundle(window, header, end, last, epoch)? {
            Ok(bundle) => {
                visit(&bundle);
                end = bundle.header().end();
                last = bundle.last();
                epoch = bundle.header().epoch;
            }
            Err(error) => break error,
        }
    };
    let torn = !is_zero(window, end, file_length)?;
    let mut known = evidence.known;
    if torn && evidence.sealed_here {
        known = known.max(later_durable_upto(window, header, end, file_length)?);
    }
    if known <= last.sequence {
        return Ok(Readable { end, last, torn });
    }
    if torn {
        let expected = last.sequence.next();
        Err(ReceiverError::Corrupt {
            receiver: header.name,
            offset: end,
            expected,
            found,
            known,
        })
    } else {
        Err(ReceiverError::CutShort {
            receiver: header.name,
            last: last.sequence,
            known,
        })
    }
}

/// The bundle at `end` if it continues the chain, or why not.
fn next_bundle(
    window: &mut Window,
    header: &ReceiverHeader,
    end: u64,
    last: Position,
    epoch: Epoch,
) -> Result<Result<SealedBundle, CodecError>, ReceiverError> {
    let bytes: Bytes = match window.bundle_at(end)? {
        Found::Bundle(_, bytes) => bytes,
        Found::Nothing(error) => return Ok(Err(error)),
    };
    Ok(codec::open(bytes, header.receiver).and_then(|bundle| {
        if bundle.before() != last {
            Err(CodecError::Gap {
                expected: last.sequence.next(),
                found: bundle.header().first,
            })
        } else if bundle.header().epoch.rank() < epoch.rank() {
            Err(CodecError::Reserved {
                what: "bundle of an older epoch",
            })
        } else {
            Ok(bundle)
        }
    }))
}

fn is_zero(window: &mut Window, from: u64, to: u64) -> Result<bool, ReceiverError> {
    Ok(last_nonzero(window, from, to)?.is_none())
}

/// Offset of the last byte in `[from, to)` that is not zero.
fn last_nonzero(window: &mut Window, from: u64, to: u64) -> Result<Option<u64>, ReceiverError> {
    let mut at = from;
    let mut last = None;
    while at < to {
        let chunk = window.slice(
            at,
            usize::try_from(to - at)
                .unwrap_or(usize::MAX)
                .min(1024 * 1024),
        )?;
        if chunk.is_empty() {
            break;
        }
        if let Some(index) = last_nonzero_in(&chunk) {
            last = Some(at + index as u64);
        }
        at += chunk.len() as u64;
    }
    Ok(last)
}

/// Index of the last byte that is not zero. Receivers end in megabytes of zeros, so whole pages of them are passed over.
fn last_nonzero_in(chunk: &[u8]) -> Option<usize> {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut end = chunk.len();
    for page in chunk.rchunks(ZEROS.len()) {
        let start = end - page.len();
        if ZEROS.get(..page.len()) != Some(page) {
            let index = page.iter().rposition(|byte| *byte != 0)?;
            return Some(start + index);
        }
        end = start;
    }
    None
}

/// The highest `durable_upto` of any valid bundle behind a bad one. Such a bundle proves nothing but that: it is found
/// by its salted checksum and its own offset, and never read for its entries (failures.md DEP-11).
fn later_durable_upto(
    window: &mut Window,
    header: &ReceiverHeader,
    from: u64,
    to: u64,
) -> Result<Sequence, ReceiverError> {
    let step = u64::from(header.alignment.bytes());
    let mut highest = Sequence::NONE;
    let mut at = from.next_multiple_of(step);
    let limit = to.min(from.saturating_add(2 * BUNDLE_BYTES_MAX as u64));
    while at + BUNDLE_HEADER_BYTES as u64 <= limit {
        match window.bundle_at(at)? {
            Found::Bundle(
                BundleHeader {
                    durable_upto,
                    length,
                    ..
                },
                _,
            ) => {
                highest = highest.max(durable_upto);
                at += u64::from(length);
            }
            Found::Nothing(_) => at += step,
        }
    }
    Ok(highest)
}

/// Copies a torn tail aside and zeroes it, so that what is written next never meets it again.
pub(super) fn clean(
    disk: &dyn Disk,
    file: &dyn DiskFile,
    window: &mut Window,
    path: &Path,
    end: u64,
    file_length: u64,
) -> Result<Option<Leftover>, ReceiverError> {
    let Some(last) = last_nonzero(window, end, file_length)? else {
        return Ok(None);
    };
    let io = |action, source| ReceiverError::io(action, path, source);
    let aside = path.with_extension(format!("torn{end}"));
    match disk.remove(&aside) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            return Err(io("left a torn tail that could not be replaced", source));
        }
        _ => {}
    }
    let copy = disk
        .create(&aside)
        .map_err(|source| io("has a torn tail that could not be copied", source))?;
    let mut at = end;
    while at <= last {
        let chunk = window.slice(
            at,
            usize::try_from(last + 1 - at)
                .unwrap_or(usize::MAX)
                .min(1024 * 1024),
        )?;
        copy.write_at(&chunk, at - end)
            .map_err(|source| io("has a torn tail that could not be copied", source))?;
        at += chunk.len() as u64;
    }
    let dir = path.parent().unwrap_or(Path::new(""));
    copy.sync()
        .and_then(|()| disk.sync_dir(dir))
        .map_err(|source| io("has a torn tail that could not be copied", source))?;
    crate::disk::fill_with_zeros(file, end, last + 1)
        .map_err(|source| io("could not be cleaned", source))?;
    Ok(Some(Leftover::TornTail {
        path: path.to_path_buf(),
        offset: end,
        bytes: last + 1 - end,
        aside,
    }))
}
