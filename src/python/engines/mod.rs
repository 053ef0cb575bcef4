//! The inference servers that we plug into. Each is a table of points: where we stand, and what is lost when a release
//! has no such place. Nothing here asks for a version.

mod point;
pub mod sglang;
pub mod vllm;

use pyo3::prelude::*;

use crate::python::arming;
use crate::python::environment;
use crate::python::host::boundary;
use crate::python::host::guard;
use crate::python::host::report;

pub use point::{Engine, Point, Reached, State, Watched};

/// All of them.
pub static ENGINES: [&Engine; 2] = [&vllm::ENGINE, &sglang::ENGINE];

/// Prepares for an engine. False: we are switched off, or set up wrongly, which is said once and never stops a server.
fn switched_on(py: Python<'_>, engine: &'static str) -> bool {
    report::speak_through(py, engine);
    environment::is_of(engine);
    let prepared = guard::guard(py, engine, || {
        Ok(arming::prepare(py).unwrap_or_else(|error| {
            report::log(py, "error", &format!("jitspan stays switched off: {error}"));
            false
        }))
    });
    prepared.unwrap_or(false)
}

/// Entry point of the group `vllm.general_plugins`.
#[pyfunction]
pub fn _vllm_plugin(py: Python<'_>) -> PyResult<()> {
    boundary::native(
        py,
        "vllm",
        || (),
        || {
            vllm::register(py);
            Ok(())
        },
    )
}

/// Entry point of the group `sglang.srt.plugins`.
#[pyfunction]
pub fn _sglang_plugin(py: Python<'_>) -> PyResult<()> {
    boundary::native(
        py,
        "sglang",
        || (),
        || {
            sglang::register(py);
            Ok(())
        },
    )
}

/// For the contract test, and for `status()`: engine, point, how it is reached, its places, what became of it, where
/// or why, and what is lost without it.
#[pyfunction]
pub fn _engine_points(py: Python<'_>) -> PyResult<Bound<'_, pyo3::types::PyList>> {
    let rows = pyo3::types::PyList::empty(py);
    for engine in ENGINES {
        for point in engine.points {
            let row = pyo3::types::PyDict::new(py);
            row.set_item("engine", engine.name)?;
            row.set_item("point", point.name)?;
            row.set_item("reached", if point.reached == Reached::Import { "import" } else { "object" })?;
            let variables = if let Watched::Frame(variables) = point.watched { variables } else { &[] };
            row.set_item("variables", variables)?;
            row.set_item("places", point.places.to_vec())?;
            row.set_item("without", point.without)?;
            let (state, place) = match point.state() {
                State::Waiting => ("waiting", None),
                State::Stands(place) => ("stands", Some(place)),
                State::Missing(place) => ("missing", Some(place)),
            };
            row.set_item("state", state)?;
            row.set_item("place", place)?;
            rows.append(row)?;
        }
    }
    Ok(rows)
}
