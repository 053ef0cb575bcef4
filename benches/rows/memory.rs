//! What 1,000,000 events take with nobody at the other end, each on a request of its own: memory once the queue is full,
//! and at the end.

mod support;

use support::{NOWHERE, figure, megabytes, monitor, quick, stalls};

fn main() {
    let (events, shown) = if quick() { (1_000, false) } else { (1_000_000, true) };
    let before = megabytes("self", "VmRSS");
    let monitor = monitor(NOWHERE, &[]);
    let full = events / 20;
    (0..full).for_each(|_| stalls(monitor, 1, 1));
    let at_full = megabytes("self", "VmRSS");
    (full..events).for_each(|_| stalls(monitor, 1, 1));
    let at_end = megabytes("self", "VmRSS");
    let stats = monitor.stats().snapshot();
    assert!(stats["spans.dropped.queue_full"] > 0 || !shown, "{stats:?}");
    if shown {
        figure("over idle when the queue is full", at_full - before, "MB");
        figure("over idle after 1,000,000 events", at_end - before, "MB");
    }
}
