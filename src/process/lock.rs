//! The lock for everything that a forked child may touch.

use std::sync::PoisonError;

use crate::process::concurrency::{self, MutexGuard};

/// The standard library's mutex, which is one futex and nothing else. `parking_lot` keeps the waiting threads of all
/// locks in one table with locks of its own: a fork while another thread is in that table leaves the child with an
/// entry that nobody ever releases, and a lock of the child's own can then hang.
///
/// A panic while it was held does not poison it: what we keep behind locks is counters and lists, never half a step.
#[derive(Debug, Default)]
pub struct Mutex<T>(concurrency::Mutex<T>);

impl<T> Mutex<T> {
    /// Holding `value`.
    #[cfg(not(jitspan_loom))]
    pub const fn new(value: T) -> Self {
        Mutex(concurrency::Mutex::new(value))
    }

    /// Holding `value`.
    #[cfg(jitspan_loom)]
    pub fn new(value: T) -> Self {
        Mutex(concurrency::Mutex::new(value))
    }

    /// Waits for it.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does not wait: the garbage collector may come while it is held.
    #[cfg(feature = "python")]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok()
    }
}
