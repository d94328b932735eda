//! Package `tests`: repeatable numbers. One seed gives one run, byte for byte.

use std::sync::Mutex;

use rjournal::journal::Entropy;

/// A generator of repeatable numbers (splitmix64).
#[derive(Debug, Clone)]
pub struct Seed(u64);

impl Seed {
    /// Starts at a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound.max(1)
    }

    /// True `times` times in a thousand.
    pub fn per_mille(&mut self, times: u64) -> bool {
        self.below(1000) < times
    }
}

/// Ids drawn from a seed.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<Seed>);

impl SeededEntropy {
    /// Starts at a seed.
    pub const fn new(seed: u64) -> Self {
        Self(Mutex::new(Seed::new(seed)))
    }
}

impl Entropy for SeededEntropy {
    fn id(&self) -> [u8; 16] {
        let mut seed = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&seed.draw().to_le_bytes());
        id[8..].copy_from_slice(&seed.draw().to_le_bytes());
        id
    }
}
