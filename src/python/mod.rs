//! The Python module: a list of exports. This folder alone knows PyO3; it converts and calls.

mod arming;
mod engines;
#[expect(unsafe_code, reason = "a function that CPython calls, and that edits a structure of CPython's")]
mod entry;
mod environment;
pub mod hooks;
mod host;
mod lifetime;
mod live;
mod patch;
mod ranks;
mod replay;
mod scope;
mod stall;
mod step;
mod surface;
mod unexpected;

use pyo3::prelude::*;

/// Shows which request paid for a kernel compile.
///
/// After warm-up, call `activate()`. Put each request into `with request(headers): ...`. From then on a kernel that
/// compiles while the request is served becomes a span event on the request's trace, exported over OTLP.
/// Importing this module changes nothing.
// `submodule`: no `PyInit_jitspan` of PyO3's, but the one of `entry`. `gil_used`: a free-threaded Python, for which no
// wheel of ours is made, takes its lock into use when it imports what it has built from source.
#[pymodule(submodule, gil_used = true)]
pub mod jitspan {
    #[pymodule_export]
    use super::engines::vllm::_vllm_kept;
    #[pymodule_export]
    use super::engines::{_engine_points, _sglang_plugin, _vllm_plugin};
    #[pymodule_export]
    use super::replay::preload;
    #[pymodule_export]
    use super::scope::{BoundFunction, Scope, batch, bind, request};
    #[pymodule_export]
    use super::surface::api::{activate, deactivate, flush, is_active, main, stats};
    #[pymodule_export]
    use super::surface::instrumentor::{_start, Instrumentor};
    #[pymodule_export]
    use super::surface::middleware::Middleware;
    #[pymodule_export]
    use super::surface::status::{RuntimeStatus, status};
    #[pymodule_export]
    use super::unexpected::UnexpectedCompileError;

    /// Under the name that `pyo3::append_to_inittab!` looks for, so that a Rust program can embed us.
    #[doc(hidden)]
    pub use super::entry::initialize as __pyo3_init;

    #[expect(non_upper_case_globals, reason = "Python's name for it")]
    #[pymodule_export]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_init]
    fn initialize(module: &super::Bound<'_, super::PyModule>) -> super::PyResult<()> {
        super::host::prepare(module.py())?;
        super::patch::prepare(module.py())?;
        super::replay::prepare(module.py(), module)?;
        super::surface::prepare(module.py(), module)
    }
}
