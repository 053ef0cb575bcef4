//! Chance that can be had again.

#![allow(dead_code, reason = "each test file uses a part of it")]

/// A number that the environment sets.
pub fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// xorshift64*: enough for a choice, and the same for the same seed everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.max(1))
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    /// A place in something that has `length` places.
    pub fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }
}
