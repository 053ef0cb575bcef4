//! DeepGEMM: C++ that writes CUDA sources, compiles them with nvcc or NVRTC inside a call, and keeps them in a folder.
//!
//! It has no hook. Two ways were looked at:
//!
//! - Watching the folder (inotify) costs a launch nothing. But a folder tells neither the process nor the thread: on a
//!   shared one other processes' builds look like ours; NVRTC leaves no child process that would say whose it is, and
//!   old versions hold the interpreter meanwhile; and another thread cannot read the context variable that says which
//!   request waits, nor the span that is open there. A network file system does not tell of other nodes at all.
//! - Timing the calls gives the thread, the request and the failure for certain. It costs each call two readings of the
//!   clock and our frame around it, below a microsecond, where the call itself writes and hashes a source, 10 and more.
//!   Launches in a CUDA graph are no calls.
//!
//! So the calls are timed, and the folder is looked at after one that took long: see `folder.rs`. This is the one hook
//! that stands in the way of a launch.

mod folder;

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFunction, PyType};

use crate::model::event::{CacheResult, Cause, Kernel, Kind};
use crate::process::lock::Mutex;
use crate::python::hooks::{Runtime, State, known};
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::{get_text, text};
use crate::python::host::here;
use crate::python::host::imports;
use crate::python::patch::{After, Call, Outcome, Patches};
use crate::python::stall;

/// The row of the table.
pub static RUNTIME: Runtime = row("deep_gemm");

/// The same package as vLLM ships it.
pub static OF_VLLM: Runtime = row("vllm.third_party.deep_gemm");

const fn row(package: &'static str) -> Runtime {
    Runtime {
        name: "deep_gemm",
        title: "DeepGEMM",
        package,
        distributions: &["deep-gemm", "deep_gemm", "sgl-deep-gemm"],
        tested: ("0.2.5", "0.2.5"),
        module: package,
        parts: &[],
        install,
        armed: |_, _| Ok(()),
        forget: |_| known::forget(),
        patches: Patches::new(),
        state: Mutex::new(State::Waiting),
    }
}

/// A call that takes less has compiled nothing: nvcc and NVRTC take seconds, a launch some 20 microseconds. A load from
/// the folder lies between.
const LONG: Duration = Duration::from_millis(10);

/// Parts of the names of what launches a kernel.
const LAUNCHES: [&str; 8] =
    ["gemm", "einsum", "mqa_logits", "mega_moe", "prenorm", "transform_sf", "get_mn_major", "cast_"];

/// Errors of a compiler, by what their text says.
const COMPILERS: [&str; 3] = ["nvcc", "nvrtc", "compil"];

/// Stands in front of all that launches. `_C` is C++'s, and is called by what was bound by name before us.
fn install(module: &Bound<'_, PyModule>, patches: &'static Patches) -> PyResult<()> {
    let functions = module.dict().items();
    let functions = functions.iter().filter_map(|pair| pair.extract::<(String, Bound<'_, PyAny>)>().ok());
    for (name, function) in functions {
        let launches = LAUNCHES.iter().any(|part| name.contains(part)) && !name.starts_with('_');
        let callable = function.is_instance_of::<PyFunction>()
            || (function.is_callable()
                && !function.is_instance_of::<PyType>()
                && !function.is_instance_of::<PyModule>());
        if launches && callable && !function.is_instance_of::<PyDict>() {
            let label: Arc<str> = Arc::from(&*name);
            patches.wrap(module, &name, "deep_gemm.call", move |_py: Python<'_>, _call: &Call<'_, '_>| {
                Ok(Some(time(Arc::clone(&label))))
            })?;
        }
    }
    Ok(())
}

fn time(name: Arc<str>) -> After {
    let began = Instant::now();
    Box::new(move |py, outcome| {
        let took = began.elapsed();
        // One of these may call another, which has told of it then.
        if took < LONG || TOLD.get().is_some_and(|told| told >= began) {
            return Ok(None);
        }
        TOLD.set(Some(Instant::now()));
        Ok(tell(py, &name, took, outcome))
    })
}

thread_local! {
    /// When this thread last looked at the folder.
    static TOLD: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// What was built while the call ran, by the folder; the call may have waited for others who built the same.
fn tell(py: Python<'_>, function: &str, took: Duration, outcome: Outcome<'_, '_>) -> Option<PyErr> {
    let began = SystemTime::now().checked_sub(took)?;
    let found = folder::look(began, took);
    let failed = outcome.err().filter(|error| !stall::is_ours(py, error) && is_of_compiler(py, error));
    let mut raise = None;
    let last = found.len().saturating_sub(1);
    for (at, kernel) in found.into_iter().enumerate() {
        let pending = stall::begin(py)?;
        let mut event =
            RUNTIME.event(if kernel.built { Kind::Compile } else { Kind::Load }, Kernel::named(kernel.name));
        // The first one's stall is the whole of the call but for what the others took.
        let since = if at == 0 { Duration::ZERO } else { kernel.began.duration_since(began).unwrap_or_default() };
        let until = if at == last { took } else { kernel.ended.duration_since(began).unwrap_or(took) };
        event.duration = until.saturating_sub(since);
        event.started = Some(pending.started().saturating_sub(crate::model::event::nanos(took.saturating_sub(since))));
        event.cache = if kernel.built { CacheResult::Miss } else { CacheResult::Hit };
        let specialization = vec![("source".to_owned(), kernel.hash.clone())];
        let identity = format!("deep_gemm:{}", event.kernel.name);
        let (cause, _) = known::explain(&identity, &specialization);
        // Its hash says that it differs, and not in what.
        event.cause = Some(cause);
        known::remember(&identity, specialization);
        add(py, &mut event, function);
        let (_, own) = stall::finish(py, &pending, event, &kernel.hash);
        raise = raise.or(own);
    }
    if let Some(error) = failed {
        let pending = stall::begin(py)?;
        let mut event = RUNTIME.event(Kind::Compile, Kernel::named(function));
        event.duration = took;
        event.started = Some(pending.started().saturating_sub(crate::model::event::nanos(took)));
        event.cache = CacheResult::Miss;
        event.cause = Some(Cause::FirstUse);
        event.failure = Some(stall::failure(py, error));
        add(py, &mut event, function);
        stall::finish(py, &pending, event, function);
    }
    raise
}

fn add(py: Python<'_>, event: &mut crate::model::event::CompileEvent, function: &str) {
    event.options.push(("function".to_owned(), function.to_owned()));
    let package = [&RUNTIME, &OF_VLLM].iter().find_map(|runtime| imports::loaded(py, runtime.package));
    event.runtime_version = package.and_then(|package| get_text(&package, "__version__"));
    event.thread = here::thread(py);
}

fn is_of_compiler(py: Python<'_>, error: &PyErr) -> bool {
    let message =
        error.value(py).str().or_none().map(|message| text(message.as_any())).unwrap_or_default().to_lowercase();
    COMPILERS.iter().any(|compiler| message.contains(compiler))
}
