//! The runtimes that are watched, in one table. Adding one is its file, which says everything about it, and its name
//! here.

mod build;
mod cutedsl;
mod deep_gemm;
mod flashinfer;
mod jax;
mod known;
mod numba;
mod process;
mod runtime;
mod sglang_jit;
mod tilelang;
mod torch_compile;
pub mod triton;
mod warp;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;

use crate::python::host::guard;
use crate::python::host::report;
use crate::python::patch::late;

pub use runtime::{Runtime, State};

/// All of them. A runtime's own file says everything about it: see [`Runtime`].
pub static RUNTIMES: [&Runtime; 13] = [
    &triton::RUNTIME,
    &triton::TOKENSPEED,
    &cutedsl::RUNTIME,
    &torch_compile::RUNTIME,
    &deep_gemm::RUNTIME,
    &deep_gemm::OF_VLLM,
    &flashinfer::RUNTIME,
    &sglang_jit::RUNTIME,
    &tilelang::RUNTIME,
    &jax::RUNTIME,
    &numba::RUNTIME,
    &warp::RUNTIME,
    // Below all of them.
    &process::RUNTIME,
];

static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Whether the hooks are in place. Whether a compile is unexpected is another question: `arming::is_armed`.
pub fn are_installed() -> bool {
    INSTALLED.load(Ordering::Relaxed)
}

/// Stands in the places of every runtime that is there, and of each other when it is imported.
pub fn install(py: Python<'_>) {
    INSTALLED.store(true, Ordering::Relaxed);
    for runtime in RUNTIMES {
        // The parts first: what is there already is patched once, with the rest.
        for part in runtime.parts {
            late::when_imported(py, part.0, Arc::new(|module| runtime.stand_in(part, module)));
        }
        late::when_imported(py, runtime.module, Arc::new(|module| runtime.stand(module)));
        if runtime.state() == State::Waiting {
            report::log(py, "debug", &format!("{} is not imported; it is watched once it is", runtime.title));
        }
    }
}

/// Stands where it should and does not: the import was under way when we came, or a finder before ours gave the
/// module, which ours then never saw.
pub fn catch_up(py: Python<'_>) {
    if !are_installed() {
        return;
    }
    late::catch_up(py);
    for runtime in RUNTIMES.iter().filter(|runtime| runtime.state() == State::Waiting) {
        if let Some(module) = late::imported(py, runtime.module) {
            guard::guard(py, runtime.name, || runtime.stand(&module));
        }
    }
}

/// Warm-up is over: what is not wanted before is done now.
pub fn armed(py: Python<'_>) {
    RUNTIMES.iter().for_each(|runtime| runtime.armed(py));
}

/// Leaves all of them.
pub fn remove(py: Python<'_>) {
    INSTALLED.store(false, Ordering::Relaxed);
    for runtime in RUNTIMES.iter().rev() {
        late::forget(py, runtime.module);
        runtime.parts.iter().for_each(|part| late::forget(py, part.0));
        runtime.patches.restore(py);
        (runtime.forget)(py);
        runtime.set(State::Waiting);
    }
}

/// The names of all, as on the wire.
pub fn names() -> Vec<&'static str> {
    RUNTIMES.iter().map(|runtime| runtime.name).collect()
}

/// What is watched and what is not, on one line.
pub fn in_short(py: Python<'_>) -> String {
    let mut all: Vec<_> = RUNTIMES.iter().map(|runtime| runtime.in_short(py)).collect();
    // DeepGEMM comes as a package of its own and inside vLLM: two rows, and one sentence while neither is imported.
    all.dedup();
    all.join(", ")
}
