//! Room `journal`: orphans: entries cut from a copy because histories forked. They are moved into an archive beside the
//! receivers, durably, before anything is cut; nothing removes an archive but an operator. Must not know why histories
//! forked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::disk::{Disk, read_whole, replace_whole};
use crate::entry::{
    EntryView, Epoch, JournalId, Kind, Position, QualifiedName, Sequence, Timestamp,
};
use crate::error::JournalError;
use crate::receiver::{ChainReader, StoredBundle};

const ORPHANS_DIR: &str = "orphans";
/// Version of what is written about an archive; the archive itself begins with a receiver header and its version.
const VERSION: u16 = 1;
/// Archives are written in pieces of this many bytes.
const PIECE_BYTES: usize = 1024 * 1024;
/// Longest manifest, in bytes.
const MANIFEST_BYTES_MAX: u64 = 1024 * 1024;

/// What an archive holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orphan {
    /// Its number, from 1.
    pub number: u64,
    /// The journal.
    pub journal: JournalId,
    /// Its name here.
    pub name: QualifiedName,
    /// The last entry both histories share.
    pub fork: Position,
    /// The last entry archived.
    pub last: Position,
    /// Epochs of the first and of the last bundle archived.
    pub epochs: (Epoch, Epoch),
    /// How many entries.
    pub entries: u64,
    /// How many transactions were committed behind the fork, a change outside a commit cycle being one; not known of
    /// archives that earlier releases made.
    #[serde(default)]
    pub transactions: Option<u64>,
    /// Bytes of the bundles.
    pub bytes: u64,
    /// When it was made.
    pub archived_at: Timestamp,
    /// Why.
    pub reason: String,
    /// File with the receiver headers and bundles, one behind the other, relative to the journal's directory.
    pub file: PathBuf,
}

/// What is written about an archive.
#[derive(Serialize)]
struct Manifest<'a> {
    version: u16,
    #[serde(flatten)]
    orphan: &'a Orphan,
}

/// The version of that, whatever else stands there.
#[derive(Deserialize)]
struct ManifestVersion {
    version: u16,
}

/// Copies everything behind `fork` into archive `number`, durably.
pub(super) fn archive(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    reader: &ChainReader,
    number: u64,
    fork: Position,
    reason: &str,
    now: Timestamp,
) -> Result<Orphan, JournalError> {
    let orphans = dir.join(ORPHANS_DIR);
    let file = entries_file(number);
    let path = dir.join(&file);
    let io = |source| JournalError::io("could not be archived to", &path, source);
    disk.create_dir(&orphans)
        .and_then(|()| disk.sync_dir(dir))
        .map_err(io)?;
    match disk.remove(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => return Err(io(source)),
        _ => {}
    }
    let out = disk.create(&path).map_err(io)?;
    let tip = reader.tip();
    let (mut after, mut offset, mut bytes, mut epochs) = (fork.sequence, 0, 0, None);
    let mut transactions = 0;
    while after < tip.sequence {
        let bundles = reader.bundles_after(after, tip.sequence, PIECE_BYTES)?;
        let Some(last) = bundles.last() else { break };
        after = last.header.last();
        for bundle in &bundles {
            if bundle.begins_receiver() || offset == 0 {
                let header = bundle.receiver.encode();
                out.write_at(&header, offset).map_err(io)?;
                offset += header.len() as u64;
            }
            out.write_at(&bundle.bytes, offset).map_err(io)?;
            offset += bundle.bytes.len() as u64;
            bytes += bundle.bytes.len() as u64;
            transactions += decided(bundle, fork.sequence);
            let epoch = bundle.header.epoch;
            epochs = Some(epochs.map_or((epoch, epoch), |(first, _)| (first, epoch)));
        }
    }
    out.sync()
        .and_then(|()| disk.sync_dir(&orphans))
        .map_err(io)?;
    let attached = reader.attached();
    let orphan = Orphan {
        number,
        journal: attached
            .as_ref()
            .map_or(JournalId::NONE, |header| header.journal),
        name: attached.map_or_else(unreachable_name, |header| header.journal_name),
        fork,
        last: tip,
        epochs: epochs.unwrap_or_default(),
        entries: tip.sequence.entries_since(fork.sequence),
        transactions: Some(transactions),
        bytes,
        archived_at: now,
        reason: reason.to_owned(),
        file,
    };
    let version = VERSION;
    let manifest = Manifest {
        version,
        orphan: &orphan,
    };
    let manifest = serde_json::to_vec_pretty(&manifest).map_err(|error| JournalError::Orphan {
        path: path.clone(),
        reason: error.to_string(),
    })?;
    replace_whole(&**disk, &manifest_path(dir, number), &manifest).map_err(io)?;
    Ok(orphan)
}

fn unreachable_name() -> QualifiedName {
    unreachable!("a history that forked has at least one receiver")
}

/// Transactions decided in a bundle behind the fork: commits, and changes of rows outside commit cycles. An image before an
/// update goes with the update.
fn decided(bundle: &StoredBundle, fork: Sequence) -> u64 {
    let counts = |view: &EntryView<'_>| {
        let before = matches!(view.kind, Kind::RECORD_BEFORE | Kind::ROLLBACK_BEFORE);
        let alone = view.kind.is_record() && view.cycle == Sequence::NONE && !before;
        view.sequence > fork && (alone || view.kind == Kind::CYCLE_COMMIT)
    };
    bundle.entries().flatten().filter(counts).count() as u64
}

/// The file with the entries of an archive, in the journal's directory.
pub(super) fn entries_file(number: u64) -> PathBuf {
    PathBuf::from(ORPHANS_DIR).join(format!("orphan{number:06}.entries"))
}

fn manifest_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(ORPHANS_DIR)
        .join(format!("orphan{number:06}.json"))
}

/// What one archive of a journal holds; nothing where there is none of that number.
pub(super) fn one(
    disk: &dyn Disk,
    dir: &Path,
    number: u64,
) -> Result<Option<Orphan>, JournalError> {
    let path = manifest_path(dir, number);
    let bytes = read_whole(disk, &path, MANIFEST_BYTES_MAX)
        .map_err(|source| JournalError::io("could not be read", &path, source))?;
    bytes.map(|bytes| parse(&bytes, path)).transpose()
}

/// What an entry that something else here proves to have been flushed and confirmed proves of a copy that was cut since: no
/// more than the fork, where the entry stands in an archive. One that cannot be read says nothing.
pub(super) fn proven(disk: &dyn Disk, dir: &Path, archives: u64, known: Sequence) -> Sequence {
    let orphans = (1..=archives).filter_map(|number| one(disk, dir, number).ok().flatten());
    orphans.fold(known, |known, orphan| {
        let holds = orphan.fork.sequence < known && known <= orphan.last.sequence;
        if holds { orphan.fork.sequence } else { known }
    })
}

/// Archives, by number, and why further ones cannot be read.
type Found = (Vec<Orphan>, Vec<JournalError>);

/// All archives of a journal.
pub(super) fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<Orphan>, JournalError> {
    let (found, unreadable) = orphans_in(disk, dir)?;
    unreadable.into_iter().next().map_or(Ok(found), Err)
}

/// All archives of the journal in a directory, by number, and why further ones cannot be read.
///
/// # Errors
/// [`JournalError::Io`] when the disk refuses.
pub fn orphans_in(disk: &dyn Disk, dir: &Path) -> Result<Found, JournalError> {
    let orphans = dir.join(ORPHANS_DIR);
    let names = match disk.list(&orphans) {
        Ok(names) => names,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::default()),
        Err(source) => return Err(JournalError::io("could not be listed", orphans, source)),
    };
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    let paths = names.iter().map(|name| orphans.join(name));
    for path in paths.filter(|path| path.extension().is_some_and(|end| end == "json")) {
        let bytes = read_whole(disk, &path, MANIFEST_BYTES_MAX)
            .map_err(|source| JournalError::io("could not be read", &path, source));
        match bytes.and_then(|bytes| parse(&bytes.unwrap_or_default(), path)) {
            Ok(orphan) => found.push(orphan),
            Err(error) => unreadable.push(error),
        }
    }
    found.sort_by_key(|orphan| orphan.number);
    Ok((found, unreadable))
}

fn parse(bytes: &[u8], path: PathBuf) -> Result<Orphan, JournalError> {
    let unreadable = |error: serde_json::Error| JournalError::Orphan {
        path: path.clone(),
        reason: error.to_string(),
    };
    let ManifestVersion { version: found } = serde_json::from_slice(bytes).map_err(unreadable)?;
    if found > VERSION {
        return Err(JournalError::Version { path, found });
    }
    serde_json::from_slice(bytes).map_err(unreadable)
}

/// Whether an entry is in an archive.
pub fn is_archived(orphans: &[Orphan], sequence: Sequence) -> bool {
    orphans
        .iter()
        .any(|orphan| sequence > orphan.fork.sequence && sequence <= orphan.last.sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_reads_back_and_one_of_a_newer_version_is_refused_by_it_alone() {
        let at = |sequence| Position {
            sequence: Sequence::new(sequence),
            head: crate::entry::ChainHead::from_bytes([1; 32]),
        };
        let orphan = Orphan {
            number: 1,
            journal: JournalId::NONE,
            name: "A/B".parse().unwrap(),
            fork: at(4),
            last: at(7),
            epochs: (Epoch::NONE, Epoch::NONE),
            entries: 3,
            transactions: Some(1),
            bytes: 700,
            archived_at: Timestamp::ZERO,
            reason: "a fork".to_owned(),
            file: PathBuf::from("orphans/orphan000001.entries"),
        };
        let manifest = |version| {
            let orphan = &orphan;
            serde_json::to_string(&Manifest { version, orphan }).unwrap()
        };
        let read = |text: &str| parse(text.as_bytes(), PathBuf::from("o.json"));
        let text = manifest(VERSION);
        assert!(text.starts_with(r#"{"version":1,"number":1,"#), "{text}");
        assert_eq!(read(&text).unwrap(), orphan);
        for newer in [&*manifest(2), r#"{"version":2,"forks":[]}"#] {
            let error = read(newer).unwrap_err();
            assert!(
                matches!(error, JournalError::Version { found: 2, .. }),
                "{error}"
            );
        }
        assert!(read("{}").is_err());
    }
}
