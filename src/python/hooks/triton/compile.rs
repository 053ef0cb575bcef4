//! One compile of a `JITFunction`, from the hook before it to the hook after it.
//!
//! The hook before puts a watch on the function's own `compile` attribute, which Triton calls on this cold path only.
//! It stays there: it gives start, end and failure on every version (3.0 and 3.1 have no hook after, and no version
//! calls it after a failure), and two threads that compile the same kernel cannot take it from each other.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::ThreadId;
use std::time::Instant;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::frame::{self, Frame};
use super::{autotune, describe, inductor, kernel_name, launcher, manual, package, recipe, specialization};
use crate::board::record::About;
use crate::model::event::{CacheResult, CompileEvent, Kind};
use crate::monitor::Pending;
use crate::process::lock::Mutex;
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::{get, item};
use crate::python::host::guard::guard;
use crate::python::patch::{After, Call, Outcome, Patches};
use crate::python::stall;

/// Between the hook before and the hook after.
struct Entry {
    pending: Arc<Pending>,
    function: Py<PyAny>,
    /// The very object that the compiler's source holds too (from 3.4): finds the entry from any thread.
    signature: Option<Py<PyAny>>,
    call: Py<PyDict>,
    thread: ThreadId,
    began: Instant,
    manual: bool,
    first: bool,
    compiled: bool,
    raise: Option<PyErr>,
}

/// Launches that are compiling now. Bounded: an entry that Triton never ends (its own code failed in between) is
/// dropped when the same thread begins another.
static ENTRIES: Mutex<Vec<Entry>> = Mutex::new(Vec::new());
const ENTRIES_KEPT: usize = 1024;

/// The watches on `compile` attributes. They hold their functions weakly: kernels come and go.
pub static FUNCTIONS: Patches = Patches::new();

/// `jit_cache_hook`: a launch needs a kernel that is not in memory.
pub fn before(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let Some(info) = call.keyword("fn") else { return Ok(None) };
    let function = get(&info, "jit_function").unwrap_or(info);
    let Some(pending) = stall::begin(py) else { return Ok(None) };
    let name = describe::kernel(&function, call.kwargs).name;
    pending.shows(About { runtime: package::of(&function).runtime.name, kind: Kind::Compile, kernel: &name });
    let payload = call.keyword("compile");
    let entry = Entry {
        pending,
        signature: payload.as_ref().and_then(|payload| item(payload, "signature")).map(Bound::unbind),
        call: call.kwargs.map_or_else(|| PyDict::new(py), |kwargs| kwargs.clone()).unbind(),
        thread: std::thread::current().id(),
        began: Instant::now(),
        manual: manual::is_manual()
            || call.keyword("is_manual_warmup").is_some_and(|flag| flag.is_truthy().or_none().unwrap_or(false)),
        first: package::of(&function).first_in_process(py),
        function: function.clone().unbind(),
        compiled: false,
        raise: None,
    };
    let number = Arc::as_ptr(&entry.pending) as usize;
    let asynchronous = is_asynchronous(&function);
    remember(entry, asynchronous);
    FUNCTIONS.wrap_weakly(&function, "compile", "triton.compile", watch)?;
    Ok(Some(Box::new(move |_py, outcome: Outcome<'_, '_>| {
        // A hook that was there before us may answer True: then Triton drops the launch and compiles nothing.
        if outcome.is_ok_and(|answer| answer.is_truthy().or_none().unwrap_or(false)) || outcome.is_err() {
            take(|entry| Arc::as_ptr(&entry.pending) as usize == number);
        }
        Ok(None)
    })))
}

/// `JITFunction.compile`, on its instance: the compile, or the load, itself.
fn watch(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let source = call.arg(0).or_else(|| call.keyword("src"));
    let Some(source) = source else { return Ok(None) };
    let Some(mut entry) = find(py, &source) else { return Ok(None) };
    let options = call.keyword("options").and_then(|options| options.cast_into::<PyDict>().ok()).map(Bound::unbind);
    let target = call.keyword("target").map(Bound::unbind);
    frame::push(Frame::new(source.clone().unbind(), None));
    let source = source.unbind();
    Ok(Some(Box::new(move |py, outcome| {
        let source = source.bind(py);
        let frame = frame::take(source);
        let mut event = event(py, &entry, source, frame, outcome);
        manual::replayed(event.cache);
        explain(py, &entry, source, options.as_ref().map(|options| options.bind(py)), outcome, &mut event);
        if entry.pending.is_armed() && !entry.manual && recipe::is_wanted() {
            guard(py, "triton.recipe", || {
                add_recipe(py, &entry, source, target.as_ref().map(|target| target.bind(py)), &mut event);
                Ok(())
            });
        }
        let (recorded, raise) =
            stall::finish(py, &entry.pending, event, &describe::specialization(entry.call.bind(py)));
        if let Some(recorded) = recorded {
            launcher::remember(source, recorded);
        }
        if outcome.is_err() {
            return Ok(None);
        }
        if !package::of(entry.function.bind(py)).post_hook.load(Ordering::Relaxed) {
            return Ok(raise);
        }
        entry.compiled = true;
        entry.raise = raise;
        ENTRIES.lock().push(entry);
        Ok(None)
    })))
}

/// Says why, after the time was taken.
fn explain(
    py: Python<'_>,
    entry: &Entry,
    source: &Bound<'_, PyAny>,
    options: Option<&Bound<'_, PyDict>>,
    outcome: Outcome<'_, '_>,
    event: &mut CompileEvent,
) {
    guard(py, "triton.explain", || {
        let call = entry.call.bind(py);
        let device = item(call, "compile").and_then(|payload| item(&payload, "device"));
        let asked = specialization::Asked {
            function: entry.function.bind(py),
            source,
            key: &describe::specialization(call),
            device: device.as_ref(),
            options,
            kernel: outcome.ok(),
            began: entry.began,
        };
        specialization::explain(event, &asked)
    });
}

/// What it takes to compile it again.
fn add_recipe(
    py: Python<'_>,
    entry: &Entry,
    source: &Bound<'_, PyAny>,
    target: Option<&Bound<'_, PyAny>>,
    event: &mut CompileEvent,
) {
    let call = entry.call.bind(py);
    let device = item(call, "compile").and_then(|payload| item(&payload, "device"));
    let recipe = recipe::of(&recipe::Compiled {
        function: entry.function.bind(py),
        source,
        key: kernel_name::whole_text(item(call, "key")),
        target,
        device: device.as_ref(),
        tuned: autotune::is_benchmarking(),
    });
    recipe::keep(event, recipe);
}

/// `jit_post_compile_hook`: the kernel is in memory now, so a raise here leaves Triton in order.
pub fn after(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let signature = call.keyword("compile").and_then(|payload| item(&payload, "signature"));
    let Some(info) = call.keyword("fn") else { return Ok(None) };
    let function = get(&info, "jit_function").unwrap_or(info);
    if let Some(kernel) = call.keyword("compile").filter(|payload| !payload.is_instance_of::<PyDict>()) {
        return inductor::after(py, call, &function, &kernel);
    }
    let thread = std::thread::current().id();
    let compiled = |entry: &Entry| entry.compiled;
    let entry = match signature {
        Some(signature) => {
            take(|entry| compiled(entry) && entry.signature.as_ref().is_some_and(|known| known.bind(py).is(&signature)))
        }
        None => take(|entry| compiled(entry) && entry.thread == thread && entry.function.bind(py).is(&function)),
    };
    match entry.and_then(|entry| entry.raise) {
        Some(raise) => Ok(Some(Box::new(move |_py, _outcome| Ok(Some(raise))))),
        None => Ok(None),
    }
}

fn event(
    py: Python<'_>,
    entry: &Entry,
    source: &Bound<'_, PyAny>,
    frame: Option<Frame>,
    outcome: Outcome<'_, '_>,
) -> CompileEvent {
    let duration = entry.pending.elapsed();
    let call = entry.call.bind(py);
    let cache = frame.as_ref().map_or(CacheResult::Unknown, |frame| frame.cache(outcome.is_ok()));
    let kind = if cache == CacheResult::Hit { Kind::Load } else { Kind::Compile };
    let mut event =
        package::of(entry.function.bind(py)).runtime.event(kind, describe::kernel(entry.function.bind(py), Some(call)));
    event.duration = duration;
    event.cache = cache;
    event.manual_warmup = entry.manual;
    event.first_in_process = entry.first;
    event.failure = outcome.err().map(|error| stall::failure(py, error));
    event.stages = frame.map(|mut frame| frame.take_stages()).unwrap_or_default();
    describe::add(py, &mut event, Some(call), source);
    event
}

/// Takes the entry that this source belongs to.
fn find(py: Python<'_>, source: &Bound<'_, PyAny>) -> Option<Entry> {
    let signature = get(source, "signature");
    let function = get(source, "fn");
    let thread = std::thread::current().id();
    let by_signature = signature.as_ref().and_then(|signature| {
        take(|entry| !entry.compiled && entry.signature.as_ref().is_some_and(|known| known.bind(py).is(signature)))
    });
    by_signature.or_else(|| {
        let function = function?;
        take(|entry| !entry.compiled && entry.thread == thread && entry.function.bind(py).is(&function))
    })
}

fn remember(entry: Entry, asynchronous: bool) {
    let mut dropped = Vec::new();
    let mut entries = ENTRIES.lock();
    if !asynchronous {
        let (stale, kept) = entries.drain(..).partition(|other| other.thread == entry.thread);
        dropped = stale;
        *entries = kept;
    }
    if entries.len() >= ENTRIES_KEPT {
        dropped.push(entries.remove(0));
    }
    entries.push(entry);
    drop(entries);
    // Dropping Python objects may run Python: not under our lock.
    drop(dropped);
}

fn take(which: impl Fn(&Entry) -> bool) -> Option<Entry> {
    let mut entries = ENTRIES.lock();
    let at = entries.iter().rposition(which)?;
    Some(entries.remove(at))
}

/// Whether Triton compiles in the threads of a pool (`AsyncCompileMode`, from 3.5): then one thread has several
/// launches open.
fn is_asynchronous(function: &Bound<'_, PyAny>) -> bool {
    let module = package::of(function).loaded(function.py(), "runtime._async_compile");
    let Some(module) = module else { return false };
    let mode = get(&module, "active_mode").and_then(|variable| variable.call_method0("get").or_none());
    mode.is_some_and(|mode| !mode.is_none())
}
