//! Keeps a fork out of the lines that we write through the program's `tracing` subscriber: a lock that it holds then
//! (standard output's, a file's) would stay held in the child, which hangs at the first line of its own.
//!
//! So a fork waits for the lines that are being written, and a line for a fork, but neither for long: what a subscriber
//! waits for is the program's, maybe the very thread that forks. Lines that the program writes itself are as they would
//! be without us.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A line is written in microseconds, unless its reader is behind.
const PATIENCE: Duration = Duration::from_secs(1);

static WRITING: AtomicUsize = AtomicUsize::new(0);
static FORKING: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Lines that this thread is writing.
    static OWN: Cell<usize> = const { Cell::new(0) };
    static FORKS_ITSELF: Cell<bool> = const { Cell::new(false) };
}

/// Runs what writes a line.
pub fn write<T>(line: impl FnOnce() -> T) -> T {
    // Counts the forks to come, so that the next one counts our lines.
    super::generation();
    let began = Instant::now();
    loop {
        let writing = Line::begin();
        // Both sides say what they are about to do before they look at the other.
        let is_free = FORKING.load(Ordering::SeqCst) == 0 || FORKS_ITSELF.get();
        if is_free || began.elapsed() >= PATIENCE {
            let answer = line();
            drop(writing);
            return answer;
        }
        drop(writing);
        std::thread::sleep(Duration::from_millis(1));
    }
}

struct Line;

impl Line {
    fn begin() -> Self {
        WRITING.fetch_add(1, Ordering::SeqCst);
        OWN.set(OWN.get() + 1);
        Line
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        OWN.set(OWN.get() - 1);
        WRITING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Runs in the thread that forks, before it does.
pub(super) extern "C" fn before_fork() {
    FORKING.fetch_add(1, Ordering::SeqCst);
    FORKS_ITSELF.set(true);
    let began = Instant::now();
    while WRITING.load(Ordering::SeqCst) > OWN.get() && began.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Runs there after it.
pub(super) extern "C" fn in_parent() {
    FORKING.fetch_sub(1, Ordering::SeqCst);
    FORKS_ITSELF.set(false);
}

/// Runs in the child: the other threads are gone, and what they were writing is.
pub(super) fn in_child() {
    FORKING.store(0, Ordering::SeqCst);
    WRITING.store(OWN.get(), Ordering::SeqCst);
    FORKS_ITSELF.set(false);
}
