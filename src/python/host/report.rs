//! What we say in the log: through Python's `logging`, logger `jitspan`, so that the user's handlers and levels hold.
//! Each function may be called from anywhere: a handler that raises is swallowed, as `logging` itself would.

use std::collections::BTreeSet;

use crate::export::reach::{Moment, Notice};
use crate::process::installed;
use crate::process::lock::Mutex;
use pyo3::prelude::*;

use crate::model::event::{CompileEvent, Detail, assignments};
use crate::monitor::describe;
use crate::python::host::fork_gate;

/// Kernels and specializations warned of; beyond it each is warned of every time, which loses nothing.
const WARNED: usize = 8192;

static SEEN: Mutex<BTreeSet<(String, String)>> = Mutex::new(BTreeSet::new());

/// Logs with one of `logging`'s methods.
pub fn log(py: Python<'_>, level: &str, message: &str) {
    // Not the guard: it would come here again.
    let _ = logger(py).and_then(|logger| fork_gate::write(py, || logger.call_method1(level, ("%s", message))));
}

/// Logs what few read: the message is not even made for nobody.
pub fn debug(py: Python<'_>, message: impl FnOnce() -> String) {
    const DEBUG: i32 = 10;
    let enabled = logger(py).and_then(|logger| logger.call_method1("isEnabledFor", (DEBUG,))?.is_truthy());
    if enabled.unwrap_or(false) {
        log(py, "debug", &message());
    }
}

fn logger(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    py.import("logging")?.call_method1("getLogger", ("jitspan",))
}

/// Says that a part of ours failed. The server goes on.
pub fn fault(py: Python<'_>, place: &str, message: &str) {
    let text = format!("jitspan fault in {place}, counted and ignored from now on: {message}");
    log(py, "warning", &text);
}

/// Says of a collector that it takes nothing, or that it takes all again: for the exporter's threads, which never take the
/// interpreter's lock.
pub fn collectors(py: Python<'_>, moment: Moment) {
    for notice in installed::notices(moment) {
        match notice {
            Notice::Failing(text) => log(py, "warning", &text),
            Notice::Well(text) => log(py, "info", &text),
        }
    }
}

/// Warns of a compile: once for each kernel and specialization, every time in verbose mode.
pub fn warn(py: Python<'_>, event: &CompileEvent, waiting: usize, specialization: &str, verbose: bool) {
    if event.manual_warmup {
        return;
    }
    let text = describe(event, waiting);
    if verbose {
        log(py, "warning", &format!("{text}{}", verbose_detail(event)));
        return;
    }
    let first = {
        let mut seen = SEEN.lock();
        seen.len() >= WARNED || seen.insert((event.kernel.name.clone(), specialization.to_owned()))
    };
    if first {
        log(py, "warning", &text);
    }
}

/// Forgets what was warned of, so that the next `activate()` warns again.
pub fn forget() {
    SEEN.lock().clear();
}

fn verbose_detail(event: &CompileEvent) -> String {
    let none = Detail::default();
    let detail = event.detail.as_deref().unwrap_or(&none);
    let options = (!event.options.is_empty()).then(|| assignments(&event.options));
    let parts = [
        ("constexprs", &detail.constexprs),
        ("signature", &detail.signature),
        ("options", &options),
        ("key", &detail.key),
        ("stack", &detail.stack),
    ];
    let known = parts.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?)));
    format!(" {}", known.collect::<Vec<_>>().join("; "))
}
