//! Package `cli`, the demonstration: the proofs that hold for any work: rows on both sides, and receivers on both sides.
//! Everything is read back from the stores and the disks. Must not know what work was done.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rjournal::daemon::command::journal::JournalDescription;
use rjournal::entry::{FileName, RECEIVER_HEADER_BYTES, ReceiverHeader};
use rjournal::receiver::ReceiverRecord;
use rjournal_apply::serve::DatabaseClient;

use crate::error::CliError;
use crate::pair::{Pair, SystemProcess};

/// Rows compared at once.
const PAGE_ROWS: usize = 4096;
/// Differences told.
const DIFFERENCES_MAX: usize = 10;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Proofs {
    pub(super) entries: u64,
    pub(super) files: u64,
    pub(super) rows: u64,
    pub(super) replica_equal: bool,
    pub(super) receivers_identical: bool,
    pub(super) receiver_bytes: u64,
    pub(super) lost_sync_answers: u64,
    /// Answered transactions that are not in the history, and are listed among the orphans.
    pub(super) orphans_answered: u64,
    /// Their names.
    pub(super) orphans_named: Vec<String>,
    /// Orphans that were tried again and are in the history.
    pub(super) orphans_landed: u64,
    pub(super) content_right: bool,
    /// What `content_right` says.
    pub(super) content_text: &'static str,
    /// The first differences, for people.
    pub(super) differences: Vec<String>,
}

impl Proofs {
    /// Compares the stores row by row, and the receivers byte by byte.
    pub(super) async fn of_both_sides(pair: &Pair) -> Result<Self, CliError> {
        let mut proofs = Self {
            replica_equal: true,
            ..Self::default()
        };
        let mut primary = pair.source.database().await?;
        let mut replica = pair.target.database().await?;
        let files = primary.files().await?;
        let others = replica.files().await?;
        proofs.files = files.len() as u64;
        if files.len() != others.len() {
            proofs.replica_equal = false;
            proofs.tell(format!(
                "{} files on PRD, {} on BKP",
                files.len(),
                others.len()
            ));
        }
        for file in &files {
            let name = file.format.file();
            proofs.compare(&mut primary, &mut replica, name).await?;
        }
        proofs.compare_receivers(pair).await?;
        Ok(proofs)
    }

    /// Notes something that is not as it should be.
    pub(super) fn tell(&mut self, text: String) {
        if self.differences.len() < DIFFERENCES_MAX {
            self.differences.push(text);
        }
    }

    async fn compare(
        &mut self,
        primary: &mut DatabaseClient,
        replica: &mut DatabaseClient,
        file: &FileName,
    ) -> Result<(), CliError> {
        let mut after = None::<Vec<u8>>;
        loop {
            let here = primary.scan(file, after.as_deref(), PAGE_ROWS).await?;
            let there = replica.scan(file, after.as_deref(), PAGE_ROWS).await?;
            if here.rows != there.rows {
                self.replica_equal = false;
                let equal = here
                    .rows
                    .iter()
                    .zip(&there.rows)
                    .take_while(|(here, there)| here == there)
                    .count();
                self.tell(format!(
                    "{file}: row {} differs",
                    self.rows + equal as u64 + 1
                ));
                return Ok(());
            }
            let Some(last) = here.rows.last() else {
                return Ok(());
            };
            after = Some(last.key.clone());
            self.rows += here.rows.len() as u64;
        }
    }

    /// Each journal and its copy: all receivers but the attached one, which goes on changing, as whole files; that one by the
    /// chain head over everything that is in it.
    async fn compare_receivers(&mut self, pair: &Pair) -> Result<(), CliError> {
        self.receivers_identical = true;
        let (mut compared, copies) = (0, pair.target.journals().await?);
        for here in pair.source.journals().await? {
            self.entries += here.watermarks.settled.get();
            let same = |copy: &&JournalDescription| copy.journal_id == here.journal_id;
            let Some(there) = copies.iter().find(same) else {
                self.differ(format!("journal {} has no copy", here.journal));
                continue;
            };
            let (one, other) = (&here.watermarks, &there.watermarks);
            if (one.sealed, one.head) != (other.sealed, other.head) {
                self.differ(format!(
                    "journal {} ends at entry {} on PRD, at {} on BKP, or its last entries differ",
                    here.journal, one.sealed, other.sealed
                ));
            }
            let (here, there) = (detached(&here), detached(there));
            if here.len() != there.len() {
                self.differ(format!(
                    "{} receivers on PRD, {} on BKP",
                    here.len(),
                    there.len()
                ));
            }
            for (ours, theirs) in here.iter().zip(&there) {
                let same = (ours.receiver, ours.bytes) == (theirs.receiver, theirs.bytes)
                    && same_bytes(
                        &receiver_path(&pair.source, ours)?,
                        &receiver_path(&pair.target, theirs)?,
                        ours.bytes,
                    )?;
                if !same {
                    self.differ(format!("receiver {} differs", ours.receiver));
                }
                self.receiver_bytes += ours.bytes;
                compared += 1;
            }
        }
        if compared == 0 {
            self.differ("there is no receiver to compare".to_owned());
        }
        Ok(())
    }

    fn differ(&mut self, text: String) {
        self.receivers_identical = false;
        self.tell(text);
    }
}

fn detached(journal: &JournalDescription) -> Vec<ReceiverRecord> {
    let all = journal.receivers.iter();
    all.filter(|receiver| receiver.last.is_some())
        .cloned()
        .collect()
}

/// Where a receiver of a system lies: directories of journals have no telling names, but a receiver's header says which it is.
fn receiver_path(system: &SystemProcess, receiver: &ReceiverRecord) -> Result<PathBuf, CliError> {
    let journals = system.data.join("journals");
    let failed = |path: &Path, error: std::io::Error| {
        CliError::invalid(format!("{}: {error}", path.display()))
    };
    let found = std::fs::read_dir(&journals).map_err(|error| failed(&journals, error))?;
    for journal in found {
        let path = journal
            .map_err(|error| failed(&journals, error))?
            .path()
            .join("receivers")
            .join(format!("r{:08}.rcv", receiver.file));
        let Ok(mut file) = File::open(&path) else {
            continue;
        };
        let mut header = vec![0; RECEIVER_HEADER_BYTES];
        // One that is shorter is none that was detached.
        let header = file
            .read_exact(&mut header)
            .ok()
            .and_then(|()| ReceiverHeader::decode(&header).ok());
        if header.is_some_and(|header| header.receiver == receiver.receiver) {
            return Ok(path);
        }
    }
    Err(CliError::invalid(format!(
        "{}: receiver {} is not there",
        journals.display(),
        receiver.receiver
    )))
}

/// Whether two files are the same in their first bytes.
fn same_bytes(here: &Path, there: &Path, bytes: u64) -> Result<bool, CliError> {
    let open = |path: &Path| {
        File::open(path)
            .map(|file| file.take(bytes))
            .map_err(|error| CliError::invalid(format!("{}: {error}", path.display())))
    };
    let (mut here, mut there) = (open(here)?, open(there)?);
    let (mut one, mut other) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut compared = 0;
    loop {
        let read = here
            .read(&mut one)
            .map_err(|error| CliError::internal(&error))?;
        if read == 0 {
            return Ok(compared == bytes);
        }
        let (Some(mine), Some(theirs)) = (one.get(..read), other.get_mut(..read)) else {
            return Ok(false);
        };
        if there.read_exact(theirs).is_err() || mine != theirs {
            return Ok(false);
        }
        compared += read as u64;
    }
}
