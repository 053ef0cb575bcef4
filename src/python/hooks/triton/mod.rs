//! Triton. What is watched, and when each is called (a launch that compiles nothing calls none of them):
//!
//! | place | when | versions |
//! |---|---|---|
//! | `jit_cache_hook` / `JITFunction.cache_hook` | before a compile | all |
//! | `compile` of the one `JITFunction` | the compile itself, put there by the hook before | all |
//! | `serialize_specialization_data` | for the hooks, and may fail: see `serialize.rs` | all |
//! | `compilation.listener` | inside it: stage times, cache hit; also `triton.compile` called directly | 3.4 on |
//! | `jit_post_compile_hook` / `JITFunction.compiled_hook` | after a compile; error mode raises here | 3.2 on |
//! | `parse_options`, `make_ir`, `add_stages`, `CompiledKernel.__init__` | inside it, in this order: see `source.rs` | all |
//! | `warmup`, `preload` | around a manual warm-up: see `manual.rs` | all |
//! | `kernel_load_start_hook`, `kernel_load_end_hook` | a kernel is loaded onto the device: see `loads.rs` | 3.5 on |
//! | `CudaLauncher`, `HIPLauncher` | the C launcher is built: see `launcher.rs` | to 3.6 |
//! | `Autotuner`'s methods, `autotuning.listener` | a tuning: see `autotune.rs` | all, 3.8 on |

pub mod autotune;
mod compile;
pub mod describe;
pub mod encode;
mod frame;
mod inductor;
pub mod kernel_name;
mod key;
mod launcher;
mod listener;
mod loads;
pub mod manual;
pub mod package;
pub mod recipe;
mod serialize;
mod source;
mod specialization;

use std::sync::atomic::Ordering;

use pyo3::prelude::*;

pub use frame::is_compiling;
pub use inductor::{expect_from_pool, remember};

use crate::config::environment::TRITON_PRINT_AUTOTUNING;
use crate::config::variable;
use crate::model::event::CompileEvent;
use crate::process::lock::Mutex;
use crate::python::hooks::{Runtime, State};
use crate::python::host::convert::get;
use crate::python::host::guard::guard;
use crate::python::patch::{After, Call, Patches};

/// The row of the table.
pub static RUNTIME: Runtime =
    row("triton", "Triton", &["triton", "pytorch-triton", "pytorch-triton-rocm", "triton-windows"], ("3.0.0", "3.9.0"));

/// The fork that vLLM pins for some kernels of its own.
pub static TOKENSPEED: Runtime =
    row("tokenspeed_triton", "TokenSpeed Triton", &["tokenspeed-triton"], ("3.9.10", "3.9.10"));

const fn row(
    package: &'static str,
    title: &'static str,
    distributions: &'static [&'static str],
    tested: (&'static str, &'static str),
) -> Runtime {
    Runtime {
        name: package,
        title,
        package,
        distributions,
        tested,
        module: package,
        parts: &[],
        install,
        armed: print_autotuning,
        forget,
        patches: Patches::new(),
        state: Mutex::new(State::Waiting),
    }
}

/// Stands in all places of this version.
fn install(triton: &Bound<'_, PyModule>, patches: &'static Patches) -> PyResult<()> {
    let (py, package) = (triton.py(), package::named(triton));
    package.remember_version(triton);
    let knobs = knobs(triton);
    let knobs = knobs.as_ref();
    // Each by itself: a version that has lost one place keeps the others.
    let stands = |place: &str, install: &dyn Fn() -> PyResult<bool>| guard(py, place, install).unwrap_or(false);
    let launches =
        |new: &str, old: &str, place, watch: fn(Python<'_>, &Call<'_, '_>) -> PyResult<Option<After>>| match knobs {
            Some(knobs) => patches.chain(&knobs.getattr("runtime")?, new, place, watch),
            None => {
                let function = package.import(py, "runtime.jit")?.getattr("JITFunction")?;
                patches.chain(&function, old, place, watch)
            }
        };
    // First: from the moment that a hook is set, Triton calls it.
    stands("triton.serialize", &|| serialize::install(py, package, patches));
    stands(serialize::BEFORE, &|| launches("jit_cache_hook", "cache_hook", serialize::BEFORE, compile::before));
    let has_post_hook = stands(serialize::AFTER, &|| {
        launches("jit_post_compile_hook", "compiled_hook", serialize::AFTER, compile::after)
    });
    package.post_hook.store(has_post_hook, Ordering::Relaxed);
    let listener = stands("triton.listener", &|| match knobs {
        Some(knobs) => patches.chain(&knobs.getattr("compilation")?, "listener", "triton.listener", listener::heard),
        None => Ok(false),
    });
    guard(py, "triton.source", || source::install(py, package, patches, listener));
    guard(py, "triton.manual", || manual::install(py, package, patches));
    guard(py, "triton.launcher", || launcher::install(py, package, patches));
    guard(py, "triton.loads", || loads::install(py, package, knobs));
    guard(py, "triton.autotune", || autotune::install(py, package, patches, knobs));
    Ok(())
}

/// Adds what holds for all events of this process and thread.
pub fn add_process(py: Python<'_>, event: &mut CompileEvent) {
    describe::add_process(py, event, &package::TRITON);
}

/// Restores the kernels' own `compile` attributes.
fn forget(py: Python<'_>) {
    compile::FUNCTIONS.restore(py);
    source::CLASSES.restore(py);
    loads::forget(py);
}

/// `triton.knobs`, from 3.4 on.
fn knobs<'py>(triton: &Bound<'py, PyModule>) -> Option<Bound<'py, PyAny>> {
    let knobs = get(triton, "knobs")?;
    get(get(&knobs, "runtime")?.as_any(), "__class__").map(|_| knobs)
}

/// As vLLM's monitor does: Triton prints its tunings unless the user has said `TRITON_PRINT_AUTOTUNING=0`. Up to 3.3
/// the variable is all there is, and is read at each tuning. Not before arming: a warm-up's tunings are expected.
fn print_autotuning(triton: &Bound<'_, PyModule>, patches: &Patches) -> PyResult<()> {
    let (py, knobs) = (triton.py(), knobs(triton));
    let environment = py.import("os")?.getattr("environ")?;
    let said = variable(TRITON_PRINT_AUTOTUNING);
    if said.as_deref() == Some("0") {
        return Ok(());
    }
    // A knob that is set writes the variable, and does not take it back: we do.
    if said.as_deref() != Some("1") {
        patches.set_item(&environment, TRITON_PRINT_AUTOTUNING, "1".into_pyobject(py)?.into_any())?;
    }
    if let Some(knobs) = knobs {
        let on = true.into_pyobject(py)?.to_owned().into_any();
        patches.set(&knobs.getattr("autotuning")?, "print", on)?;
    }
    Ok(())
}
