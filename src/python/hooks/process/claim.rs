//! Whether a process that is being started is accounted for by another hook.

use pyo3::prelude::*;

use crate::python::hooks::triton;
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::get_text;
use crate::python::host::imports;
use crate::python::host::prepared::names;
use crate::python::stall;

/// Frames of a thread that are looked at.
const FRAMES: usize = 64;

/// A hook's stall is going on in this thread; or Inductor works in a thread of its own for one in another thread.
pub fn is_claimed(py: Python<'_>) -> bool {
    stall::is_nested() || triton::is_compiling() || (stall::is_any_nested() && is_inductor(py).unwrap_or(false))
}

/// Inductor's pool of processes, which lives as long as this one: `torch_compile` tells of what it compiles.
pub fn is_pool(words: &[String]) -> bool {
    words.iter().any(|word| word.contains("_inductor/compile_worker"))
}

/// Whether this thread runs Inductor, which compiles C++ in threads that know nothing of who waits.
fn is_inductor(py: Python<'_>) -> Option<bool> {
    let names = names(py).ok()?;
    let mut frame = imports::loaded(py, "sys")?.call_method0(&names._getframe).or_none()?;
    for _ in 0..FRAMES {
        let code = frame.getattr(&names.f_code).or_none()?;
        if get_text(&code, "co_filename").is_some_and(|file| file.contains("torch/_inductor/")) {
            return Some(true);
        }
        frame = frame.getattr(&names.f_back).or_none().filter(|frame| !frame.is_none())?;
    }
    Some(false)
}
