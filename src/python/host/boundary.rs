//! The way into a native of ours, and out of it: what came up meanwhile is raised, and what was left behind is handed to
//! the text.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::python::host::gate::{self, Inside};
use crate::python::host::guard;
use crate::python::host::leaving::{Left, STATE};
use crate::python::host::text;

pub use crate::python::host::leaving::{OrNone, TEXT, keep, leave, leave_text, leave_wait};

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
