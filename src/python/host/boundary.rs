//! The way into a native of ours, and out of it.
//!
//! What the host's code must not run above (a log handler, somebody else's flush, a wait) is left behind by a native, and
//! done by Python text of ours when it has returned: `boundary.py`. And what is no `Exception`, a signal handler's
//! KeyboardInterrupt or SystemExit that came up in Python that we happened to read, is kept here until then, and goes on
//! to the host: one place for all, so that who reads an attribute need not know.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::PyException;
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::process::lock::Mutex;
use crate::python::host::gate::{self, Inside};
use crate::python::host::guard;
use crate::python::host::text::{self, Text};

/// `boundary.py`.
pub static TEXT: Text = Text::new(include_str!("boundary.py"));

/// A call that is left to the text.
type Left = (Py<PyAny>, Py<PyTuple>);

thread_local! {
    static STATE: RefCell<State> = const { RefCell::new(State { depth: 0, interrupt: None, leaving: Vec::new(), left: Vec::new() }) };
}

struct State {
    /// Natives that this thread is inside of.
    depth: usize,
    /// To be raised when the innermost returns.
    interrupt: Option<PyErr>,
    /// What the innermost leaves.
    leaving: Vec<Left>,
    /// What those that have returned have left, until the text takes it.
    left: Vec<Left>,
}

/// The inside of a native.
pub struct Native<'py> {
    py: Python<'py>,
    outer: Option<(Option<PyErr>, Vec<Left>)>,
    _inside: Inside<'py>,
}

/// A native begins. None: the interpreter ends, and the native does nothing.
pub fn enter(py: Python<'_>) -> Option<Native<'_>> {
    let inside = gate::enter(py)?;
    let outer = STATE.with_borrow_mut(|state| {
        state.depth += 1;
        // What the outermost finds was kept where no native was around: that is raised by this one.
        (state.depth > 1).then(|| (state.interrupt.take(), std::mem::take(&mut state.leaving)))
    });
    Some(Native { py, outer, _inside: inside })
}

impl<'py> Native<'py> {
    /// Runs `body`; a fault of ours is counted under `place` and gives None.
    pub fn guard<T>(&self, place: &str, body: impl FnOnce() -> PyResult<T>) -> Option<T> {
        guard::guard(self.py, place, body)
    }

    /// Whether anything is left for the text.
    pub fn leaves(&self) -> bool {
        STATE.with_borrow(|state| !state.leaving.is_empty() || !state.left.is_empty())
    }

    /// The native returns.
    ///
    /// # Errors
    /// Something that is no `Exception` came up meanwhile.
    pub fn finish<T>(self, value: T) -> PyResult<T> {
        match STATE.with_borrow_mut(|state| state.interrupt.take()) {
            Some(interrupt) => {
                drop(value);
                Err(interrupt)
            }
            None => Ok(value),
        }
    }
}

impl Drop for Native<'_> {
    fn drop(&mut self) {
        let outer = self.outer.take();
        STATE.with_borrow_mut(|state| {
            state.depth -= 1;
            let leaving = std::mem::take(&mut state.leaving);
            state.left.extend(leaving);
            if let Some((interrupt, leaving)) = outer {
                state.leaving = leaving;
                state.interrupt = state.interrupt.take().or(interrupt);
            }
        });
    }
}

/// A native that may fail in the host's sight: a bad argument. A panic is a fault of ours.
///
/// # Errors
/// What `body` fails with, or what is no `Exception` and came up meanwhile. `closed` gives the answer when the
/// interpreter ends.
pub fn native<T>(
    py: Python<'_>,
    place: &str,
    closed: impl FnOnce() -> T,
    body: impl FnOnce() -> PyResult<T>,
) -> PyResult<T> {
    let Some(native) = enter(py) else { return Ok(closed()) };
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => native.finish(value),
        Ok(Err(error)) => native.finish(()).and(Err(error)),
        Err(panic) => {
            guard::panicked(py, place, &*panic);
            native.finish(closed())
        }
    }
}

/// Keeps what is no `Exception` for the host. Gives back what is one.
pub fn keep(py: Python<'_>, error: PyErr) -> Option<PyErr> {
    if error.is_instance_of::<PyException>(py) || error.is_instance_of::<PanicException>(py) {
        return Some(error);
    }
    let older = STATE.with_borrow_mut(|state| state.interrupt.replace(error));
    if let Some(older) = older {
        // Two at once: the host hears of one, and Python prints the other.
        older.write_unraisable(py, None);
    }
    None
}

/// What Python gave, if it did. An `Exception` gives none; what is no `Exception` is kept for the host.
pub trait OrNone<T> {
    /// The value, if there is one.
    fn or_none(self) -> Option<T>;
}

impl<T> OrNone<T> for PyResult<T> {
    fn or_none(self) -> Option<T> {
        self.map_err(|error| Python::try_attach(|py| keep(py, error))).ok()
    }
}

/// Leaves a call to the text.
pub fn leave(function: &Bound<'_, PyAny>, arguments: Bound<'_, PyTuple>) {
    let left = (function.clone().unbind(), arguments.unbind());
    STATE.with_borrow_mut(|state| state.leaving.push(left));
}

/// Leaves a call of a function of `boundary.py`.
pub fn leave_text(py: Python<'_>, function: &str, arguments: PyResult<Bound<'_, PyTuple>>) {
    // Not the guard, which would come here again.
    if let (Ok(function), Ok(arguments)) = (TEXT.get(py, function), arguments) {
        leave(&function, arguments);
    }
}

/// Leaves a wait, which lets go of the interpreter.
pub fn leave_wait(py: Python<'_>, wait: impl FnOnce() + Send + 'static) {
    let wait = Wait { wait: Mutex::new(Some(Box::new(wait))) };
    if let Ok(wait) = Bound::new(py, wait) {
        leave(wait.as_any(), PyTuple::empty(py));
    }
}

/// Something to wait for.
#[pyclass(frozen, module = "jitspan")]
pub struct Wait {
    wait: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

#[pymethods]
impl Wait {
    fn __call__(&self, py: Python<'_>) {
        let wait = self.wait.lock().take();
        if let Some(wait) = wait {
            gate::outside(py, wait);
        }
    }
}

/// For the text: what has been left, in order. None: nothing.
#[pyfunction]
fn take(py: Python<'_>) -> PyResult<Option<Bound<'_, PyList>>> {
    let left = STATE.with_borrow_mut(|state| match state.left.is_empty() {
        true => Vec::new(),
        false => std::mem::take(&mut state.left),
    });
    if left.is_empty() {
        return Ok(None);
    }
    let Some(_inside) = gate::enter(py) else { return Ok(None) };
    PyList::new(py, left).map(Some)
}

/// For the text: a call that was left has failed.
#[pyfunction]
fn fault(py: Python<'_>, place: &str, message: &str) -> PyResult<()> {
    native(
        py,
        place,
        || (),
        || {
            guard::fault(py, place, message);
            Ok(())
        },
    )
}

/// Compiles the text. Called when the module is imported.
pub fn prepare(py: Python<'_>) -> PyResult<()> {
    text::natives(py, [wrap_pyfunction!(take, py)?, wrap_pyfunction!(fault, py)?, wrap_pyfunction!(gate::line, py)?])
        .and_then(|natives| TEXT.compile(py, &natives))
}
