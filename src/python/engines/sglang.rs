//! SGLang.

use std::sync::atomic::AtomicBool;

use pyo3::prelude::*;

use super::Engine;

/// SGLang's points.
pub static ENGINE: Engine = Engine::new("sglang", &[]);

/// Called in every process of SGLang.
pub fn register(py: Python<'_>) {
    static ONCE: AtomicBool = AtomicBool::new(false);
    super::register(py, &ENGINE, &ONCE);
}
