//! What we say in the log: through Python's `logging`, logger `jitspan`, so that the user's handlers and levels hold.
//! Each function may be called from anywhere: a line is left to `boundary.py`, which writes it when the native has
//! returned, for a handler may take its time.

use std::collections::BTreeSet;

use crate::export::reach::{Moment, Notice};
use crate::installed;
use crate::process::lock::Mutex;
use pyo3::prelude::*;

use crate::model::event::{CompileEvent, Detail, assignments};
use crate::monitor::describe;
use crate::python::host::leaving;
use crate::python::host::leaving::OrNone;

/// Kernels and specializations warned of; beyond it each is warned of every time, which loses nothing.
const WARNED: usize = 8192;

static SEEN: Mutex<BTreeSet<(String, String)>> = Mutex::new(BTreeSet::new());

/// Logs with one of `logging`'s methods.
pub fn log(py: Python<'_>, level: &str, message: &str) {
    leaving::leave_text(py, "write", (level, message).into_pyobject(py));
}

/// Says that a part of ours failed. The server goes on.
pub fn fault(py: Python<'_>, place: &str, message: &str) {
    let text = format!("jitspan fault in {place}, counted and ignored from now on: {message}");
    log(py, "warning", &text);
}

/// What we say goes where an engine's own log does, in its format, unless somebody has set up a handler for us.
pub fn speak_through(py: Python<'_>, engine: &str) {
    let parent = || {
        let logging = py.import("logging")?;
        let logger = logging.call_method1("getLogger", ("jitspan",))?;
        let theirs = logging.call_method1("getLogger", (engine,))?;
        let has_handlers = |logger: &Bound<'_, PyAny>| logger.getattr("handlers")?.is_truthy();
        let root = logging.call_method0("getLogger")?;
        if has_handlers(&theirs)? && !has_handlers(&logger)? && !has_handlers(&root)? {
            logger.setattr("parent", theirs)?;
        }
        PyResult::Ok(())
    };
    // Not the guard: it would come here again.
    parent().or_none();
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

/// Says what there is to say of the board, each line once.
pub fn board(py: Python<'_>) {
    for notice in crate::monitor().map(|monitor| monitor.board().notices()).unwrap_or_default() {
        log(py, "warning", &notice);
    }
}

/// Warns of a compile: once for each kernel and specialization, every time in verbose mode. `whose`: who waited.
pub fn warn(
    py: Python<'_>,
    event: &CompileEvent,
    (waiting, whose): (usize, &str),
    specialization: &str,
    verbose: bool,
) {
    if event.manual_warmup || event.expected {
        return;
    }
    let text = format!("{}{whose}", describe(event, waiting));
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
    // Not the stack, which is 30 lines: it is on the event.
    let options = (!event.options.is_empty()).then(|| assignments(&event.options));
    let parts = [
        ("constexprs", &detail.constexprs),
        ("signature", &detail.signature),
        ("options", &options),
        ("key", &detail.key),
    ];
    let known = parts.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?)));
    format!(" {}", known.collect::<Vec<_>>().join("; "))
}
