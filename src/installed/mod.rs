//! The process's one monitor. Made by [`install`], made again in a forked child, never freed: hooks that outlive a
//! `deactivate` may still look at it, and a child must not touch what its parent's threads held.
//!
//! One that was made before with the same configuration is taken again, with all that waits in it; and all of a process
//! count in one place. So nothing is lost between two activations, nothing grows with their number, and none waits for
//! a collector.

mod build;
#[cfg(feature = "sdk")]
pub(crate) mod through;

use std::sync::Arc;
use std::time::Duration;

use build::Common;

use crate::board::Board;
use crate::config::Config;
use crate::export::deadline;
use crate::export::reach::{Moment, Notice};
use crate::export::resource::{Foreign, SharedResource};
use crate::model::attribute::Value;
use crate::model::event::CompileEvent;
use crate::monitor::{Monitor, UnexpectedCompile};
use crate::process;
use crate::process::concurrency::{AtomicBool, AtomicPtr, Ordering, shared};
use crate::semconv::resource::{SERVICE_INSTANCE_ID, SERVICE_NAME};
use crate::stats::Ledger;

/// A monitor, and what it was made from.
struct Process {
    generation: u64,
    monitor: Monitor,
    /// Made by [`prepare`]: another one takes its place when warm-up is over.
    prepared: bool,
    /// It takes nothing more.
    ended: AtomicBool,
    runtimes: Vec<&'static str>,
    common: Common,
    resource: Arc<SharedResource>,
    /// The one that was made before it in this process.
    before: Option<&'static Process>,
}

/// What an SDK or a language runtime in this process says of it, and in which process it said so.
struct Known {
    generation: u64,
    foreign: Foreign,
    /// The instance id that was told before the last fork: it is the parent's.
    parents: Option<Value>,
}

shared!(CURRENT: AtomicPtr<Process> = AtomicPtr::new(std::ptr::null_mut()));
// The one that was made last: from it on all of this process can be found.
shared!(NEWEST: AtomicPtr<Process> = AtomicPtr::new(std::ptr::null_mut()));
shared!(KNOWN: AtomicPtr<Known> = AtomicPtr::new(std::ptr::null_mut()));

/// Makes a monitor with `config` the process's own, armed. What waits in one that was there is still sent, and what it
/// has counted goes on being counted.
pub fn install(config: Config) -> &'static Monitor {
    install_for(config, &[])
}

/// The same; the metrics of these runtimes begin at 0.
pub fn install_for(config: Config, runtimes: &[&'static str]) -> &'static Monitor {
    let process = find_or_make(&Arc::new(config), Made { armed: true, prepared: false, runtimes });
    process.monitor.arm(true);
    process.open_board();
    process.monitor.board().armed(process.monitor.now());
    process.monitor.send_ended();
    let before = leaked(CURRENT.swap(pointer(process), Ordering::AcqRel));
    let replaced = |before: &&Process| before.is_of_this_process() && !std::ptr::eq(*before, process);
    if let Some(before) = before.filter(replaced) {
        before.monitor.disarm();
    }
    process.monitor.send_metrics(runtimes);
    &process.monitor
}

/// Makes a monitor that is not armed yet: compiles are only counted, as warm-up. Whoever arms installs another one, with
/// the mode that is known by then. Does nothing where one was installed.
pub fn prepare(config: Config) {
    let config = Arc::new(config);
    loop {
        let before = CURRENT.load(Ordering::Acquire);
        if leaked(before).is_some_and(|before| !before.prepared) {
            return;
        }
        let made = find_or_make(&config, Made { armed: false, prepared: true, runtimes: &[] });
        // Another thread may have installed one meanwhile.
        if CURRENT.compare_exchange(before, pointer(made), Ordering::AcqRel, Ordering::Acquire).is_ok() {
            made.open_board();
            made.monitor.board().not_armed("warm-up is not over: nobody has said so yet");
            return;
        }
    }
}

/// The process's monitor, if one was installed, in this process or before a fork.
pub fn monitor() -> Option<&'static Monitor> {
    let process = current()?;
    if process.is_of_this_process() {
        return Some(&process.monitor);
    }
    let armed = process.monitor.is_armed();
    let made = Made { armed, prepared: process.prepared, runtimes: &process.runtimes };
    let made = find_or_make(process.monitor.config(), made);
    match CURRENT.compare_exchange(pointer(process), pointer(made), Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {
            made.open_board();
            if armed {
                made.monitor.board().armed(made.monitor.now());
                made.monitor.send_metrics(&made.runtimes);
            }
            Some(&made.monitor)
        }
        // Another thread of the child was faster.
        Err(_) => current().map(|process| &process.monitor),
    }
}

/// Sends what processes of this service left on the board that ended in the middle of something.
pub(crate) fn send_ended() {
    monitor().into_iter().filter(|monitor| monitor.is_armed()).for_each(Monitor::send_ended);
}

/// Spans and log-based events that wait in this process.
pub(crate) fn queued() -> (usize, usize) {
    of_this_process()
        .fold((0, 0), |(spans, logs), process| (spans + process.monitor.queued(), logs + process.monitor.queued_logs()))
}

/// What a log should be told of the collectors now: a line when nothing has arrived for some seconds, then every few
/// minutes, and one when all arrives again. Whoever asks gets each line once; nobody else does.
pub fn notices(moment: Moment) -> Vec<Notice> {
    let Some(any) = of_this_process().next() else { return Vec::new() };
    let (spans, logs) = queued();
    let stats = &any.common.stats;
    let lost = |ledger: Ledger| [ledger.unreachable, ledger.refused, ledger.queue_full, ledger.shutdown];
    let lost = lost(Ledger::SPANS).into_iter().chain(lost(Ledger::LOGS)).map(|counter| stats.get(counter)).sum();
    stats.reach().notices(moment, spans + logs, lost)
}

/// Ends what has begun in this process: see [`Monitor::shutdown`]. A child that has used nothing of us has nothing.
#[cfg(feature = "python")]
pub fn shutdown() {
    let Some(current) = of_this_process().next() else { return };
    let deadline = deadline(current.monitor.config().flush_timeout);
    current.monitor.board().close();
    let begin = |process: &'static Process| {
        process.ended.store(true, Ordering::Release);
        (process, process.monitor.begin_shutdown())
    };
    // All have begun before any is waited for.
    for (process, begun) in of_this_process().map(begin).collect::<Vec<_>>() {
        process.monitor.end_shutdown(begun, deadline);
    }
}

impl Process {
    fn is_of_this_process(&self) -> bool {
        self.generation == process::generation()
    }

    fn open_board(&self) {
        let config = self.monitor.config();
        let service = config.resource.get(SERVICE_NAME).unwrap_or("unknown_service");
        self.common.board.open(&config.board, service);
    }
}

fn of_this_process() -> impl Iterator<Item = &'static Process> {
    let newest = leaked(NEWEST.load(Ordering::Acquire));
    std::iter::successors(newest, |process| process.before).filter(|process| process.is_of_this_process())
}

/// Tells what else is known of this process: the attributes of another SDK's resource, or of a language runtime. From
/// here on they are on everything that is sent; what the user said in variables wins over them.
pub fn set_resource(foreign: Vec<(String, Value)>) {
    #[cfg(feature = "sdk")]
    let foreign = through::with_programs_own(foreign);
    let generation = process::generation();
    let before = leaked(KNOWN.load(Ordering::Acquire));
    let parents = before.and_then(|before| before.parents_in(generation));
    let foreign = without(foreign, parents.as_ref());
    if before.is_some_and(|before| before.generation == generation && before.foreign == foreign) {
        return;
    }
    of_this_process().for_each(|process| process.resource.adopt(&foreign));
    KNOWN.store(Box::into_raw(Box::new(Known { generation, foreign, parents })), Ordering::Release);
}

impl Known {
    /// The instance id that is not this process's own.
    fn parents_in(&self, generation: u64) -> Option<Value> {
        let told = self.foreign.iter().find(|(key, _)| key == SERVICE_INSTANCE_ID).map(|(_, value)| value.clone());
        told.filter(|_| self.generation != generation).or_else(|| self.parents.clone())
    }
}

/// With its parent's instance id two processes would look like one.
fn without(foreign: Foreign, parents: Option<&Value>) -> Foreign {
    foreign.into_iter().filter(|(key, value)| key != SERVICE_INSTANCE_ID || Some(value) != parents).collect()
}

/// Records a compile that Rust code did itself. Without an installed monitor it does nothing.
///
/// # Errors
/// In error mode, see [`Monitor::record`].
pub fn record(event: CompileEvent) -> Result<(), UnexpectedCompile> {
    monitor().map_or(Ok(()), |monitor| monitor.record(event))
}

/// Waits until what was recorded so far has been sent. False: not within `timeout`.
pub fn flush(timeout: Duration) -> bool {
    let Some(monitor) = monitor() else { return true };
    let deadline = deadline(timeout);
    // All have begun before any is waited for.
    let others = of_this_process().filter(|process| !std::ptr::eq(&process.monitor, monitor));
    let others: Vec<_> = others.flat_map(|process| process.monitor.begin_flush()).collect();
    let flushed = monitor.flush(timeout);
    others.into_iter().filter(|flushing| !flushing.wait(deadline)).count() == 0 && flushed
}

fn current() -> Option<&'static Process> {
    leaked(CURRENT.load(Ordering::Acquire))
}

#[expect(unsafe_code, reason = "pointers that are only ever set to leaked boxes, so that a fork cannot tear them")]
fn leaked<T>(pointer: *mut T) -> Option<&'static T> {
    // SAFETY: the pointer is null, or came from `Box::into_raw` in this file, and is never freed.
    unsafe { pointer.as_ref() }
}

/// How a monitor is made.
#[derive(Clone, Copy)]
struct Made<'a> {
    armed: bool,
    prepared: bool,
    runtimes: &'a [&'static str],
}

/// The one of this process that was made so before, else a new one.
fn find_or_make(config: &Arc<Config>, made: Made<'_>) -> &'static Process {
    loop {
        let newest = NEWEST.load(Ordering::Acquire);
        let same = |process: &&Process| {
            (process.prepared, &*process.runtimes) == (made.prepared, made.runtimes)
                && process.monitor.config() == config
                && !process.ended.load(Ordering::Acquire)
        };
        let known = std::iter::successors(leaked(newest), |process| process.before);
        let mut known = known.filter(|process| process.is_of_this_process());
        if let Some(known) = known.find(same) {
            return known;
        }
        // One that loses the race has started nothing; that it is leaked is a few hundred bytes.
        let process: &'static Process = Box::leak(make(Arc::clone(config), made, leaked(newest)));
        if NEWEST.compare_exchange(newest, pointer(process), Ordering::AcqRel, Ordering::Acquire).is_ok() {
            return process;
        }
    }
}

fn pointer(process: &'static Process) -> *mut Process {
    std::ptr::from_ref(process).cast_mut()
}

fn make(config: Arc<Config>, made: Made<'_>, newest: Option<&'static Process>) -> Box<Process> {
    let generation = process::generation();
    let before = newest.filter(|newest| newest.generation == generation);
    let new = || Common::new(&config, Board::new(send_ended));
    let common = before.map_or_else(new, |before| before.common.clone());
    let known = leaked(KNOWN.load(Ordering::Acquire));
    let foreign = known.map(|known| without(known.foreign.clone(), known.parents_in(generation).as_ref()));
    let resource = SharedResource::of(config.resource.clone(), Arc::clone(&common.instance));
    resource.adopt(&foreign.unwrap_or_default());
    let resource = Arc::new(resource);
    let monitor = common.monitor(config, &resource);
    monitor.arm(made.armed);
    let Made { prepared, runtimes, .. } = made;
    let (ended, runtimes) = (AtomicBool::new(false), runtimes.to_vec());
    Box::new(Process { generation, monitor, prepared, ended, runtimes, common, resource, before })
}

#[cfg(all(test, jitspan_loom))]
mod model;
