//! A stall in Python: begins in a hook, nests, ends in a hook, and is told of.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::prelude::*;

use crate::export::reach::Moment;
use crate::live::Place;
use crate::model::event::{CompileEvent, Failure, Kernel, Kind};
use crate::monitor::{Monitor, Pending, Recorded, UnexpectedCompile};
use crate::python::host::boundary::{self, OrNone};
use crate::python::host::convert;
use crate::python::host::guard::{fault, guard};
use crate::python::host::report;
use crate::python::lifetime;
use crate::python::live::otel_span;
use crate::python::ranks;
use crate::python::scope;
use crate::python::step;
use crate::python::unexpected::UnexpectedCompileError;

/// Stalls that are going on in all threads and that others may nest in.
static NESTED: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Stalls that are going on in this thread, the outermost first. A compile runs from start to end in one call,
    /// so no other task can run in between.
    static NESTING: RefCell<Vec<Arc<Pending>>> = const { RefCell::new(Vec::new()) };
}

/// A stall begins here and now. None: nothing is installed.
pub fn begin(py: Python<'_>) -> Option<Arc<Pending>> {
    begin_after(py, None)
}

/// As [`begin`], for an operation in which nothing may raise: what error mode would have raised inside it is raised
/// when it ends.
pub fn begin_holding(py: Python<'_>) -> Option<Arc<Pending>> {
    let monitor = crate::monitor()?;
    let parent = NESTING.with_borrow(|nesting| nesting.last().cloned());
    Some(Arc::new(monitor.begin(|| place(py), parent.as_deref()).holding()))
}

/// As [`begin_holding`], for what another thread works on while the requests of `other` wait.
pub fn begin_beside(other: &Pending) -> Option<Arc<Pending>> {
    Some(Arc::new(crate::monitor()?.begin_beside(other).holding()))
}

/// Whether a stall is going on in this thread.
pub fn is_nested() -> bool {
    NESTING.with_borrow(|nesting| !nesting.is_empty())
}

/// Whether one is going on in any thread. After a fork it may seem so for ever.
pub fn is_any_nested() -> bool {
    NESTED.load(Ordering::Relaxed) > 0
}

/// As [`begin`]. Where nobody waits, it joins the trace of the stall that it belongs to.
pub fn begin_after(py: Python<'_>, other: Option<&Recorded>) -> Option<Arc<Pending>> {
    let monitor = crate::monitor()?;
    let parent = NESTING.with_borrow(|nesting| nesting.last().cloned());
    let place = || match (place(py), other.filter(|other| other.waiting == 0).and_then(|other| other.scope.identity()))
    {
        (Place::Nobody, Some(identity)) => Place::After(identity),
        (place, _) => place,
    };
    Some(Arc::new(monitor.begin(place, parent.as_deref())))
}

/// Who waits: a jitspan scope, else the step of an engine, else a live span of Python, else one of Rust, else nobody.
fn place(py: Python<'_>) -> Place {
    if let Some(scope) = scope::current(py).or_none().flatten() {
        let scope = scope.get().core(py);
        // A batch of nobody: whoever else waits.
        if !scope.is_empty() {
            return Place::Scope(scope);
        }
    }
    if let Some(step) = step::current(py) {
        return Place::Scope(step);
    }
    let python = guard(py, "live_span", || otel_span::place(py)).unwrap_or(Place::Nobody);
    if let Place::Live(_) = python {
        return python;
    }
    match (crate::live::rust::place(), python) {
        (Place::Live(span), _) => Place::Live(span),
        (_, Place::Under(span)) => Place::Under(span),
        (rust, _) => rust,
    }
}

/// What begins in this thread from now on nests in `pending`, until [`leave`].
pub fn enter(pending: &Arc<Pending>) {
    NESTED.fetch_add(1, Ordering::Relaxed);
    NESTING.with_borrow_mut(|nesting| nesting.push(Arc::clone(pending)));
}

/// Ends what [`enter`] began, and whatever inside it was never ended.
pub fn leave(pending: &Arc<Pending>) {
    NESTING.with_borrow_mut(|nesting| {
        if let Some(at) = nesting.iter().rposition(|entered| Arc::ptr_eq(entered, pending)) {
            NESTED.fetch_sub(nesting.len() - at, Ordering::Relaxed);
            nesting.truncate(at);
        }
    });
}

/// A stall has ended: records it, warns of it, and in error mode returns what to raise, when the flush that is left to the
/// text has been waited for.
pub fn finish(
    py: Python<'_>,
    pending: &Pending,
    event: CompileEvent,
    specialization: &str,
) -> (Option<Recorded>, Option<PyErr>) {
    let Some(monitor) = crate::monitor() else { return (None, None) };
    lifetime::watch_exit(py);
    if event.kernel.name == Kernel::UNKNOWN {
        fault(py, "kernel_name", &format!("{} gave a kernel without a name", event.runtime));
    }
    let Some(recorded) = monitor.finish(pending, event) else { return (None, None) };
    if let Err(reason) = py.detach(|| monitor.keep(&recorded)) {
        fault(py, "manifest", &reason);
    }
    let raise = recorded.error.as_ref().map(|error| raise(py, monitor, &recorded, error));
    if raise.is_none() {
        tell(py, monitor, &recorded, specialization);
    }
    report::collectors(py, Moment::Running);
    report::board(py);
    (Some(recorded), raise)
}

fn raise(py: Python<'_>, monitor: &'static Monitor, recorded: &Recorded, error: &UnexpectedCompile) -> PyErr {
    let timeout = monitor.config().flush_timeout;
    let theirs = recorded.live.as_ref().and_then(|live| live.flush(timeout));
    boundary::leave_wait(py, move || {
        monitor.flush_beside(theirs, timeout);
    });
    ranks::wait_for_others(py);
    UnexpectedCompileError::new_err(error.message.clone())
}

fn tell(py: Python<'_>, monitor: &Monitor, recorded: &Recorded, specialization: &str) {
    let verbose = monitor.config().verbose;
    match recorded.event.severity() {
        Kind::Compile | Kind::Autotune | Kind::TunerMiss => {
            let whose = recorded.scope.whose();
            report::warn(py, &recorded.event, (recorded.waiting, &whose), specialization, verbose);
        }
        Kind::Load | Kind::Launcher | Kind::Peer => {
            report::log(py, "debug", &crate::monitor::describe(&recorded.event, recorded.waiting));
        }
    }
}

/// A Python exception as a failure of the compile.
pub fn failure(py: Python<'_>, error: &PyErr) -> Failure {
    let class = error.get_type(py);
    let name =
        class.qualname().or_none().map_or_else(|| "Exception".to_owned(), |name| name.to_string_lossy().into_owned());
    let module = class.module().or_none().map(|module| module.to_string_lossy().into_owned()).unwrap_or_default();
    let error_type = if matches!(module.as_str(), "" | "builtins") { name } else { format!("{module}.{name}") };
    let message = error.value(py).str().or_none().map(|text| text.to_string_lossy().into_owned());
    let message = message.unwrap_or_else(|| format!("<{}>", convert::type_name(error.value(py))));
    Failure { error_type, message: crate::model::attribute::bounded(&message, 2000).into_owned() }
}

/// Whether an exception is our own error mode's.
pub fn is_ours(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<UnexpectedCompileError>(py)
}
