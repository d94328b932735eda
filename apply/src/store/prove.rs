//! Room `store`: a store proves itself on opening: by the marker it left when it was closed, or, without one, by being
//! read through and counted. What does not fit is never served. Must not know which store it is.

use std::collections::HashMap;
use std::ops::{Bound, ControlFlow};

use super::catalog::{self, Space, State};
use super::clean::CleanMarker;
use super::layout::{FORMAT, GONE, PIECE, ROW, SPACE, STATE, format_key, space_of};
use super::ordered::Ordered;
use super::{StoreError, values};

/// What is known about a store beside its rows.
#[derive(Debug)]
pub(super) struct Evidence {
    /// What it left when it was closed; nothing when it was not closed in order.
    pub(super) clean: Option<CleanMarker>,
    /// A generation that was durable once.
    pub(super) durable: u64,
}

/// Proves that a store is whole, and gives its state.
///
/// # Errors
/// [`StoreError::Doubtful`] when it is not, or whatever the map says.
pub(super) fn prove<M: Ordered>(map: &M, evidence: &Evidence) -> Result<State, StoreError> {
    let state = catalog::state(map)?;
    if state.generation < evidence.durable {
        return Err(map.doubtful(format!(
            "it stands at step {}, but step {} was durable once",
            state.generation, evidence.durable
        )));
    }
    match &evidence.clean {
        Some(clean) => {
            let found = CleanMarker::of(map)?;
            if *clean != found {
                return Err(map.doubtful(clean.difference(&found)));
            }
        }
        None => read_through(map, &state)?,
    }
    if let Some(mark) = state.position.and_then(|position| position.in_progress)
        && mark.is_restore()
    {
        return Err(
            map.doubtful("a save was being restored into it, and not to the end".to_owned())
        );
    }
    Ok(state)
}

/// What stands in one space.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    rows: u64,
    pieces: u64,
    pieces_due: u64,
}

/// Reads every entry of the map, so that what the store itself checks is checked too, and compares rows and pieces with
/// the numbers that were kept in the same steps.
fn read_through<M: Ordered>(map: &M, state: &State) -> Result<(), StoreError> {
    let files = catalog::files(map)?;
    let mut counted: HashMap<u64, Counted> = HashMap::new();
    let mut gone: Vec<u64> = Vec::new();
    let mut formats: usize = 0;
    let mut before: Vec<u8> = Vec::new();
    map.walk(Bound::Unbounded, Bound::Unbounded, |key, value| {
        if !before.is_empty() && before.as_slice() >= key {
            return Err(map.doubtful("its keys are out of order".to_owned()));
        }
        before.clear();
        before.extend_from_slice(key);
        let crooked = || map.doubtful("an entry of it cannot be read".to_owned());
        let space = || space_of(key).ok_or_else(crooked);
        match key.first() {
            Some(0) if key == STATE => {}
            Some(&FORMAT) => formats += 1,
            // Read with the files above.
            Some(&SPACE) => {}
            Some(&ROW) => {
                let space = space()?;
                // Whether it is what was written, with all its pieces.
                values::whole(map, space, key, value)?;
                let counted = counted.entry(space).or_default();
                counted.rows += 1;
                counted.pieces_due += u64::from(values::pieces(value).ok_or_else(crooked)?);
            }
            Some(&PIECE) => counted.entry(space()?).or_default().pieces += 1,
            Some(&GONE) => gone.push(space()?),
            _ => return Err(crooked()),
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if formats != files.len() {
        let reason = format!("it has {} files and {formats} formats", files.len());
        return Err(map.doubtful(reason));
    }
    for (file, space) in &files {
        let mut found = counted.remove(&space.number).unwrap_or_default();
        let format = map.look(&format_key(file.id), |value| {
            value.and_then(values::pieces).unwrap_or(0)
        })?;
        found.pieces_due += u64::from(format);
        compare(map, state, *space, found)?;
    }
    for space in gone {
        counted.remove(&space);
    }
    match counted.keys().next() {
        None => Ok(()),
        Some(space) => Err(map.doubtful(format!("rows stand in space {space}, which no file has"))),
    }
}

fn compare<M: Ordered>(
    map: &M,
    state: &State,
    space: Space,
    found: Counted,
) -> Result<(), StoreError> {
    let number = space.number;
    let reason = if number >= state.next_space {
        format!("space {number} is in use, but was never given")
    } else if found.rows != space.rows {
        format!(
            "space {number} has {} rows, {} were counted when they were written",
            found.rows, space.rows
        )
    } else if found.pieces != found.pieces_due {
        format!(
            "space {number} has {} pieces of large rows, {} are needed",
            found.pieces, found.pieces_due
        )
    } else {
        return Ok(());
    };
    Err(map.doubtful(reason))
}
