//! Room `store`: what a store knows about itself: where it stands, which files it has, in which spaces, with how many
//! rows. All of it changes in the same step as the rows. Must not know rows.

use std::ops::{Bound, ControlFlow};

use rjournal::entry::record::Format;
use rjournal::entry::{Cursor, ObjectId};

use super::layout::{GONE, ROW_KEY_AT, SPACE, STATE, file_of, format_key, space_key, space_of};
use super::ordered::Ordered;
use super::{StoreError, StorePosition, StoredFile, values};

const LAYOUT: u8 = 1;
/// Spaces end here, so that the one after a space always has a number.
const SPACE_MAX: u64 = u64::MAX / 2;

/// The state of a store. Bytes: layout 1, generation 8, next space 8, then 0, or 1 and the position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    /// How many steps were applied, ever: two states of one store with one generation are one state.
    pub(super) generation: u64,
    /// The space the next new file gets.
    pub(super) next_space: u64,
    /// Where the store stands.
    pub(super) position: Option<StorePosition>,
}

impl State {
    /// A store that was never written.
    pub(super) const EMPTY: Self = Self {
        generation: 0,
        next_space: 1,
        position: None,
    };

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![LAYOUT];
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.next_space.to_le_bytes());
        out.push(u8::from(self.position.is_some()));
        if let Some(position) = &self.position {
            position.put(&mut out);
        }
        out
    }

    /// Reads what [`Self::encode`] gave; nothing when the bytes are not that.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        if cursor.u8()? != LAYOUT {
            return None;
        }
        let generation = cursor.u64()?;
        let next_space = cursor.u64()?;
        let position = match cursor.u8()? {
            0 => None,
            1 => Some(StorePosition::take(&mut cursor)?),
            _ => return None,
        };
        let sound = cursor.remaining() == 0 && (1..=SPACE_MAX).contains(&next_space);
        sound.then_some(Self {
            generation,
            next_space,
            position,
        })
    }
}

/// The space of a file, and how many rows stand in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Space {
    pub(super) number: u64,
    pub(super) rows: u64,
}

impl Space {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut out = self.number.to_le_bytes().to_vec();
        out.extend_from_slice(&self.rows.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        let space = Self {
            number: cursor.u64()?,
            rows: cursor.u64()?,
        };
        (cursor.remaining() == 0).then_some(space)
    }
}

/// The state of the store.
pub(super) fn state<M: Ordered>(map: &M) -> Result<State, StoreError> {
    map.look(STATE, |bytes| {
        bytes.map_or(Some(State::EMPTY), State::decode)
    })?
    .ok_or_else(|| map.doubtful("its state cannot be read".to_owned()))
}

/// The space of a file; nothing when there is no such file.
pub(super) fn space<M: Ordered>(map: &M, file: ObjectId) -> Result<Option<Space>, StoreError> {
    let found = map.look(&space_key(file), |bytes| bytes.map(Space::decode))?;
    match found {
        None => Ok(None),
        Some(Some(space)) => Ok(Some(space)),
        Some(None) => Err(map.doubtful(format!("the space of file {file} cannot be read"))),
    }
}

/// All files and their spaces, by identity.
pub(super) fn spaces<M: Ordered>(map: &M) -> Result<Vec<(ObjectId, Space)>, StoreError> {
    let mut spaces = Vec::new();
    walk_kind(map, SPACE, |key, bytes| {
        let entry = file_of(key).zip(Space::decode(bytes));
        spaces.push(entry.ok_or_else(|| map.doubtful("a file's space cannot be read".to_owned()))?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(spaces)
}

/// All files with their formats and spaces, by identity.
pub(super) fn files<M: Ordered>(map: &M) -> Result<Vec<(StoredFile, Space)>, StoreError> {
    let mut files = Vec::new();
    for (id, space) in spaces(map)? {
        let bytes = values::get(map, space.number, &format_key(id))?;
        let format = bytes.and_then(|bytes| Format::decode(&bytes).ok());
        let format = format.ok_or_else(|| {
            map.doubtful(format!(
                "the format of file {id} is missing or cannot be read"
            ))
        })?;
        let rows = space.rows;
        files.push((StoredFile { id, format, rows }, space));
    }
    Ok(files)
}

/// The first space that belongs to no file any more.
pub(super) fn first_gone<M: Ordered>(map: &M) -> Result<Option<u64>, StoreError> {
    let mut first = None;
    walk_kind(map, GONE, |key, _| {
        let space = space_of(key).filter(|_| key.len() == ROW_KEY_AT);
        first =
            Some(space.ok_or_else(|| {
                map.doubtful("the key of an emptied space is crooked".to_owned())
            })?);
        Ok(ControlFlow::Break(()))
    })?;
    Ok(first)
}

fn walk_kind<M: Ordered>(
    map: &M,
    kind: u8,
    visit: impl FnMut(&[u8], &[u8]) -> super::ordered::Visit,
) -> Result<(), StoreError> {
    map.walk(
        Bound::Included(&[kind]),
        Bound::Excluded(&[kind + 1]),
        visit,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_reads_back_and_no_longer_or_shorter_one_does() {
        let state = State {
            generation: 9,
            ..State::EMPTY
        };
        let bytes = state.encode();
        assert_eq!(State::decode(&bytes), Some(state));
        assert_eq!(State::decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(State::decode(&[&bytes[..], &[0]].concat()), None);
    }
}
