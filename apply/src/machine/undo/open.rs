//! Room `apply`, the machine, undo: commit cycles that are open while the history behind the fork is surveyed: what of them
//! could not be taken out, should they be committed. Must not keep images.

use std::collections::BTreeMap;

use rjournal::entry::{ObjectId, Sequence};

/// The first change of a file that lacks an image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lack {
    pub(super) sequence: Sequence,
    pub(super) reason: &'static str,
}

/// Files with changes that lack images.
pub(super) type Lacking = BTreeMap<ObjectId, Lack>;

/// Keeps the first of each file.
pub(super) fn note_lack(lacking: &mut Lacking, file: ObjectId, lack: Lack) {
    let known = lacking.entry(file).or_insert(lack);
    if lack.sequence < known.sequence {
        *known = lack;
    }
}

/// A cycle that is not decided yet.
#[derive(Debug, Default)]
pub(super) struct OpenCycle {
    pub(super) rows: u64,
    pub(super) lacking: Lacking,
}

/// Those that are open, by the numbers of their beginnings.
pub(super) type OpenCycles = BTreeMap<Sequence, OpenCycle>;
