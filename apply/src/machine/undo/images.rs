//! Room `apply`, the machine, undo: from the images of an entry to the way back: an update to the image before it, a put to no
//! row, a delete to the row that went. What the store must hold is what the entry left. Must not know whether it counts.

use std::collections::BTreeMap;

use rjournal::entry::{EntryView, Sequence};

use super::super::meaning::{Change, Expect, Meaning, row_key};
use super::super::skip::Skips;
use crate::error::ApplyError;
use rjournal::entry::record::Format;

/// Images that wait for their updates, which stand right behind them in the same cycle.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    outside: Option<Vec<u8>>,
    inside: BTreeMap<Sequence, Vec<u8>>,
}

impl Waiting {
    /// Whether one waits.
    pub(super) fn is_any(&self) -> bool {
        self.outside.is_some() || !self.inside.is_empty()
    }

    /// None waits any more.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// An image stands before an update.
    pub(super) fn put(&mut self, view: &EntryView<'_>) {
        let image = view.payload.bytes().to_vec();
        if view.cycle == Sequence::NONE {
            self.outside = Some(image);
        } else {
            self.inside.insert(view.cycle, image);
        }
    }

    /// The image that stands before this entry, if one does.
    pub(super) fn take(&mut self, view: &EntryView<'_>) -> Option<Vec<u8>> {
        if view.cycle == Sequence::NONE {
            self.outside.take()
        } else {
            self.inside.remove(&view.cycle)
        }
    }

    /// Whether an entry was passed over when it was applied; the image before it went with it.
    pub(super) fn is_passed_over(&mut self, view: &EntryView<'_>, skips: &Skips) -> bool {
        let passed_over = skips.contains(view.sequence);
        if passed_over {
            self.outside = None;
            self.inside.remove(&view.cycle);
        }
        passed_over
    }
}

/// Why a change cannot be taken out.
pub(super) const fn lack(meaning: &Meaning, indicator: u8, before: bool) -> Option<&'static str> {
    match meaning {
        Meaning::Update if !before => {
            Some("the journal has no image of the row before it (images *AFTER)")
        }
        Meaning::Delete if indicator != 1 => {
            Some("the journal has no image of the row that was deleted (images *AFTER)")
        }
        _ => None,
    }
}

/// The change that takes an entry out; nothing where an image is lacking.
///
/// # Errors
/// [`ApplyError::Poison`] when its images are no rows of the format.
pub(super) fn back(
    view: &EntryView<'_>,
    meaning: &Meaning,
    before: Option<Vec<u8>>,
    format: &Format,
) -> Result<Option<Change>, ApplyError> {
    let image = view.payload.bytes();
    let (row, expect) = match (meaning, before) {
        (Meaning::Put, _) => (None, Expect::Row(image.to_vec())),
        (Meaning::Update, Some(before)) => (Some(before), Expect::Row(image.to_vec())),
        (Meaning::Delete, _) if view.indicator == 1 => (Some(image.to_vec()), Expect::Absent),
        _ => return Ok(None),
    };
    Ok(Some(Change {
        sequence: view.sequence,
        file: view.object,
        key: row_key(view, format, image)?,
        row,
        expect,
    }))
}
