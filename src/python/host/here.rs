//! Who runs this: the thread and the stack of the calling Python.

use pyo3::intern;
use pyo3::prelude::*;

use crate::python::host::convert::get_text;
use crate::python::host::imports;

/// The thread: id of the operating system, and name.
pub fn thread(py: Python<'_>) -> Option<(i64, String)> {
    let threading = imports::loaded(py, "threading")?;
    let id = threading.call_method0(intern!(py, "get_native_id")).ok()?.extract().ok()?;
    Some((id, get_text(&threading.call_method0(intern!(py, "current_thread")).ok()?, "name")?))
}

/// The Python stack, innermost last.
pub fn stack(py: Python<'_>) -> Option<String> {
    let frames = imports::loaded(py, "traceback")?.call_method0("format_stack").ok()?;
    let frames: Vec<String> = frames.extract().ok()?;
    Some(frames.concat())
}
