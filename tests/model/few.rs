//! Package `rjournal-model`: a handful of things held in place, so that a state is copied without a single allocation. Knows
//! nothing of what it holds.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};

/// At most `MAX` things, in order.
#[derive(Clone, Copy)]
pub struct Few<T, const MAX: usize> {
    items: [T; MAX],
    count: u8,
}

impl<T: Copy + Default, const MAX: usize> Few<T, MAX> {
    /// None yet.
    pub fn none() -> Self {
        Self {
            items: [T::default(); MAX],
            count: 0,
        }
    }

    /// One more at the end. The bounds of a configuration keep within `MAX`; more is a mistake of the model.
    pub fn push(&mut self, item: T) {
        self.items[usize::from(self.count)] = item;
        self.count += 1;
    }

    /// Keeps those that `keep` says yes to, in order.
    pub fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        let mut kept = Self::none();
        for item in self.iter().filter(|item| keep(item)) {
            kept.push(*item);
        }
        *self = kept;
    }
}

impl<T: Copy + Default, const MAX: usize> Default for Few<T, MAX> {
    fn default() -> Self {
        Self::none()
    }
}

impl<T, const MAX: usize> Deref for Few<T, MAX> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items[..usize::from(self.count)]
    }
}

impl<T, const MAX: usize> DerefMut for Few<T, MAX> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.items[..usize::from(self.count)]
    }
}

impl<T: PartialEq, const MAX: usize> PartialEq for Few<T, MAX> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq, const MAX: usize> Eq for Few<T, MAX> {}

impl<T: Hash, const MAX: usize> Hash for Few<T, MAX> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (**self).hash(hasher);
    }
}

impl<T: fmt::Debug, const MAX: usize> fmt::Debug for Few<T, MAX> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}
