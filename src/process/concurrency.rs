//! Locks, atomics and channels of the exporter and of the fork generation: the standard library's. Under `make
//! test-model` (`--cfg jitspan_loom`) they are loom's, which runs every order in which threads can take their steps; under
//! `make test-sanitizers` (`--cfg jitspan_sanitized`) the locks are such as the sanitizer sees.

#[cfg(not(any(jitspan_loom, jitspan_sanitized)))]
pub use std::sync::{Mutex, MutexGuard};
#[cfg(not(jitspan_loom))]
pub use std::sync::{
    atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering},
    mpsc::{Receiver, SyncSender, sync_channel},
};

#[cfg(jitspan_sanitized)]
pub use sanitized::{Mutex, MutexGuard};

#[cfg(jitspan_loom)]
pub use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering},
};
#[cfg(jitspan_loom)]
pub use model::{Receiver, SyncSender, sync_channel};

/// A static. loom's begin anew with each order that it tries.
#[cfg(not(jitspan_loom))]
macro_rules! shared {
    ($name:ident: $type:ty = $value:expr) => {
        static $name: $type = $value;
    };
}
#[cfg(jitspan_loom)]
macro_rules! shared {
    ($name:ident: $type:ty = $value:expr) => {
        loom::lazy_static! { static ref $name: $type = $value; }
    };
}
pub(crate) use shared;

#[cfg(jitspan_sanitized)]
mod sanitized {
    //! A lock that is built with the sanitizer, as std's is not, with std's signatures.

    use std::sync::LockResult;
    #[cfg(feature = "python")]
    use std::sync::{TryLockError, TryLockResult};

    pub use parking_lot::MutexGuard;

    #[derive(Debug, Default)]
    pub struct Mutex<T>(parking_lot::Mutex<T>);

    impl<T> Mutex<T> {
        pub const fn new(value: T) -> Self {
            Mutex(parking_lot::Mutex::new(value))
        }

        pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
            Ok(self.0.lock())
        }

        #[cfg(feature = "python")]
        pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
            self.0.try_lock().ok_or(TryLockError::WouldBlock)
        }
    }
}

#[cfg(jitspan_loom)]
mod model {
    //! A channel for one message; loom's own has no end and no time-out. Here no time-out ever runs out, so whoever
    //! waits for what never comes is a deadlock, which loom reports.

    use std::collections::VecDeque;
    use std::sync::Arc;
    use std::sync::mpsc::{RecvTimeoutError, TrySendError};
    use std::time::Duration;

    use loom::sync::{Condvar, Mutex};

    #[derive(Debug)]
    struct Shared<T> {
        state: Mutex<(VecDeque<T>, bool)>,
        changed: Condvar,
    }

    #[derive(Debug)]
    pub struct SyncSender<T>(Arc<Shared<T>>);

    #[derive(Debug)]
    pub struct Receiver<T>(Arc<Shared<T>>);

    pub fn sync_channel<T>(_bound: usize) -> (SyncSender<T>, Receiver<T>) {
        let shared = Arc::new(Shared { state: Mutex::new((VecDeque::new(), false)), changed: Condvar::new() });
        (SyncSender(Arc::clone(&shared)), Receiver(shared))
    }

    impl<T> SyncSender<T> {
        pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
            self.0.state.lock().unwrap().0.push_back(message);
            self.0.changed.notify_one();
            Ok(())
        }
    }

    impl<T> Drop for SyncSender<T> {
        fn drop(&mut self) {
            self.0.state.lock().unwrap().1 = true;
            self.0.changed.notify_one();
        }
    }

    impl<T> Receiver<T> {
        pub fn recv_timeout(&self, _timeout: Duration) -> Result<T, RecvTimeoutError> {
            let mut state = self.0.state.lock().unwrap();
            loop {
                match state.0.pop_front() {
                    Some(message) => return Ok(message),
                    None if state.1 => return Err(RecvTimeoutError::Disconnected),
                    None => state = self.0.changed.wait(state).unwrap(),
                }
            }
        }
    }
}
