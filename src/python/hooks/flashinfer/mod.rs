//! FlashInfer: modules of CUDA sources, which ninja and nvcc build when they are first asked for.
//!
//! | place | when | versions |
//! |---|---|---|
//! | `JitSpec.build_and_load` | a module is asked for, and is in no `functools.cache` | all |
//! | `jit.core.run_ninja` | ninja runs, also with nothing to do: see `ninja.rs` | all |
//! | `JitSpecCuteDsl.build`, `.compile_and_persist` | a CuTeDSL kernel is compiled | from 0.6 on |
//! | the tuner's `logger` | a shape that no tuning covers: see `tuner.rs` | all |

mod ninja;
mod tuner;

use pyo3::prelude::*;

use super::build::{self, Asked, Did};
use crate::model::event::Kernel;
use crate::process::lock::Mutex;
use crate::python::hooks::{Runtime, State, known};
use crate::python::host::convert::{get, get_text};
use crate::python::patch::{After, Call, Patches};

/// The row of the table.
pub static RUNTIME: Runtime = Runtime {
    name: "flashinfer",
    title: "FlashInfer",
    package: "flashinfer",
    distributions: &["flashinfer-python"],
    tested: ("0.3.1", "0.7.2"),
    module: "flashinfer.jit.core",
    parts: &[
        ("flashinfer.jit.cute_dsl_core", install_cutedsl),
        // A package from 0.7 on, a module before.
        ("flashinfer.autotuner.autotuner", tuner::install),
        ("flashinfer.autotuner", tuner::install),
    ],
    install,
    armed: |_, _| Ok(()),
    forget: |_| {
        known::forget();
        tuner::forget();
    },
    patches: Patches::new(),
    state: Mutex::new(State::Waiting),
};

fn install(module: &Bound<'_, PyModule>, patches: &'static Patches) -> PyResult<()> {
    if let Some(class) = get(module, "JitSpec") {
        patches.wrap(&class, "build_and_load", "flashinfer.build_and_load", asks)?;
    }
    patches.wrap(module, "run_ninja", "flashinfer.run_ninja", ninja::runs)?;
    Ok(())
}

fn install_cutedsl(module: &Bound<'_, PyModule>, patches: &'static Patches) -> PyResult<()> {
    let Some(class) = get(module, "JitSpecCuteDsl") else { return Ok(()) };
    patches.wrap(&class, "build", "flashinfer.cutedsl.build", compiles)?;
    patches.wrap(&class, "compile_and_persist", "flashinfer.cutedsl.compile_and_persist", compiles)?;
    Ok(())
}

/// `build_and_load(self)`: it may wait for another process that builds the same, which is a load then.
fn asks(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    // Without a build it has loaded what was there.
    Ok(build::follow(py, asked(call.arg(0).as_ref()), Did::Loaded))
}

/// `build(self)` of a CuTeDSL kernel. CuTeDSL's own hook tells of the compile in it.
fn compiles(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    match build::note(&RUNTIME, Did::Built) {
        true => Ok(None),
        false => Ok(build::follow(py, asked(call.arg(0).as_ref()), Did::Built)),
    }
}

fn asked(spec: Option<&Bound<'_, PyAny>>) -> Asked {
    let name = spec.and_then(|spec| get_text(spec, "name")).unwrap_or_else(|| Kernel::UNKNOWN.to_owned());
    // A module's name says what it is built for.
    Asked { runtime: &RUNTIME, kernel: Kernel::named(name), specialization: Vec::new() }
}
