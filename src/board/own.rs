//! This process's file. Made when jitspan is switched on, written when a stall begins and when it ends, taken away when the
//! process ends in order.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::claim::{self, Ended};
use super::folder::{self, LIVING};
use super::life::Identity;
use super::page;
use super::peers::{Peer, Peers};
use super::pulse::Pulse;
use super::record::{About, NOW_SHOWN, Now, PAST_SHOWN, Past, Record, Who};
use super::waits::LONG;
use crate::config::BoardPlace;
use crate::model::event::{CompileEvent, Kind, UnixNanos};
use crate::process;
use crate::process::file_lock::Locked;
use crate::process::lock::Mutex;
use crate::scope::Scope;

/// Operations that are kept while they go on; a process with more of them at once has other troubles.
const KEPT: usize = 256;
/// Between two writings that tell of counts alone.
const SOON: Duration = Duration::from_millis(10);
/// Lines that wait for somebody who can log them.
const NOTICES: usize = 64;

/// What this process says of itself. One for a process; a forked child has one of its own, and leaves its parent's alone.
#[derive(Debug)]
pub struct Board {
    generation: u64,
    /// Sends what others have left.
    look: fn(),
    state: Mutex<State>,
    peers: Mutex<Option<Peers>>,
}

#[derive(Debug, Default)]
struct State {
    file: Option<Own>,
    record: Record,
    going_on: Vec<(u64, Now)>,
    last_entry: u64,
    pulse: Option<Pulse>,
    notices: Vec<String>,
    /// When it was last written.
    written: Option<Instant>,
    /// Whether it has been said that the file cannot be written.
    failed: bool,
}

/// The file.
#[derive(Debug)]
struct Own {
    folder: PathBuf,
    path: PathBuf,
    /// Pages written so far.
    written: u64,
    /// Says that we live; nothing is written through it.
    lock: Option<Locked>,
}

/// Something that goes on, until it is dropped.
#[derive(Debug)]
pub struct Entry {
    board: Arc<Board>,
    number: u64,
    pulses: bool,
}

impl Default for Board {
    fn default() -> Self {
        Board::new(|| ())
    }
}

impl Board {
    /// Not made yet. `look` is called now and then while something compiles: it sends what others have left.
    pub fn new(look: fn()) -> Self {
        Board { generation: process::generation(), look, state: Mutex::default(), peers: Mutex::default() }
    }

    /// Makes the file, in the first of the folders that can be used. What cannot be done is a notice. Does nothing where it
    /// was done before.
    pub fn open(&self, place: &BoardPlace, service: &str) {
        if let Err(reason) = self.make(place, service) {
            self.note(format!(
                "the board is off, so `jitspan top` does not see this process, and what it compiles when it is killed is \
                 lost: {reason}"
            ));
        }
    }

    fn make(&self, place: &BoardPlace, service: &str) -> Result<(), String> {
        if !self.is_ours() {
            return Ok(());
        }
        let mut state = self.state.lock();
        if state.file.is_some() {
            if state.record.who.service != service {
                service.clone_into(&mut state.record.who.service);
                state.write();
            }
            return Ok(());
        }
        let Some(folder) = folder::open(place)? else { return Ok(()) };
        let mut process = Identity::own();
        let own = Own::new(folder, &mut process).map_err(|error| error.to_string())?;
        claim::forget_former(&own.folder, &process, &own.path);
        let record = &mut state.record;
        record.process = process;
        record.program = program();
        record.version = env!("CARGO_PKG_VERSION").to_owned();
        record.who.service = service.to_owned();
        state.file = Some(own);
        state.write();
        Ok(())
    }

    /// Warm-up is over.
    pub fn armed(&self, now: UnixNanos) {
        self.change(|record| {
            record.armed.get_or_insert(now);
            record.why_not_armed = None;
        });
    }

    /// Warm-up is not over, and why; or it will never be.
    pub fn not_armed(&self, reason: &str) {
        self.change(|record| {
            record.armed = None;
            record.why_not_armed = Some(crate::model::attribute::bounded(reason, 200).into_owned());
        });
    }

    /// What this process is in its server. The service stays as it was.
    pub fn describe(&self, change: impl FnOnce(&mut Who)) {
        self.change(|record| change(&mut record.who));
    }

    /// What this process is in its server.
    pub fn who(&self) -> Who {
        if self.is_ours() { self.state.lock().record.who.clone() } else { Who::default() }
    }

    fn change(&self, change: impl FnOnce(&mut Record)) {
        if !self.is_ours() {
            return;
        }
        let mut state = self.state.lock();
        let before = state.record.clone();
        change(&mut state.record);
        if state.record != before {
            state.write();
        }
    }

    /// The file, if there is one.
    pub fn path(&self) -> Option<PathBuf> {
        if !self.is_ours() {
            return None;
        }
        self.state.lock().file.as_ref().map(|own| own.path.clone())
    }

    /// What the log should be told of the board. Whoever asks gets each line once.
    pub fn notices(&self) -> Vec<String> {
        if self.is_ours() { std::mem::take(&mut self.state.lock().notices) } else { Vec::new() }
    }

    /// Something that the log should be told. A Rust program hears of it at once.
    pub fn note(&self, text: String) {
        crate::report::notice(&text);
        if self.is_ours() {
            self.state.lock().note(text);
        }
    }

    /// Something begins, in `scope`. None: there is no board.
    pub fn begin(self: &Arc<Self>, about: About<'_>, scope: &Scope, when: (UnixNanos, bool, bool)) -> Option<Entry> {
        if !self.is_ours() {
            return None;
        }
        let now = Now::new(about, scope, when);
        let pulses = now.armed && !now.nested;
        let mut state = self.state.lock();
        let path = state.file.as_ref()?.path.clone();
        if state.going_on.len() >= KEPT {
            return None;
        }
        state.last_entry += 1;
        let number = state.last_entry;
        state.going_on.push((number, now));
        state.write();
        if pulses {
            if state.pulse.is_none() {
                state.pulse = Pulse::start(path, self.look);
            }
            state.pulse.iter().for_each(Pulse::begin);
        }
        drop(state);
        Some(Entry { board: Arc::clone(self), number, pulses })
    }

    /// Something has ended, as `event` tells. `entry`: it was known that it went on.
    pub fn ended(&self, entry: Option<Entry>, event: &CompileEvent, (waiting, outermost): (usize, bool)) {
        if !self.is_ours() {
            return;
        }
        let mut state = self.state.lock();
        if state.file.is_none() {
            return;
        }
        let lost = &mut state.record.lost;
        if matches!(event.kind, Kind::Compile | Kind::Autotune) {
            lost.compiles += 1;
        }
        if outermost && !matches!(event.kind, Kind::Peer | Kind::TunerMiss) {
            lost.seconds += event.duration.as_secs_f64();
            lost.requests += if event.stalls { waiting as u64 } else { 0 };
            if event.duration >= LONG {
                state.keep(event);
            }
        }
        match entry {
            // One write for both.
            Some(mut entry) => state.end(&mut entry),
            // It was never shown, so nothing that stands there is wrong but the counts.
            None => state.write_soon(),
        }
    }

    /// What processes left that ended in the middle of something, if nobody else has taken it; and cleans the folder.
    pub fn claim(&self) -> Vec<Ended> {
        if !self.is_ours() {
            return Vec::new();
        }
        let (folder, own, here, service) = {
            let state = self.state.lock();
            let Some(file) = &state.file else { return Vec::new() };
            let record = &state.record;
            (file.folder.clone(), file.path.clone(), record.process.clone(), record.who.service.clone())
        };
        let (ended, notices) = claim::claim(&folder, &own, &here, &service);
        let mut state = self.state.lock();
        for notice in notices {
            state.note(notice);
        }
        ended
    }

    /// What the engines of the same group have compiled since it was asked last, and what they compile now. Costs one call
    /// that finds nothing, as a rule.
    pub fn peers(&self) -> Vec<Peer> {
        if !self.is_ours() {
            return Vec::new();
        }
        let (folder, own, here, who) = {
            let state = self.state.lock();
            let (Some(file), Some(_)) = (&state.file, &state.record.who.lockstep) else { return Vec::new() };
            let record = &state.record;
            (file.folder.clone(), file.path.clone(), record.process.clone(), record.who.clone())
        };
        let mut peers = self.peers.lock();
        peers.get_or_insert_with(|| Peers::new(folder)).heard(&own, &here, &who)
    }

    /// Takes the file away: the process ends in order, or watches no more.
    pub fn close(&self) {
        if !self.is_ours() {
            return;
        }
        let mut state = self.state.lock();
        if let Some(own) = state.file.take() {
            let _ = std::fs::remove_file(&own.path);
        }
        state.record = Record { who: state.record.who.clone(), ..Record::default() };
        state.going_on.clear();
        // Its thread ends: the way to it is gone.
        state.pulse = None;
        drop(state);
        *self.peers.lock() = None;
    }

    /// Not a copy of its parent's, whose lock may be held for ever.
    pub(crate) fn is_ours(&self) -> bool {
        self.generation == process::generation()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.number > 0 && self.board.is_ours() {
            let board = Arc::clone(&self.board);
            board.state.lock().end(self);
        }
    }
}

impl State {
    fn end(&mut self, entry: &mut Entry) {
        let number = std::mem::take(&mut entry.number);
        let before = self.going_on.len();
        self.going_on.retain(|(other, _)| *other != number);
        if entry.pulses && self.going_on.len() < before {
            self.pulse.iter().for_each(Pulse::end);
        }
        self.write();
    }

    /// For ranks that waited for it.
    fn keep(&mut self, event: &CompileEvent) {
        let bounded = |text: &str| crate::model::attribute::bounded(text, 120).into_owned();
        let record = &mut self.record;
        if record.past.len() >= PAST_SHOWN {
            record.past.remove(0);
        }
        record.past.push(Past {
            runtime: bounded(&event.runtime),
            kernel: bounded(&event.kernel.name),
            started: event.began(),
            ended: event.ended(),
        });
        record.past_count += 1;
    }

    /// In a storm the counts come with a later writing: each takes 6 us, and recording an event below 1.
    fn write_soon(&mut self) {
        if self.written.is_none_or(|written| written.elapsed() >= SOON) {
            self.write();
        }
    }

    fn write(&mut self) {
        let Some(own) = &mut self.file else { return };
        self.written = Some(Instant::now());
        let shown = self.going_on.iter().take(NOW_SHOWN).map(|(_, now)| now.clone());
        self.record.now = shown.collect();
        self.record.more = self.going_on.len().saturating_sub(NOW_SHOWN);
        if let Err(error) = own.write(&mut self.record)
            && !std::mem::replace(&mut self.failed, true)
        {
            let text = format!("the board cannot be written, so `jitspan top` is not told the truth: {error}");
            self.note(text);
        }
    }

    fn note(&mut self, text: String) {
        if self.notices.len() < NOTICES {
            self.notices.push(text);
        }
    }
}

impl Own {
    fn new(folder: PathBuf, process: &mut Identity) -> io::Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        // Containers share folders, and in each of them the process may have the same number.
        let path = folder.join(format!("{}-{:016x}.{LIVING}", process.pid, u64::from_ne_bytes(random)));
        let mut own = Own { folder, path, written: 0, lock: None };
        own.make(process)?;
        Ok(own)
    }

    /// All of its room is taken at once, so that a later write finds it.
    fn make(&mut self, process: &mut Identity) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC);
        let file = options.open(&self.path)?;
        if let Err(error) = file.write_all_at(&[0; page::FILE], 0) {
            let _ = std::fs::remove_file(&self.path);
            return Err(error);
        }
        self.lock = None;
        self.lock = Locked::new(file).ok();
        process.locked = self.lock.is_some();
        Ok(())
    }

    /// Opened anew each time: a daemon closes what it finds, and a number that is kept may be somebody else's file by then.
    fn write(&mut self, record: &mut Record) -> io::Result<()> {
        let open = |path: &Path| -> io::Result<File> {
            OpenOptions::new().write(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).open(path)
        };
        let file = match open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Somebody has cleaned up.
                self.make(&mut record.process)?;
                open(&self.path)?
            }
            other => other?,
        };
        self.written += 1;
        let (at, page) = page::write(record, self.written);
        file.write_all_at(&page, at)
    }
}

/// As the system has it; servers give their processes titles.
fn program() -> String {
    std::fs::read_to_string("/proc/self/comm").unwrap_or_default().trim().to_owned()
}
