//! Package `cli`, the demonstration: the proofs that hold for any work: rows on both sides, and receivers on both sides.
//! Everything is read back from the stores and the disks. Must not know what work was done.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rjournal::entry::FileName;
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
            entries: pair.source.journal().await?.watermarks.settled.get(),
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

    /// All receivers but the attached one, which goes on changing: the whole files.
    async fn compare_receivers(&mut self, pair: &Pair) -> Result<(), CliError> {
        let detached = |journal: rjournal::daemon::command::journal::JournalDescription| {
            let receivers = journal.receivers.into_iter();
            receivers
                .filter(|receiver| receiver.last.is_some())
                .map(|receiver| (receiver.receiver, receiver.file, receiver.bytes))
                .collect::<Vec<_>>()
        };
        let here = detached(pair.source.journal().await?);
        let there = detached(pair.target.journal().await?);
        self.receivers_identical = !here.is_empty() && here.len() == there.len();
        for ((id, file, bytes), (other_id, other_file, other_bytes)) in here.iter().zip(&there) {
            let same = id == other_id
                && bytes == other_bytes
                && same_bytes(
                    &receiver_path(&pair.source, *file)?,
                    &receiver_path(&pair.target, *other_file)?,
                    *bytes,
                )?;
            if !same {
                self.receivers_identical = false;
                self.tell(format!("receiver {id} differs"));
            }
            self.receiver_bytes += bytes;
        }
        Ok(())
    }
}

/// Where a receiver of the system's only journal lies.
fn receiver_path(system: &SystemProcess, number: u64) -> Result<PathBuf, CliError> {
    let journals = system.data.join("journals");
    let failed =
        |error: std::io::Error| CliError::invalid(format!("{}: {error}", journals.display()));
    let mut found = std::fs::read_dir(&journals).map_err(failed)?;
    let journal = match found.next() {
        Some(journal) => journal.map_err(failed)?.path(),
        None => {
            return Err(CliError::invalid(format!(
                "{} is empty",
                journals.display()
            )));
        }
    };
    Ok(journal.join("receivers").join(format!("r{number:08}.rcv")))
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
