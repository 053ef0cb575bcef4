//! The ranks that serve together: which one this process is, and how many there are.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use pyo3::prelude::*;

use crate::python::host::boundary;

static RANK: AtomicI64 = AtomicI64::new(UNKNOWN);
static RANKS: AtomicI64 = AtomicI64::new(1);
const UNKNOWN: i64 = -1;

/// The engine has said which rank this process is, if it knows, and how many there are.
pub fn remember(rank: Option<i64>, ranks: i64) {
    if let Some(rank) = rank {
        RANK.store(rank, Ordering::Relaxed);
    }
    RANKS.store(ranks, Ordering::Relaxed);
}

/// Which rank this process is.
pub fn rank() -> Option<i64> {
    let rank = RANK.load(Ordering::Relaxed);
    (rank != UNKNOWN).then_some(rank)
}

/// The same for the log.
pub fn whose() -> Option<String> {
    rank().map(|rank| format!("rank {rank} of {}", RANKS.load(Ordering::Relaxed)))
}

/// In error mode, before what is raised reaches the engine: the other ranks compile the same kernel, and may be at it
/// still. vLLM kills them as soon as one has failed, and their spans with them.
pub fn wait_for_others(py: Python<'_>) {
    static ONCE: AtomicBool = AtomicBool::new(false);
    let Some(monitor) = crate::monitor() else { return };
    if RANKS.load(Ordering::Relaxed) > 1 && !ONCE.swap(true, Ordering::Relaxed) {
        let timeout = monitor.config().flush_timeout;
        boundary::leave_wait(py, move || std::thread::sleep(timeout));
    }
}
