//! The Python module: a list of exports. This folder alone knows PyO3; it converts and calls.

mod api;
mod arming;
mod asgi;
mod convert;
mod datadog_span;
mod engines;
mod fork_gate;
mod guard;
mod here;
pub mod hooks;
mod imports;
mod instrumentor;
mod intercept;
mod interceptor;
mod late;
mod lifetime;
mod local_root;
mod operation;
mod otel_span;
mod provider_flush;
mod report;
mod resource;
mod run;
mod scope;
mod status;

use pyo3::prelude::*;

pyo3::create_exception!(
    jitspan,
    UnexpectedCompileError,
    pyo3::exceptions::PyRuntimeError,
    "A kernel was compiled or autotuned in error mode, after warm-up. The request's span has been marked as failed."
);

/// Shows which request paid for a kernel compile.
///
/// After warm-up, call `activate()`. Put each request into `with request(headers): ...`. From then on a kernel that
/// compiles while the request is served becomes a span event on the request's trace, exported over OTLP.
/// Importing this module changes nothing.
#[pymodule]
pub mod jitspan {
    #[pymodule_export]
    use super::UnexpectedCompileError;
    #[pymodule_export]
    use super::api::{activate, deactivate, flush, is_active, main, stats};
    #[pymodule_export]
    use super::asgi::Middleware;
    #[pymodule_export]
    use super::engines::vllm::_vllm_kept;
    #[pymodule_export]
    use super::engines::{_engine_points, _sglang_plugin, _vllm_plugin};
    #[pymodule_export]
    use super::instrumentor::{_start, Instrumentor};
    #[pymodule_export]
    use super::scope::{BoundFunction, Scope, batch, bind, request};
    #[pymodule_export]
    use super::status::{RuntimeStatus, status};

    #[expect(non_upper_case_globals, reason = "Python's name for it")]
    #[pymodule_export]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_init]
    fn initialize(module: &super::Bound<'_, super::PyModule>) -> super::PyResult<()> {
        super::scope::prepare(module.py())?;
        super::asgi::finish(module.py())
    }
}
