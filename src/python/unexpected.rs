//! What error mode raises.

pyo3::create_exception!(
    jitspan,
    UnexpectedCompileError,
    pyo3::exceptions::PyRuntimeError,
    "A kernel was compiled or autotuned in error mode, after warm-up. The request's span has been marked as failed."
);
