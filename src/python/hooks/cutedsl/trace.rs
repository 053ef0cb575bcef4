//! From the trace of a user's function to its end: a compile, a load from the disk cache, or neither.
//!
//! A trace that finds its result in memory is a re-trace. It happens on every call of a `@cute.jit` function, so it is
//! only counted.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use super::RUNTIME;
use super::describe::{self, Subject};
use crate::board::record::About;
use crate::clock::{Source, System};
use crate::model::event::{CacheResult, CompileEvent, Kernel, Kind, Stage, UnixNanos};
use crate::monitor::Pending;
use crate::python::hooks::known;
use crate::python::host::boundary::OrNone;
use crate::python::patch::{After, Call, Outcome};
use crate::python::stall;
use crate::stats::Counter;

thread_local! {
    /// Traces that are going on in this thread, the outermost first.
    static TRACES: RefCell<Vec<Trace>> = const { RefCell::new(Vec::new()) };
}

struct Trace {
    started: UnixNanos,
    clock: Instant,
    subject: Subject,
    /// The exception that the caller was handling: not one of this trace.
    handled: Option<usize>,
    /// Inside `compile_and_cache`.
    building: bool,
    /// The time of each run of the pipeline in it.
    pipeline: Option<Duration>,
    recorded: bool,
    /// Error mode's, until the DSL has cleaned up.
    raise: Option<PyErr>,
    /// The DSL has cleaned up; whether after a success.
    cleaned: Option<bool>,
}

impl Trace {
    fn of(py: Python<'_>, subject: Subject) -> Self {
        Trace {
            started: System.now(),
            clock: Instant::now(),
            subject,
            handled: handled(py),
            building: false,
            pipeline: None,
            recorded: false,
            raise: None,
            cleaned: None,
        }
    }
}

/// `BaseDSL.generate_mlir`: trace, compile, and for a call of a `@cute.jit` function the run of the program.
pub fn generate(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    Ok(Some(follow(py, describe::of_generate(call))))
}

/// `_device_func`: trace and compile. Called while another function is traced, it is a part of that one.
pub fn device(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    Ok(Some(follow(py, describe::of_device(call))))
}

fn follow(py: Python<'_>, subject: Subject) -> After {
    let depth = push(Trace::of(py, subject));
    Box::new(move |py, outcome| {
        let Some(trace) = pop(depth) else { return Ok(None) };
        if trace.recorded {
            return Ok(trace.raise);
        }
        match (outcome, trace.cleaned) {
            // Traced, and found in memory. What failed, if it did, is the program itself.
            (_, Some(true)) => {
                if let Some(monitor) = crate::monitor() {
                    monitor.stats().add(Counter::Retraces, 1);
                }
            }
            (Err(error), _) if depth == 0 && !stall::is_ours(py, error) => fail(py, &trace, error),
            _ => {}
        }
        Ok(None)
    })
}

/// The user's function could not be traced.
fn fail(py: Python<'_>, trace: &Trace, error: &PyErr) {
    let Some(pending) = stall::begin(py) else { return };
    let (mut event, specialization) = describe::event(py, &trace.subject);
    event.started = Some(trace.started);
    event.duration = trace.clock.elapsed();
    event.failure = Some(stall::failure(py, error));
    explain(&mut event, &specialization);
    stall::finish(py, &pending, event, &describe::text(&specialization));
}

/// `BaseDSL.compile_and_cache`: memory does not have it.
pub fn build(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let Some(pending) = stall::begin(py) else { return Ok(None) };
    // Without a trace around it: some way to compile that we do not know.
    let alone = TRACES.with_borrow(|traces| traces.last().is_none_or(|trace| trace.building));
    let depth = match alone {
        true => push(Trace::of(py, describe::of_dsl(call))),
        false => TRACES.with_borrow(|traces| traces.len().saturating_sub(1)),
    };
    let subject = at(depth, |trace| {
        trace.building = true;
        trace.subject.clone_ref(py)
    });
    let Some(subject) = subject else { return Ok(None) };
    // Described before it is compiled: then the DSL forgets the options, and arguments may change.
    let (event, specialization) = describe::event(py, &subject);
    let traced = at(depth, |trace| trace.clock.elapsed()).unwrap_or_default();
    pending.shows(About { runtime: RUNTIME.name, kind: event.kind, kernel: &event.kernel.name });
    stall::enter(&pending);
    Ok(Some(Box::new(move |py, outcome| {
        stall::leave(&pending);
        let raise = built(py, depth, &pending, Built { event, specialization, traced }, outcome);
        match alone {
            true => {
                pop(depth);
                Ok(raise)
            }
            false => {
                at(depth, |trace| trace.raise = raise);
                Ok(None)
            }
        }
    })))
}

struct Built {
    event: CompileEvent,
    specialization: known::Specialization,
    traced: Duration,
}

fn built(
    py: Python<'_>,
    depth: usize,
    pending: &Arc<Pending>,
    built: Built,
    outcome: Outcome<'_, '_>,
) -> Option<PyErr> {
    let Built { mut event, specialization, traced } = built;
    let (started, duration, pipeline) = at(depth, |trace| {
        trace.building = false;
        trace.recorded = true;
        (trace.started, trace.clock.elapsed(), trace.pipeline)
    })?;
    if pipeline.is_none() && outcome.is_ok() {
        event.kind = Kind::Load;
        event.cache = CacheResult::Hit;
    }
    event.started = Some(started);
    event.duration = duration;
    event.failure = outcome.err().map(|error| stall::failure(py, error));
    let rest = duration.saturating_sub(traced).saturating_sub(pipeline.unwrap_or_default());
    let stages = [("trace", Some(traced)), ("pipeline", pipeline), ("engine", Some(rest))];
    let ran = stages.into_iter().filter_map(|(name, duration)| Some(Stage { name: name.into(), duration: duration? }));
    event.stages = ran.collect();
    explain(&mut event, &specialization);
    let text = describe::text(&specialization);
    if event.failure.is_none() {
        known::remember(&describe::identity(&event.kernel), specialization);
    }
    stall::finish(py, pending, event, &text).1
}

fn explain(event: &mut CompileEvent, specialization: &known::Specialization) {
    let (cause, changes) = known::explain(&describe::identity(&event.kernel), specialization);
    event.cause = Some(cause);
    event.changes = changes;
}

/// `Compiler.compile`: the pass pipeline.
pub fn pipeline(py: Python<'_>, _call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let depth = TRACES.with_borrow(|traces| traces.len().checked_sub(1));
    let Some(depth) = depth else { return direct(py) };
    // Outside `compile_and_cache` it makes a copy of the module to be written to a file (`CUTE_DSL_KEEP`, 4.5 on).
    if at(depth, |trace| trace.building) != Some(true) {
        return Ok(None);
    }
    let clock = Instant::now();
    Ok(Some(Box::new(move |_py, _outcome| {
        at(depth, |trace| trace.pipeline = Some(trace.pipeline.unwrap_or_default() + clock.elapsed()));
        Ok(None)
    })))
}

/// Somebody calls the compiler himself: all that is known is that it compiles.
fn direct(py: Python<'_>) -> PyResult<Option<After>> {
    let Some(pending) = stall::begin(py) else { return Ok(None) };
    pending.shows(About { runtime: RUNTIME.name, kind: Kind::Compile, kernel: describe::UNKNOWN });
    Ok(Some(Box::new(move |py, outcome| {
        let mut event = RUNTIME.event(Kind::Compile, Kernel::named(describe::UNKNOWN));
        event.duration = pending.elapsed();
        event.stages = vec![Stage { name: "pipeline".into(), duration: event.duration }];
        event.failure = outcome.err().map(|error| stall::failure(py, error));
        describe::add_process(py, &mut event);
        Ok(stall::finish(py, &pending, event, "").1)
    })))
}

/// `BaseDSL.post_compilation_cleanup`. From here on the DSL is in order: up to 4.2 a compile that raises leaves the
/// kernels of this one in the next. And the program has not run yet.
pub fn clean_up(py: Python<'_>, _call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let depth = TRACES.with_borrow(|traces| traces.len().checked_sub(1));
    let Some(depth) = depth else { return Ok(None) };
    // From 4.3 on it is called in a `finally`.
    let now = handled(py);
    at(depth, |trace| trace.cleaned = Some(now == trace.handled));
    Ok(Some(Box::new(move |_py, _outcome| Ok(at(depth, |trace| trace.raise.take()).flatten()))))
}

/// The exception being handled, by its address.
fn handled(py: Python<'_>) -> Option<usize> {
    let exception = py.import("sys").or_none()?.call_method0("exc_info").or_none()?.get_item(1).or_none()?;
    (!exception.is_none()).then(|| exception.as_ptr() as usize)
}

fn push(trace: Trace) -> usize {
    TRACES.with_borrow_mut(|traces| {
        traces.push(trace);
        traces.len() - 1
    })
}

/// Takes out the trace, and whatever inside it was never ended.
fn pop(depth: usize) -> Option<Trace> {
    let mut above = TRACES.with_borrow_mut(|traces| traces.split_off(depth.min(traces.len())));
    (!above.is_empty()).then(|| above.swap_remove(0))
}

fn at<T>(depth: usize, body: impl FnOnce(&mut Trace) -> T) -> Option<T> {
    TRACES.with_borrow_mut(|traces| traces.get_mut(depth).map(body))
}
