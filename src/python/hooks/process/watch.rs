//! A process that was started here, and the compilers among it and what it starts. A thread of ours looks at them for as
//! long as it lives; it holds no lock that a forked child would need, and never takes the interpreter's.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::command::{self, Command};
use super::compiler::{Compiler, Starter, compiler};
use super::{proc, tell};
use crate::process;
use crate::process::lock::Mutex;

/// Between two looks while something may still start; no compiler is done faster than a few of them.
const LOOK: Duration = Duration::from_millis(5);
/// The same where it is a compiler itself, of which only the end is awaited, or has been running for some time.
const LOOK_RARELY: Duration = Duration::from_millis(20);
/// And for what has been running for long.
const LOOK_SELDOM: Duration = Duration::from_millis(100);
/// A look takes some 30 microseconds for each process; in this many times that there is one.
const SHARE: u32 = 20;

/// How long somebody may take to ask for the end of a process, and still have waited for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Longer than a build takes.
const LONGEST: Duration = Duration::from_secs(1800);

/// Processes that are watched at one time. Of those beyond, only what is a compiler itself is told.
const WATCHED: usize = 32;
/// Processes below one that are looked at, and compilers that are told.
const LOOKED_AT: usize = 512;
const COMPILERS: usize = 256;
const DEPTH: usize = 16;

static WATCHING: AtomicUsize = AtomicUsize::new(0);
/// Of which process: a forked child has none of its parent's threads.
static WATCHING_IN: AtomicU64 = AtomicU64::new(0);
/// Changes when we leave: who watches, leaves too.
static EPOCH: AtomicU64 = AtomicU64::new(0);

/// Which processes.
pub enum Target {
    /// One, and all below it.
    Process { pid: i32, born: u64 },
    /// Those that a thread starts from now on, and all below them.
    ChildrenOf { thread: i64, before: Vec<i32> },
}

/// A process that was started here.
pub struct Root {
    target: Target,
    pub began: Instant,
    pub starter: Starter,
    generation: u64,
    epoch: u64,
    told: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    compilers: Vec<Compiler>,
    exit: Option<i32>,
}

impl Root {
    /// Of now. `seen`: what the process is itself, if that is known.
    pub fn new(target: Target, began: Instant, starter: Starter, itself: Option<Command>) -> Arc<Root> {
        let (pid, born) = match &target {
            Target::Process { pid, born } => (*pid, *born),
            Target::ChildrenOf { .. } => (0, 0),
        };
        let compiler = itself.and_then(|command| compiler(command, pid, born, began, true));
        let seen = Seen { compilers: compiler.into_iter().collect(), exit: None };
        Arc::new(Root {
            target,
            began,
            starter,
            generation: process::generation(),
            epoch: EPOCH.load(Ordering::Relaxed),
            told: AtomicBool::new(false),
            seen: Mutex::new(seen),
        })
    }

    /// Watches it from a thread of ours.
    pub fn watch(self: &Arc<Self>) {
        if WATCHING_IN.swap(self.generation, Ordering::Relaxed) != self.generation {
            WATCHING.store(0, Ordering::Relaxed);
        }
        if WATCHING.fetch_add(1, Ordering::Relaxed) >= WATCHED {
            WATCHING.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let root = Arc::clone(self);
        let started = process::spawn("jitspan-process", move || {
            root.follow();
            WATCHING.fetch_sub(1, Ordering::Relaxed);
        });
        if started.is_err() {
            WATCHING.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether it is this process's, and nobody has told of it yet.
    pub fn is_open(&self) -> bool {
        self.is_ours() && !self.told.load(Ordering::Relaxed)
    }

    /// Takes what was found, to tell of it. None: somebody else does, or has. `ended`: it has ended by now.
    pub fn take(&self, ended: Instant) -> Option<Vec<Compiler>> {
        if !self.is_ours() || self.told.swap(true, Ordering::Relaxed) {
            return None;
        }
        let mut seen = self.seen.lock();
        for compiler in &mut seen.compilers {
            compiler.ended.get_or_insert(ended);
        }
        Some(seen.compilers.drain(..).filter(|compiler| compiler.compiles).collect())
    }

    /// A forked child has its parent's, whose locks may be held for ever.
    fn is_ours(&self) -> bool {
        self.generation == process::generation() && self.epoch == EPOCH.load(Ordering::Relaxed)
    }

    fn follow(&self) {
        while self.is_open() && self.began.elapsed() < LONGEST {
            let began = Instant::now();
            if !self.look() {
                return self.ended();
            }
            thread::sleep(self.interval().max(began.elapsed() * SHARE));
        }
    }

    fn interval(&self) -> Duration {
        let seen = self.seen.lock();
        match self.began.elapsed() {
            _ if seen.compilers.iter().any(|one| one.is_root && one.compiles) => LOOK_RARELY,
            age if age < Duration::from_secs(2) => LOOK,
            age if age < Duration::from_secs(20) => LOOK_RARELY,
            _ => LOOK_SELDOM,
        }
    }

    /// Whoever waits for it asks within a moment. Nobody does: it kept nobody waiting.
    fn ended(&self) {
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            if !self.is_open() {
                return;
            }
            thread::sleep(LOOK_RARELY);
        }
        let exit = self.seen.lock().exit;
        if let Some(compilers) = self.take(since) {
            tell::in_background(&self.starter, &compilers, exit);
        }
    }

    /// Looks at it and all below it. False: it has ended.
    fn look(&self) -> bool {
        let now = Instant::now();
        let roots = match &self.target {
            Target::Process { pid, born } => match proc::status(*pid).filter(|status| status.born == *born) {
                Some(status) if !status.ended => vec![*pid],
                gone => {
                    self.seen.lock().exit = gone.and_then(|status| status.exit);
                    Vec::new()
                }
            },
            Target::ChildrenOf { thread, before } => {
                proc::children_of_thread(*thread).into_iter().filter(|pid| !before.contains(pid)).collect()
            }
        };
        let alive = !roots.is_empty() || matches!(self.target, Target::ChildrenOf { .. });
        let mut seen = self.seen.lock();
        let mut running = BTreeSet::new();
        let mut left: Vec<(i32, usize, Option<usize>)> = roots.into_iter().map(|pid| (pid, 0, None)).collect();
        let mut looked_at = 0;
        while let Some((pid, depth, builder)) = left.pop() {
            looked_at += 1;
            let Some(status) = proc::status(pid).filter(|status| !status.ended) else { continue };
            if looked_at > LOOKED_AT || depth > DEPTH {
                break;
            }
            let Some(below) = seen.meet(pid, status.born, (now, depth), builder, &mut running) else { continue };
            left.extend(proc::children(pid).into_iter().map(|child| (child, depth + 1, below)));
        }
        for (at, compiler) in seen.compilers.iter_mut().enumerate() {
            if !running.contains(&at) {
                compiler.ended.get_or_insert(now);
            }
        }
        alive
    }
}

impl Seen {
    /// A process that runs. Some: what is below it is looked at too, for this builder, if there is one.
    fn meet(
        &mut self,
        pid: i32,
        born: u64,
        (now, depth): (Instant, usize),
        builder: Option<usize>,
        running: &mut BTreeSet<usize>,
    ) -> Option<Option<usize>> {
        if let Some(known) = self.compilers.iter().position(|one| (one.pid, one.born) == (pid, born)) {
            running.insert(known);
            return (!self.compilers.get(known)?.compiles).then_some(Some(known));
        }
        let command = command::read(&proc::command(pid)?);
        if command == Command::Asked {
            return None;
        }
        match builder {
            Some(builder) if matches!(command, Command::Compiles { .. }) => {
                self.compilers.get_mut(builder)?.compiles = true;
                None
            }
            Some(builder) => Some(Some(builder)),
            None if self.compilers.len() >= COMPILERS => None,
            None => {
                let Some(found) = compiler(command, pid, born, now, depth == 0) else { return Some(None) };
                let (at, compiles) = (self.compilers.len(), found.compiles);
                self.compilers.push(found);
                running.insert(at);
                (!compiles).then_some(Some(at))
            }
        }
    }
}

/// Nobody watches any more.
pub fn leave() {
    EPOCH.fetch_add(1, Ordering::Relaxed);
}
