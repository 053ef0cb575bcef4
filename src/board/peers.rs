//! What the engines that take their steps together with this one have compiled: each of them holds the others in its next
//! collective. Read when a request begins or ends, so no step pays for it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::folder;
use super::life::{self, Identity, Life};
use super::record::{Record, Who};
use super::waits::Span;
use crate::clock::unix;
use crate::model::event::UnixNanos;
use crate::process::folder_watch::FolderWatch;

/// Without a watch on the folder it is read this often at most.
const SELDOM: Duration = Duration::from_millis(50);
/// Processes that are followed; a group has some hundreds of ranks at most.
const FOLLOWED: usize = 4096;

/// What a process of the same group compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Whether it is of another engine; else it is of this one.
    pub is_other: bool,
    /// Rank within its engine.
    pub rank: Option<i64>,
    /// Which engine it is.
    pub data_parallel_rank: Option<i64>,
    /// What compiled.
    pub runtime: String,
    /// The kernel.
    pub kernel: String,
    /// From when to when.
    pub span: Span,
    /// It has not ended yet.
    pub goes_on: bool,
}

/// The other processes of a folder.
#[derive(Debug)]
pub struct Peers {
    folder: PathBuf,
    watch: Option<FolderWatch>,
    /// When it was read, and whether something went on then, which goes on without a write.
    last: Option<(Instant, bool)>,
    /// Of each file, the number of the newest of its past that has been told.
    told: HashMap<PathBuf, u64>,
    /// What ended before is no news.
    since: UnixNanos,
}

impl Peers {
    /// From now on.
    pub fn new(folder: PathBuf) -> Self {
        let watch = FolderWatch::new(&folder).ok();
        Peers { folder, watch, last: None, told: HashMap::new(), since: unix(SystemTime::now()) }
    }

    /// What has come since, each once, and what goes on.
    pub fn heard(&mut self, own: &Path, here: &Identity, who: &Who) -> Vec<Peer> {
        let is_due = match (&mut self.watch, self.last) {
            (_, None) => true,
            (Some(watch), Some((_, busy))) => watch.has_changed() || busy,
            (None, Some((at, _))) => at.elapsed() >= SELDOM,
        };
        if !is_due {
            return Vec::new();
        }
        let Ok(files) = folder::files(&self.folder) else { return Vec::new() };
        let mut heard = Vec::new();
        let mut busy = false;
        self.told.retain(|known, _| files.contains(known));
        for path in files.into_iter().filter(|path| path != own).take(FOLLOWED) {
            let Some(found) = folder::read(&path) else { continue };
            let Ok(record) = &found.record else { continue };
            if record.who.lockstep != who.lockstep || record.process.boot != here.boot {
                continue;
            }
            let told = self.told.entry(path).or_default();
            past(record, who, (told, self.since), &mut heard);
            if !record.now.is_empty() {
                let life = life::of(&record.process, &found.file, found.modified, here);
                let until = if life == Life::Ended { unix(found.modified) } else { unix(SystemTime::now()) };
                busy |= life != Life::Ended;
                now(record, who, until, &mut heard);
            }
        }
        self.last = Some((Instant::now(), busy));
        heard
    }
}

fn past(record: &Record, who: &Who, (told, since): (&mut u64, UnixNanos), heard: &mut Vec<Peer>) {
    let newest = record.past_count;
    for (back, past) in record.past.iter().rev().enumerate() {
        if newest.saturating_sub(back as u64) <= *told {
            break;
        }
        if past.ended > since {
            let span = (past.started, past.ended);
            heard.push(Peer::new(record, who, (&past.runtime, &past.kernel), (span, false)));
        }
    }
    *told = newest;
}

fn now(record: &Record, who: &Who, until: UnixNanos, heard: &mut Vec<Peer>) {
    for now in record.now.iter().filter(|now| !now.nested) {
        let span = (now.started, until);
        heard.push(Peer::new(record, who, (&now.runtime, &now.kernel), (span, true)));
    }
}

impl Peer {
    fn new(record: &Record, who: &Who, (runtime, kernel): (&str, &str), (span, goes_on): (Span, bool)) -> Self {
        Peer {
            is_other: record.who.data_parallel_rank != who.data_parallel_rank,
            rank: record.who.rank,
            data_parallel_rank: record.who.data_parallel_rank,
            runtime: runtime.to_owned(),
            kernel: kernel.to_owned(),
            span,
            goes_on,
        }
    }
}
