//! A frame that Dynamo compiles: `convert_frame._compile(code, globals, locals, builtins, closure, compiler_fn,
//! one_graph, ..., compile_id=...)`.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyList, PyWeakrefReference};

use super::RUNTIME;
use super::cache::Counters;
use crate::board::record::About;
use crate::model::attribute::bounded;
use crate::model::event::{CacheResult, Cause, CompileEvent, Detail, Kernel, Kind};
use crate::monitor::Pending;
use crate::process::lock::Mutex;
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::{get, get_text, item, text, type_name};
use crate::python::host::here;
use crate::python::patch::{After, Call, Outcome};
use crate::python::stall;

/// A frame that is being compiled in this thread.
#[derive(Default)]
struct Frame {
    /// What Dynamo said of why it compiles again. None: it was not asked.
    reasons: Option<Vec<String>>,
    /// Inductor was at work.
    graphs: usize,
}

thread_local! {
    static FRAMES: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

/// Phrases kept, and characters of one.
const REASONS: usize = 16;
const REASON: usize = 500;

/// Errors that mean "run it without being compiled", which is no failure: the frame is left to Python.
const LEFT_ALONE: [&str; 3] = ["SkipFrame", "RecompileLimitExceeded", "Unsupported"];

/// Code objects that were compiled, by address: an object has one plain weak reference, so the same reference is the
/// same object. And the kernels of recent compiles by their id, for what comes later (a backward).
static KNOWN: Mutex<BTreeMap<usize, Py<PyWeakrefReference>>> = Mutex::new(BTreeMap::new());
static RECENT: Mutex<VecDeque<(String, Kernel)>> = Mutex::new(VecDeque::new());
const KNOWN_KEPT: usize = 8192;
const RECENT_KEPT: usize = 512;

/// Notes that Inductor compiles a graph. False: not inside a frame.
pub fn has_graph() -> bool {
    FRAMES.with_borrow_mut(|frames| frames.last_mut().map(|frame| frame.graphs += 1).is_some())
}

/// The frame that has had this id.
pub fn of_id(id: &str) -> Option<Kernel> {
    RECENT.lock().iter().rev().find(|(known, _)| known == id).map(|(_, kernel)| kernel.clone())
}

/// Forgets all of it: what compiles while nobody watches would be taken for what is known.
pub fn forget() {
    RECENT.lock().clear();
    let known = std::mem::take(&mut *KNOWN.lock());
    // Not under our lock: that may run Python.
    drop(known);
}

/// `_compile`.
pub fn compiles(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let Some(code) = call.arg(0).or_else(|| call.keyword("code")) else { return Ok(None) };
    let Some(pending) = stall::begin_holding(py) else { return Ok(None) };
    let (kernel, options) = (kernel(&code, call), options(call));
    pending.shows(About { runtime: RUNTIME.name, kind: Kind::Compile, kernel: &kernel.name });
    let id = call.keyword("compile_id").and_then(|id| super::id(&id));
    let fails =
        call.arg(6).or_else(|| call.keyword("one_graph")).is_some_and(|one| one.is_truthy().or_none().unwrap_or(false));
    let (counters, code) = (Counters::now(py), code.unbind());
    let depth = FRAMES.with_borrow_mut(|frames| {
        frames.push(Frame::default());
        frames.len() - 1
    });
    stall::enter(&pending);
    Ok(Some(Box::new(move |py, outcome| {
        stall::leave(&pending);
        let frame = FRAMES.with_borrow_mut(|frames| frames.drain(depth.min(frames.len())..).next());
        let Some(frame) = frame else { return Ok(None) };
        if is_nothing(py, outcome, fails) && !pending.has_recorded() {
            return Ok(None);
        }
        let code = code.bind(py);
        let mut event = RUNTIME.event(Kind::Compile, kernel);
        event.duration = pending.elapsed();
        event.id = id;
        event.options = options;
        event.failure = outcome.err().map(|error| stall::failure(py, error));
        event.cache = counters.since(py, frame.graphs > 0);
        if event.cache == CacheResult::Hit && event.failure.is_none() {
            event.kind = Kind::Load;
        }
        explain(code, frame.reasons, &mut event);
        super::add_process(py, &mut event);
        remember(code, &event);
        Ok(record(py, &pending, event))
    })))
}

/// Records it, and says what to raise.
pub fn record(py: Python<'_>, pending: &Arc<Pending>, mut event: CompileEvent) -> Option<PyErr> {
    if crate::monitor().is_some_and(|monitor| monitor.config().verbose) {
        event.detail = Some(Box::new(Detail { stack: here::stack(py), ..Detail::default() }));
    }
    let specialization = event.id.clone().unwrap_or_default();
    stall::finish(py, pending, event, &specialization).1
}

/// `get_and_maybe_log_recompilation_reasons(cache_entry, frame, ...)` gives a text for each compile that it has.
pub fn explains(_py: Python<'_>, _call: &Call<'_, '_>) -> PyResult<Option<After>> {
    Ok(Some(Box::new(|_py, outcome| {
        let reasons = outcome.ok().and_then(|reasons| reasons.cast::<PyList>().ok());
        let reasons = reasons.into_iter().flat_map(|reasons| reasons.iter().take(REASONS).collect::<Vec<_>>());
        let reasons = reasons.map(|reason| bounded(&text(&reason), REASON).into_owned()).collect();
        FRAMES.with_borrow_mut(|frames| frames.last_mut().map(|frame| frame.reasons = Some(reasons)));
        Ok(None)
    })))
}

/// It ended without code, as a frame without a tensor does, or Python is to run it as it is.
fn is_nothing(py: Python<'_>, outcome: Outcome<'_, '_>, one_graph: bool) -> bool {
    match outcome {
        Ok(value) => value.is_none() || (value.hasattr("guarded_code").or_none().unwrap_or(false) && no_code(value)),
        Err(error) if stall::is_ours(py, error) => true,
        Err(error) => {
            let name = type_name(error.value(py));
            let left = LEFT_ALONE.contains(&&*name) && !(one_graph && name == "Unsupported");
            // Past the limit of compiles, which the server has asked to be told of.
            left || name == "FailOnRecompileLimitHit"
        }
    }
}

fn no_code(value: &Bound<'_, PyAny>) -> bool {
    get(value, "guarded_code").is_none()
}

fn kernel(code: &Bound<'_, PyAny>, call: &Call<'_, '_>) -> Kernel {
    let module = call.arg(1).or_else(|| call.keyword("globals")).and_then(|globals| item(&globals, "__name__"));
    Kernel {
        name: get_text(code, "co_qualname").or_else(|| get_text(code, "co_name")).unwrap_or_default(),
        module: module.map(|module| text(&module)),
        file: get_text(code, "co_filename"),
        line: get(code, "co_firstlineno").and_then(|line| line.extract().or_none()),
    }
}

/// The backend, by the name that it was asked for.
fn options(call: &Call<'_, '_>) -> Vec<(String, String)> {
    let backend = call.arg(5).or_else(|| call.keyword("compiler_fn"));
    let name = backend.and_then(|backend| {
        ["_compiler_name", "compiler_name", "__name__"].iter().find_map(|name| get_text(&backend, name))
    });
    name.map(|name| ("backend".to_owned(), name)).into_iter().collect()
}

fn explain(code: &Bound<'_, PyAny>, reasons: Option<Vec<String>>, event: &mut CompileEvent) {
    let known = PyWeakrefReference::new(code).is_ok_and(|weak| {
        KNOWN.lock().get(&(code.as_ptr() as usize)).is_some_and(|known| known.as_ptr() == weak.as_ptr())
    });
    event.cause = Some(match (&reasons, known) {
        (Some(_), _) => Cause::NewSpecialization,
        // Dynamo has forgotten it: `torch._dynamo.reset()`.
        (None, true) => Cause::Recompile,
        (None, false) => Cause::FirstUse,
    });
    event.changes = reasons.unwrap_or_default();
}

fn remember(code: &Bound<'_, PyAny>, event: &CompileEvent) {
    if event.failure.is_some() {
        return;
    }
    if let Some(id) = &event.id {
        let mut recent = RECENT.lock();
        if recent.len() >= RECENT_KEPT {
            recent.pop_front();
        }
        recent.push_back((id.clone(), event.kernel.clone()));
    }
    let Ok(weak) = PyWeakrefReference::new(code) else { return };
    let mut known = KNOWN.lock();
    let dropped = if known.len() >= KNOWN_KEPT { known.pop_first() } else { None };
    let replaced = known.insert(code.as_ptr() as usize, weak.unbind());
    drop(known);
    // Not under our lock: that may run Python.
    drop((dropped, replaced));
}
