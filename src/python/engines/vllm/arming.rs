//! When vLLM's warm-up is over, and what its own monitor then refuses.

use std::time::Duration;

use pyo3::prelude::*;

use crate::config::{Mode, Settings};
use crate::model::event::{CompileEvent, Failure, Kernel, Kind};
use crate::python::arming;
use crate::python::host::boundary;
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::{get, get_text};
use crate::python::host::report;
use crate::python::patch::late;
use crate::python::patch::{After, Call};
use crate::python::ranks;
use crate::python::replay;
use crate::python::stall;
use crate::python::step;

/// `jit_monitor.activate(*, mode, verbose)`: vLLM says itself that warm-up is over, with its own flags. Its monitor is
/// armed as well, and its log lines go on.
pub fn activate(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    // What is compiled from here on is late to vLLM's monitor, too; and vLLM freezes the garbage collector next, which
    // hides kernels from our search.
    if !arming::is_armed() {
        replay::before_requests(py, |_| ())?;
    }
    let mode = call.keyword("mode").or_else(|| call.arg(0)).and_then(|mode| mode.extract::<String>().ok());
    let verbose =
        call.keyword("verbose").or_else(|| call.arg(1)).is_some_and(|flag| flag.is_truthy().or_none().unwrap_or(false));
    let settings = settings(mode.as_deref(), verbose);
    Ok(Some(Box::new(move |py, outcome| {
        if outcome.is_ok() {
            arm(py, &settings);
        }
        Ok(None)
    })))
}

/// `Worker.compile_or_warm_up_model`: for platforms whose worker does not know of vLLM's monitor.
pub fn warmed_up(_py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let config = call.arg(0).and_then(|worker| get(&worker, "vllm_config")).map(Bound::unbind);
    Ok(Some(Box::new(move |py, outcome| {
        if outcome.is_err() || arming::is_armed() {
            return Ok(None);
        }
        let config = config.map(|config| config.into_bound(py));
        let kernels = config.as_ref().and_then(|config| get(config, "kernel_config"));
        let warm_up = kernels.and_then(|kernels| get(&kernels, "enable_jit_warmup"));
        if warm_up.is_some_and(|flag| !flag.is_truthy().or_none().unwrap_or(true)) {
            // `enforce_eager` does this. Every kernel will compile on its first request, by the user's own choice: a
            // trace says so, and nothing fails.
            arm(py, &Settings { mode: Mode::Warn, verbose: false });
            if let Some(monitor) = crate::monitor().filter(|_| arming::is_armed()) {
                monitor.expect_compiles();
                let text = "vLLM runs without its JIT warm-up (--enforce-eager), so kernels compile as requests come: \
                            jitspan puts each on its requests' traces, with jit.expected, and warns of none";
                report::log(py, "warning", text);
            }
            return Ok(None);
        }
        let observability = config.as_ref().and_then(|config| get(config, "observability_config"));
        let mode = observability.as_ref().and_then(|said| get_text(said, "jit_monitor_mode"));
        let verbose = observability.as_ref().and_then(|said| get(said, "jit_monitor_verbose"));
        let verbose = verbose.is_some_and(|flag| flag.is_truthy().or_none().unwrap_or(false));
        let settings = settings(mode.as_deref(), verbose);
        replay::before_requests(py, move |py| arm(py, &settings))?;
        Ok(None)
    })))
}

fn settings(mode: Option<&str>, verbose: bool) -> Settings {
    Settings { mode: mode.and_then(Mode::from_word).unwrap_or(Mode::Warn), verbose }
}

fn arm(py: Python<'_>, settings: &Settings) {
    if let Err(error) = arming::arm(py, settings) {
        report::log(py, "error", &format!("not armed: {error}"));
    }
}

/// `jit_monitor._handle_jit_event`: in vLLM's error mode it raises, and the engine dies of it. By then the requests'
/// spans have failed and are sent: also for what our own mode would have let pass (a load from the disk cache), and for
/// what vLLM refuses before it begins (all but Triton), of which no hook of ours hears.
pub fn refused(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let text = |name: &str| call.keyword(name).and_then(|value| value.extract::<String>().ok());
    let (Some(backend), Some(monitor)) = (text("backend"), crate::monitor()) else { return Ok(None) };
    if !raises(py) || !arming::is_armed() {
        return Ok(None);
    }
    let name = text("fn_name").unwrap_or_else(|| Kernel::UNKNOWN.to_owned());
    if !backend.eq_ignore_ascii_case("triton")
        && let Some(pending) = stall::begin(py)
    {
        let mut event = CompileEvent::new(Kind::Compile, backend.to_ascii_lowercase(), Kernel::named(&*name));
        event.duration = Duration::ZERO;
        // In our error mode it fails the spans and flushes; what is raised is vLLM's.
        stall::finish(py, &pending, event, "refused");
    }
    if let Some(scope) = step::current(py).filter(crate::scope::Scope::has_stalled) {
        let event = text("event").unwrap_or_default();
        let message = format!("{backend} {event} during inference: {name}");
        monitor.fail(&scope, &Failure { error_type: "RuntimeError".to_owned(), message });
        boundary::leave_wait(py, move || {
            monitor.flush(monitor.config().flush_timeout);
        });
    }
    ranks::wait_for_others(py);
    Ok(None)
}

/// Whether vLLM's monitor is in error mode.
fn raises(py: Python<'_>) -> bool {
    ["vllm.utils.jit_monitor", "vllm.triton_utils.jit_monitor"].iter().any(|module| {
        let module = late::imported(py, module);
        module.and_then(|module| get_text(&module, "_mode")).is_some_and(|mode| mode == Mode::Error.word())
    })
}
