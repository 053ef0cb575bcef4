//! The one place that knows of `fork` and of signals, and the only `unsafe` code.

pub(crate) mod concurrency;
pub(crate) mod file;
pub(crate) mod file_lock;
pub(crate) mod folder_watch;
pub(crate) mod line_gate;
pub(crate) mod lock;
pub(crate) mod output;

use std::io;
use std::sync::Once;
use std::thread;

use crate::process::concurrency::{AtomicU64, Ordering, shared};

shared!(GENERATION: AtomicU64 = AtomicU64::new(0));
static WATCH: Once = Once::new();

/// Runs in a child.
pub(crate) extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::SeqCst);
    line_gate::in_child();
    file_lock::in_child();
    folder_watch::in_child();
}

/// The effective user.
#[expect(unsafe_code, reason = "std has no word for it")]
pub fn user() -> u32 {
    // SAFETY: takes nothing, always succeeds.
    unsafe { libc::geteuid() }
}

/// Counts the forks between the process that first asked and this one. Whoever keeps threads or locks remembers it,
/// and starts afresh when it has changed: after `fork` only the forking thread is there, and a lock that another one
/// held stays held for ever.
pub fn generation() -> u64 {
    WATCH.call_once(|| {
        // SAFETY: the handlers are plain functions that live as long as the library, which registers itself only here.
        // The child's touches atomics and cells, which is async-signal-safe; the parent's may also sleep for a while.
        #[expect(
            unsafe_code,
            reason = "no crate wraps pthread_atfork; os.register_at_fork misses forks made by C code"
        )]
        unsafe {
            libc::pthread_atfork(Some(line_gate::before_fork), Some(line_gate::in_parent), Some(in_child));
        }
    });
    GENERATION.load(Ordering::SeqCst)
}

/// Starts a thread that no signal is delivered to: a server's handlers run where they always ran.
///
/// # Errors
/// The system has no room for a thread.
pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mask = block_signals();
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(body);
    restore_signals(&mask);
    spawned.map(drop)
}

#[expect(unsafe_code, reason = "a thread inherits the mask of its creator, and std has no word for it")]
fn block_signals() -> libc::sigset_t {
    // SAFETY: both sets are plain memory that the calls fill; `sigfillset` initialises `all` before it is read, and
    // `pthread_sigmask` initialises `before`, which is zeroed anyway.
    unsafe {
        let mut all = std::mem::zeroed::<libc::sigset_t>();
        let mut before = std::mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, &raw mut before);
        before
    }
}

#[expect(unsafe_code, reason = "puts back what block_signals took")]
fn restore_signals(mask: &libc::sigset_t) {
    // SAFETY: `mask` is what pthread_sigmask gave for this very thread.
    unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, mask, std::ptr::null_mut());
    }
}
