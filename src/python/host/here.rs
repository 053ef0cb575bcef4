//! Who runs this: the thread and the stack of the calling Python.

use pyo3::prelude::*;

use crate::python::host::boundary::OrNone;
use crate::python::host::convert::get_text;
use crate::python::host::imports;
use crate::python::host::prepared::names;
use crate::python::host::text;

/// The thread: id of the operating system, and name.
pub fn thread(py: Python<'_>) -> Option<(i64, String)> {
    let (threading, names) = (imports::loaded(py, "threading")?, names(py).ok()?);
    let id = threading.call_method0(&names.get_native_id).or_none()?.extract().or_none()?;
    Some((id, get_text(&threading.call_method0(&names.current_thread).or_none()?, "name")?))
}

/// The Python stack, innermost last, as it would be without us.
pub fn stack(py: Python<'_>) -> Option<String> {
    let frames = imports::loaded(py, "traceback")?.call_method0("format_stack").or_none()?;
    let frames: Vec<String> = frames.extract().or_none()?;
    let ours = format!("  File \"{}\"", text::FILE);
    Some(frames.into_iter().filter(|frame| !frame.starts_with(&ours)).collect())
}
