//! What users call: the functions and classes of the module, and the commands.

pub mod api;
pub mod doctor;
mod doctor_report;
mod doctor_text;
pub mod instrumentor;
pub mod middleware;
pub mod private_folder;
pub mod run;
pub mod status;

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::python::host::boundary;
use crate::python::host::text::{self, Text};
use crate::python::scope;

static TEXT: Text = Text::new(include_str!("surface.py"));

/// Functions that leave something to be done when they have returned: lines of the log, a timer.
const PERFORMING: [&str; 7] = ["activate", "deactivate", "main", "status", "_start", "_vllm_plugin", "_sglang_plugin"];

/// What entry points and tests find by its name, and no user calls.
const PRIVATE: [&str; 5] = ["_engine_points", "_sglang_plugin", "_start", "_vllm_kept", "_vllm_plugin"];

/// Puts the text in its places. Called when the module is imported, when all else is in it.
pub fn prepare(py: Python<'_>, module: &Bound<'_, PyModule>) -> PyResult<()> {
    scope::prepare(py)?;
    let globals = text::natives(
        py,
        [
            wrap_pyfunction!(scope::enter_bound, py)?,
            wrap_pyfunction!(scope::leave_bound, py)?,
            wrap_pyfunction!(middleware::serve, py)?,
            wrap_pyfunction!(middleware::arm_when_ready, py)?,
        ],
    )?;
    globals.set_item("perform", boundary::TEXT.get(py, "perform")?)?;
    TEXT.compile(py, &globals)?;
    py.get_type::<scope::BoundFunction>().setattr("__call__", TEXT.get(py, "bound_call")?)?;
    py.get_type::<middleware::Middleware>().setattr("__call__", TEXT.get(py, "middleware_call")?)?;
    let performs = boundary::TEXT.get(py, "performs")?;
    for name in PERFORMING {
        module.setattr(name, performs.call1((module.getattr(name)?,))?)?;
    }
    let instrumentor = py.get_type::<instrumentor::Instrumentor>();
    for name in ["instrument", "uninstrument"] {
        instrumentor.setattr(name, performs.call1((instrumentor.getattr(name)?,))?)?;
    }
    hide(py, module)
}

/// Takes what is private out of `__all__`. maturin's package around us has only what `__all__` lists, so it is put there.
fn hide(py: Python<'_>, module: &Bound<'_, PyModule>) -> PyResult<()> {
    let all: Vec<String> = module.index()?.extract()?;
    let public: Vec<&String> = all.iter().filter(|name| !PRIVATE.contains(&name.as_str())).collect();
    module.setattr("__all__", PyList::new(py, public)?)?;
    let name = module.name()?.to_string();
    // A Rust program that embeds us has no package.
    if let Some((package, _)) = name.rsplit_once('.') {
        let package = py.import(package)?;
        for name in PRIVATE {
            package.setattr(name, module.getattr(name)?)?;
        }
    }
    Ok(())
}
