//! Room `journal`: a journal that is not in use, as its repair sees it: what its control file and its flush mark say should
//! be there. Reads only. Must not know who repairs it, or with what.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::control::{Control, ControlFile, JournalKind};
use super::local::RECEIVERS_DIR;
use super::mark::MarkFile;
use crate::disk::Disk;
use crate::entry::Sequence;
use crate::error::JournalError;
use crate::receiver::{Ending, Expected, expected_on_disk};

/// What should be there of a journal.
#[derive(Debug)]
pub struct Outline {
    /// What is kept about it.
    pub control: Control,
    /// Where its receivers are.
    pub receivers_dir: PathBuf,
    /// Its receivers, oldest first.
    pub expected: Vec<Expected>,
}

/// What should be there of the journal in `dir`, which is not in use. `known` is an entry that something else here proves
/// to have been flushed.
///
/// # Errors
/// [`JournalError`] when the control file or the directory cannot be read.
pub fn outline(disk: &Arc<dyn Disk>, dir: &Path, known: Sequence) -> Result<Outline, JournalError> {
    let (control, _) = ControlFile::open(Arc::clone(disk), dir)?;
    let (_, mark) = MarkFile::open(&**disk, dir)?;
    let control = control.get().clone();
    let mark = mark.map(|mark| mark.written);
    let marked = mark.map_or(Sequence::NONE, |mark| mark.sequence);
    let last = match control.cut {
        // What stands behind a cut that was begun is archived, and is to go.
        Some(_) => Ending::Open {
            known: Sequence::NONE,
            mark: None,
            sealed_here: false,
        },
        None => Ending::Open {
            known: known.max(marked),
            mark,
            sealed_here: control.kind == JournalKind::Local,
        },
    };
    let receivers_dir = dir.join(RECEIVERS_DIR);
    let expected = expected_on_disk(
        disk,
        &receivers_dir,
        control.journal,
        &control.receivers,
        last,
    )?;
    Ok(Outline {
        control,
        receivers_dir,
        expected,
    })
}
