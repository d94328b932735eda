//! Room `store`: reading rows from a map at one state. Must not know which map it is, or who changes it.

use std::ops::{Bound, ControlFlow};

use super::layout::{ROW, area, key_of, row_key};
use super::ordered::Ordered;
use super::{KeyedRow, StoreError, values};

/// How much one scan may give.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Rows.
    pub(super) count: usize,
    /// Bytes of keys and rows; the row that reaches it is the last.
    pub(super) bytes: usize,
}

/// Rows of a scan, until there are enough.
#[derive(Debug)]
pub(super) struct Gathered {
    rows: Vec<KeyedRow>,
    bytes: usize,
    limits: Limits,
}

impl Gathered {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            rows: Vec::new(),
            bytes: 0,
            limits,
        }
    }

    /// Takes one more row, and says whether there may be others.
    pub(super) fn push(&mut self, key: &[u8], row: Vec<u8>) -> ControlFlow<()> {
        self.bytes = self.bytes.saturating_add(key.len() + row.len());
        self.rows.push(KeyedRow {
            key: key.to_vec(),
            row,
        });
        if self.rows.len() >= self.limits.count || self.bytes >= self.limits.bytes {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    pub(super) fn into_rows(self) -> Vec<KeyedRow> {
        self.rows
    }
}

/// One row.
pub(super) fn get<M: Ordered>(
    map: &M,
    space: u64,
    key: &[u8],
) -> Result<Option<Vec<u8>>, StoreError> {
    values::get(map, space, &row_key(space, key))
}

/// Rows with keys after `after`, or from the first.
pub(super) fn scan<M: Ordered>(
    map: &M,
    space: u64,
    after: Option<&[u8]>,
    limits: Limits,
) -> Result<Vec<KeyedRow>, StoreError> {
    let mut gathered = Gathered::new(limits);
    if limits.count == 0 {
        return Ok(Vec::new());
    }
    walk(map, space, after, |key, stored| {
        let row = values::whole(map, space, key, stored)?;
        Ok(gathered.push(key_of(key), row))
    })?;
    Ok(gathered.into_rows())
}

/// Shows the stored rows with keys after `after`, or from the first, under their full keys.
pub(super) fn walk<M: Ordered>(
    map: &M,
    space: u64,
    after: Option<&[u8]>,
    visit: impl FnMut(&[u8], &[u8]) -> super::ordered::Visit,
) -> Result<(), StoreError> {
    let (first, end) = area(ROW, space);
    let after = after.map(|key| row_key(space, key));
    let from = after
        .as_deref()
        .map_or(Bound::Included(first.as_slice()), Bound::Excluded);
    map.walk(from, Bound::Excluded(&end), visit)
}

/// The last row.
pub(super) fn last<M: Ordered>(map: &M, space: u64) -> Result<Option<KeyedRow>, StoreError> {
    let (first, end) = area(ROW, space);
    let Some((key, stored)) = map.last(&first, &end)? else {
        return Ok(None);
    };
    let row = values::whole(map, space, &key, &stored)?;
    Ok(Some(KeyedRow {
        key: key_of(&key).to_vec(),
        row,
    }))
}
