//! The rooms of the house, the lowest first. A file uses what is in its own room and in lower ones.
//!
//! A file is in the room that names it, or else in the one that names the nearest folder around it.

use std::collections::BTreeSet;
use std::path::Path;

use crate::modules::Use;

pub const ROOMS: &[&[&str]] = &[
    // Words, and what they are about. Nothing here does anything.
    &["semconv.rs"],
    &["propagation.rs"],
    // What a process that forks, and a machine, ask for.
    &["process"],
    &["model"],
    &["clock.rs"],
    &["manifest/folder.rs"],
    &["config"],
    // What is counted and said of our own work.
    &["report.rs"],
    &["export/reach.rs"],
    &["stats.rs"],
    &["metrics"],
    // Who waits.
    &["scope.rs", "scope"],
    &["live"],
    // What each process says of itself to the others.
    &["board"],
    // Where it goes.
    &["export"],
    &["manifest"],
    &["monitor.rs", "monitor"],
    &["installed"],
    // Programs of their own.
    &["findings"],
    &["view"],
    &["cli.rs", "cli"],
    // Python: the host that we are in, and how we stand in it.
    &["python/unexpected.rs"],
    &["python/host"],
    &["python/patch"],
    &["python/live"],
    // What all runtimes and engines share.
    &["python/environment.rs", "python/ranks.rs", "python/scope.rs", "python/step.rs"],
    &["python/replay/receipt.rs"],
    &["python/lifetime.rs"],
    &["python/stall.rs"],
    &["python/hooks"],
    &["python/arming.rs"],
    &["python/replay"],
    &["python/engines"],
    &["python/surface"],
    &["python", "lib.rs"],
];

/// Names in the list of which there is no file or folder.
pub fn missing(source: &Path) -> Vec<&'static str> {
    ROOMS.iter().copied().flatten().copied().filter(|name| !source.join(name).exists()).collect()
}

/// Files that are in no room.
pub fn homeless<'a>(files: &BTreeSet<&'a str>) -> Vec<&'a str> {
    files.iter().copied().filter(|file| room(file).is_none()).collect()
}

/// Uses of a higher room by a lower one.
pub fn climbs(uses: &BTreeSet<Use>) -> Vec<String> {
    uses.iter().filter(|one| room(&one.by) < room(&one.of)).map(ToString::to_string).collect()
}

fn room(file: &str) -> Option<usize> {
    let named = |name: &str| Path::new(file).starts_with(name).then_some(name.len());
    let rooms = ROOMS
        .iter()
        .enumerate()
        .filter_map(|(at, names)| names.iter().filter_map(|name| named(name)).max().map(|length| (length, at)));
    rooms.max().map(|(_, at)| at)
}
