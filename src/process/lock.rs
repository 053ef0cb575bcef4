//! The lock for everything that a forked child may touch.

use std::ops::{Deref, DerefMut};
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
    pub fn lock(&self) -> Held<'_, T> {
        Held::new(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Does not wait: the garbage collector may come while it is held.
    #[cfg(feature = "python")]
    pub fn try_lock(&self) -> Option<Held<'_, T>> {
        self.0.try_lock().ok().map(Held::new)
    }
}

/// A lock that is held, until it is dropped.
pub struct Held<'a, T> {
    value: MutexGuard<'a, T>,
    _counted: Counted,
}

impl<'a, T> Held<'a, T> {
    fn new(value: MutexGuard<'a, T>) -> Self {
        Held { value, _counted: Counted::new() }
    }
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Held<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

#[cfg(debug_assertions)]
use counted::Counted;
#[cfg(all(debug_assertions, feature = "python"))]
pub use counted::assert_none_held;

/// No lock of ours is held while Python runs: Python may switch to another thread, or come back to us. A debug build
/// panics where one is.
#[cfg(all(not(debug_assertions), feature = "python"))]
pub fn assert_none_held() {}

#[cfg(not(debug_assertions))]
struct Counted;

#[cfg(not(debug_assertions))]
impl Counted {
    fn new() -> Self {
        Counted
    }
}

#[cfg(debug_assertions)]
mod counted {
    use std::cell::Cell;
    use std::marker::PhantomData;

    thread_local! {
        /// Locks that this thread holds.
        static HELD: Cell<usize> = const { Cell::new(0) };
    }

    /// One lock more, while it lives. It stays in its thread.
    pub struct Counted(PhantomData<*const ()>);

    impl Counted {
        pub fn new() -> Self {
            HELD.set(HELD.get() + 1);
            Counted(PhantomData)
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            HELD.set(HELD.get() - 1);
        }
    }

    /// No lock of ours is held while Python runs: Python may switch to another thread, or come back to us. A debug build
    /// panics where one is.
    #[cfg(feature = "python")]
    #[track_caller]
    pub fn assert_none_held() {
        assert!(HELD.get() == 0, "a lock of jitspan's is held while Python runs");
    }
}

#[cfg(all(test, debug_assertions, feature = "python", not(jitspan_loom)))]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn a_debug_build_notices_python_that_runs_under_a_lock() {
        static LOCK: Mutex<u8> = Mutex::new(0);
        assert_none_held();
        let held = LOCK.lock();
        assert!(catch_unwind(assert_none_held).is_err());
        drop(held);
        assert_none_held();
    }
}
