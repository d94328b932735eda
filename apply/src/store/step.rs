//! Room `store`: one step: a batch becomes changes of an ordered map, all of which the map takes or none. Also the small
//! steps that empty the spaces of files that are gone. Must not know how the map makes a step whole.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use rjournal::entry::ObjectId;
use rjournal::entry::record::{Format, KEY_BYTES_MAX, ROW_BYTES_MAX};

use super::catalog::{self, Space, State};
use super::layout::{PIECE, ROW, STATE, area, format_key, gone_key, row_key, space_key};
use super::ordered::OrderedMut;
use super::position::in_words;
use super::{Batch, FileChange, RowChange, StoreError, values};

/// How many entries one small step of emptying takes away: a few milliseconds, so that no batch waits long for it.
const EMPTIED_PER_STEP: usize = 2000;

/// What a step led to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stepped {
    /// The state from now on.
    pub(super) state: State,
    /// Whether a space was left behind that has to be emptied.
    pub(super) left_space: bool,
}

/// Makes the changes of a batch, or says why not; the caller drops what was changed then.
///
/// # Errors
/// [`StoreError::Moved`], [`StoreError::NoFile`], [`StoreError::TooLarge`], or whatever the map says.
pub(super) fn apply<M: OrderedMut>(
    map: &mut M,
    batch: &Batch,
    bytes_max: Option<usize>,
) -> Result<Stepped, StoreError> {
    let state = catalog::state(map)?;
    if state.position != batch.expected {
        return Err(StoreError::Moved {
            expected: in_words(batch.expected.as_ref()),
            found: in_words(state.position.as_ref()),
        });
    }
    check_sizes(batch, bytes_max)?;
    let mut files = Files {
        known: BTreeMap::new(),
        next_space: state.next_space,
        gone: Vec::new(),
    };
    for change in &batch.files {
        files.change(map, change)?;
    }
    let rows = last_of_each_key(map, &mut files, &batch.rows)?;
    for ((file, key), row) in rows {
        files.change_row(map, file, key, row)?;
    }
    let left_space = !files.gone.is_empty();
    let next_space = files.next_space;
    files.write(map)?;
    let state = State {
        generation: state.generation + 1,
        next_space,
        position: Some(batch.next),
    };
    map.put(STATE.to_vec(), state.encode())?;
    Ok(Stepped { state, left_space })
}

/// Takes away some entries of a space that belongs to no file any more. Gives whether there may be others.
///
/// # Errors
/// Whatever the map says.
pub(super) fn empty_some<M: OrderedMut>(map: &mut M) -> Result<bool, StoreError> {
    let Some(space) = catalog::first_gone(map)? else {
        return Ok(false);
    };
    let mut keys = Vec::new();
    for kind in [ROW, PIECE] {
        let (from, to) = area(kind, space);
        map.walk(Bound::Included(&from), Bound::Excluded(&to), |key, _| {
            if keys.len() == EMPTIED_PER_STEP {
                return Ok(ControlFlow::Break(()));
            }
            keys.push(key.to_vec());
            Ok(ControlFlow::Continue(()))
        })?;
    }
    if keys.len() < EMPTIED_PER_STEP {
        keys.push(gone_key(space));
    }
    for key in keys {
        map.remove(key)?;
    }
    Ok(true)
}

fn check_sizes(batch: &Batch, bytes_max: Option<usize>) -> Result<(), StoreError> {
    let too_large = |what, bytes: usize, bytes_max: usize| {
        Err(StoreError::TooLarge {
            what,
            bytes: bytes as u64,
            bytes_max: bytes_max as u64,
        })
    };
    for change in &batch.rows {
        let row_bytes = change.row.as_ref().map_or(0, Vec::len);
        if change.key.len() > KEY_BYTES_MAX {
            return too_large("a key", change.key.len(), KEY_BYTES_MAX);
        }
        if row_bytes > ROW_BYTES_MAX {
            return too_large("a row", row_bytes, ROW_BYTES_MAX);
        }
    }
    match bytes_max {
        Some(bytes_max) if batch.bytes() > bytes_max => {
            too_large("a batch", batch.bytes(), bytes_max)
        }
        _ => Ok(()),
    }
}

/// A file in the middle of a step.
#[derive(Debug)]
struct Known<'a> {
    /// Where its rows stand; nothing for a file that is not there.
    space: Option<Space>,
    /// Its new format.
    format: Option<&'a Format>,
    /// Whether anything about it has to be written.
    changed: bool,
    /// Whether the store had it before the step.
    was_there: bool,
}

/// The files a step touches.
#[derive(Debug)]
struct Files<'a> {
    known: BTreeMap<ObjectId, Known<'a>>,
    next_space: u64,
    gone: Vec<u64>,
}

impl<'a> Files<'a> {
    fn known<M: OrderedMut>(
        &mut self,
        map: &M,
        file: ObjectId,
    ) -> Result<&mut Known<'a>, StoreError> {
        use std::collections::btree_map::Entry;
        match self.known.entry(file) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(vacant) => {
                let space = catalog::space(map, file)?;
                Ok(vacant.insert(Known {
                    space,
                    format: None,
                    changed: false,
                    was_there: space.is_some(),
                }))
            }
        }
    }

    fn change<M: OrderedMut>(&mut self, map: &M, change: &'a FileChange) -> Result<(), StoreError> {
        match change {
            FileChange::Put { id, format } => {
                let number = self.next_space;
                let known = self.known(map, *id)?;
                known.format = Some(format);
                known.changed = true;
                if known.space.is_none() {
                    known.space = Some(Space { number, rows: 0 });
                    self.next_space += 1;
                }
            }
            FileChange::Drop { id } => {
                let known = self.known(map, *id)?;
                known.format = None;
                known.changed = true;
                if let Some(space) = known.space.take() {
                    self.gone.push(space.number);
                }
            }
        }
        Ok(())
    }

    fn change_row<M: OrderedMut>(
        &mut self,
        map: &mut M,
        file: ObjectId,
        key: &[u8],
        row: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        let known = self.known(map, file)?;
        let Some(space) = &mut known.space else {
            return Err(StoreError::NoFile { file });
        };
        let stored_key = row_key(space.number, key);
        let (was_there, is_there) = match row {
            Some(row) => (values::put(map, space.number, stored_key, row)?, true),
            None => (values::remove(map, space.number, stored_key)?, false),
        };
        let rows = match (was_there, is_there) {
            (false, true) => space.rows.checked_add(1),
            (true, false) => space.rows.checked_sub(1),
            _ => return Ok(()),
        };
        space.rows =
            rows.ok_or_else(|| map.doubtful(format!("file {file} has more rows than it counts")))?;
        known.changed = true;
        Ok(())
    }

    fn write<M: OrderedMut>(self, map: &mut M) -> Result<(), StoreError> {
        for (file, known) in self.known {
            match known.space {
                _ if !known.changed => {}
                Some(space) => {
                    if let Some(format) = known.format {
                        values::put(map, space.number, format_key(file), &format.encode())?;
                    }
                    map.put(space_key(file), space.encode())?;
                }
                None if known.was_there => {
                    map.remove(space_key(file))?;
                    map.remove(format_key(file))?;
                }
                None => {}
            }
        }
        for space in self.gone {
            map.put(gone_key(space), Vec::new())?;
        }
        Ok(())
    }
}

type Rows<'a> = BTreeMap<(ObjectId, &'a [u8]), Option<&'a [u8]>>;

fn last_of_each_key<'a, M: OrderedMut>(
    map: &M,
    files: &mut Files<'_>,
    changes: &'a [RowChange],
) -> Result<Rows<'a>, StoreError> {
    let mut rows = Rows::new();
    for change in changes {
        if files.known(map, change.file)?.space.is_none() {
            return Err(StoreError::NoFile { file: change.file });
        }
        rows.insert((change.file, &change.key), change.row.as_deref());
    }
    Ok(rows)
}
