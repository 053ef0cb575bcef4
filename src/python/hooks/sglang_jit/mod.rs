//! SGLang's own JIT, `load_jit`: C++ and CUDA sources, which ninja builds inside the worker when a kernel is first used.
//! Each caller keeps what it was given, so these are called once for a kernel:
//!
//! | place | when |
//! |---|---|
//! | `loader.load_jit` | a module is asked for |
//! | `loader.ninja.build` | it is in no cache, and is compiled |
//! | `loader._load` | it is loaded, from the cache or after it was compiled |
//!
//! `load_jit` has been bound by name in many modules: what was bound before we came is told of by the other two.
//! With `SGLANG_CRASH_ON_JIT_COMPILE` SGLang raises in the place of a compile. That is told as a compile that failed, and
//! leaves at once: the server is about to end.

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::build::{self, Asked, Did};
use crate::config::environment::SGLANG_CRASH_ON_JIT;
use crate::model::event::Kernel;
use crate::process::lock::Mutex;
use crate::python::hooks::{Runtime, State, known};
use crate::python::host::boundary::{self, OrNone};
use crate::python::host::convert::{get, get_text, text};
use crate::python::patch::{After, Call, Patches};

/// The row of the table.
pub static RUNTIME: Runtime = Runtime {
    name: "sglang_jit",
    title: "SGLang load_jit",
    package: "sglang",
    distributions: &["sglang"],
    tested: ("0.5.23", "0.5.23"),
    module: "sglang.kernels.jit.utils.compile.loader",
    parts: &[],
    install,
    armed: |_, _| Ok(()),
    forget: |_| known::forget(),
    patches: Patches::new(),
    state: Mutex::new(State::Waiting),
};

fn install(module: &Bound<'_, PyModule>, patches: &'static Patches) -> PyResult<()> {
    patches.wrap(module, "load_jit", "sglang_jit.load_jit", asks)?;
    patches.wrap(module, "_load", "sglang_jit.load", loads)?;
    if let Some(ninja) = get(module, "ninja") {
        patches.wrap(&ninja, "build", "sglang_jit.build", builds)?;
    }
    Ok(())
}

/// `load_jit(*args, ...)`: the texts that tell the module from others, its name first.
fn asks(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let Some(follow) = build::follow(py, asked(call.args), Did::Nothing) else { return Ok(None) };
    Ok(Some(Box::new(move |py, outcome| {
        let crashes = outcome.is_err_and(|error| is_crash(py, error));
        if crashes {
            build::note(&RUNTIME, Did::Built);
        }
        let raise = follow(py, outcome);
        if let Some(monitor) = crate::monitor().filter(|_| crashes) {
            boundary::leave_wait(py, move || {
                monitor.flush(monitor.config().flush_timeout);
            });
        }
        raise
    })))
}

/// `ninja.build(spec=..., build_dir=..., build_file=...)`.
fn builds(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    if build::note(&RUNTIME, Did::Built) {
        return Ok(None);
    }
    let arguments = call.keyword("spec").or_else(|| call.arg(0)).and_then(|spec| get(&spec, "module_args"));
    let arguments = arguments.and_then(|arguments| arguments.cast_into::<PyTuple>().ok());
    Ok(build::follow(py, asked(&arguments.unwrap_or_else(|| PyTuple::empty(py))), Did::Built))
}

/// `_load(library)`.
fn loads(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    if build::note(&RUNTIME, Did::Loaded) {
        return Ok(None);
    }
    let library = call.arg(0).or_else(|| call.keyword("library"));
    let name = library.and_then(|library| get_text(&library, "stem")).unwrap_or_else(|| Kernel::UNKNOWN.to_owned());
    let asked = Asked { runtime: &RUNTIME, kernel: Kernel::named(name), specialization: Vec::new() };
    Ok(build::follow(py, asked, Did::Loaded))
}

fn asked(arguments: &Bound<'_, PyTuple>) -> Asked {
    let mut texts = arguments.iter().take(64).map(|argument| text(&argument));
    let name = texts.next().unwrap_or_else(|| Kernel::UNKNOWN.to_owned());
    let specialization = texts.enumerate().map(|(at, value)| (format!("argument {}", at + 1), value)).collect();
    Asked { runtime: &RUNTIME, kernel: Kernel::named(name), specialization }
}

fn is_crash(py: Python<'_>, error: &PyErr) -> bool {
    error.value(py).str().or_none().is_some_and(|message| message.to_string_lossy().contains(SGLANG_CRASH_ON_JIT))
}
