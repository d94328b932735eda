//! Room `store`: what both stores are underneath: an ordered map from bytes to bytes, read at one state and changed in
//! one step. Everything else in this room is said in these few verbs. Must not know what keys and values mean.

use std::ops::{Bound, ControlFlow};

use super::StoreError;

/// Goes on, stops, or fails.
pub(super) type Visit = Result<ControlFlow<()>, StoreError>;

/// A key and its value.
pub(super) type Entry = (Vec<u8>, Vec<u8>);

/// An ordered map at one state.
pub(super) trait Ordered {
    /// Hands the value of a key to `read`, nothing when there is none.
    ///
    /// # Errors
    /// Whatever the store says.
    fn look<T>(&self, key: &[u8], read: impl FnOnce(Option<&[u8]>) -> T) -> Result<T, StoreError>;

    /// Shows keys and values in key order from `from` to before `to`, until `visit` breaks.
    ///
    /// # Errors
    /// Whatever the store or `visit` says.
    fn walk(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        visit: impl FnMut(&[u8], &[u8]) -> Visit,
    ) -> Result<(), StoreError>;

    /// The last key, and its value, from `from` to before `to`.
    ///
    /// # Errors
    /// Whatever the store says.
    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Entry>, StoreError>;

    /// The error that says that this map does not hold what it should.
    fn doubtful(&self, reason: String) -> StoreError;
}

/// An ordered map in the middle of a step. What is read may or may not show what the step has changed so far, so no
/// step reads a key that it has changed.
pub(super) trait OrderedMut: Ordered {
    /// Puts a value in place of whatever the key had.
    ///
    /// # Errors
    /// Whatever the store says.
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), StoreError>;

    /// Takes a key away, if it is there.
    ///
    /// # Errors
    /// Whatever the store says.
    fn remove(&mut self, key: Vec<u8>) -> Result<(), StoreError>;

    /// Bytes of key and value up to which a value stays in one piece.
    fn whole_bytes_max(&self) -> usize;
}
