//! What a native leaves to be done when it has returned.
//!
//! What the host's code must not run above (a log handler, somebody else's flush, a wait) is left behind by a native, and
//! done by Python text of ours when it has returned: `boundary.py`. And what is no `Exception`, a signal handler's
//! KeyboardInterrupt or SystemExit that came up in Python that we happened to read, is kept here until then, and goes on
//! to the host: one place for all, so that who reads an attribute need not know.

use std::cell::RefCell;

use pyo3::exceptions::PyException;
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::process::lock::Mutex;
use crate::python::host::gate;
use crate::python::host::text::Text;

/// `boundary.py`.
pub static TEXT: Text = Text::new(include_str!("boundary.py"));

/// A call that is left to the text.
pub type Left = (Py<PyAny>, Py<PyTuple>);

thread_local! {
    /// This thread's.
    pub static STATE: RefCell<State> = const { RefCell::new(State { depth: 0, interrupt: None, leaving: Vec::new(), left: Vec::new() }) };
}

/// What a thread keeps until its natives have returned.
pub struct State {
    /// Natives that this thread is inside of.
    pub depth: usize,
    /// To be raised when the innermost returns.
    pub interrupt: Option<PyErr>,
    /// What the innermost leaves.
    pub leaving: Vec<Left>,
    /// What those that have returned have left, until the text takes it.
    pub left: Vec<Left>,
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
