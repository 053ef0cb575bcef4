//! JAX. Its monitoring events are public, but `clear_event_listeners` takes everybody's listeners out, and up to 0.4 they
//! do not say which function it was. These are called only where an executable is not in memory:
//!
//! | place in `jax._src.compiler` | when |
//! |---|---|
//! | `compile_or_get_cached` | a module is asked for, traced and lowered already |
//! | `_cache_read` | the persistent cache had it, if this gives an executable |
//! | `backend_compile` (to 0.6), `backend_compile_and_load` | XLA compiles it |
//!
//! The time in which a function is traced and lowered comes before, and is not in the stall.

use pyo3::prelude::*;

use super::build::{self, Asked, Did};
use crate::model::event::Kernel;
use crate::process::lock::Mutex;
use crate::python::hooks::{Runtime, State, known};
use crate::python::host::boundary::OrNone;
use crate::python::host::bounded::each;
use crate::python::host::convert::{get, item, text};
use crate::python::patch::{After, Call, Patches};

/// The row of the table.
pub static RUNTIME: Runtime = Runtime {
    name: "jax",
    title: "JAX",
    package: "jax",
    distributions: &["jax"],
    tested: ("0.4.38", "0.10.2"),
    module: "jax._src.compiler",
    parts: &[],
    install,
    armed: |_, _| Ok(()),
    forget: |_| known::forget(),
    patches: Patches::new(),
    state: Mutex::new(State::Waiting),
};

/// Functions of a module among which `main` is looked for; it is the first.
const FUNCTIONS: usize = 16;

fn install(module: &Bound<'_, PyModule>, patches: &'static Patches) -> PyResult<()> {
    patches.wrap(module, "compile_or_get_cached", "jax.compile_or_get_cached", asks)?;
    patches.wrap(module, "_cache_read", "jax.cache_read", reads)?;
    for name in ["backend_compile", "backend_compile_and_load"] {
        if get(module, name).is_some() {
            patches.wrap(module, name, "jax.backend_compile", compiles)?;
        }
    }
    Ok(())
}

/// `compile_or_get_cached(backend, computation, ...)`.
fn asks(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let computation = call.arg(1).or_else(|| call.keyword("computation"));
    let operation = computation.as_ref().and_then(|computation| get(computation, "operation"));
    let name = operation.and_then(|operation| attribute(&operation, "sym_name"));
    let asked = Asked {
        runtime: &RUNTIME,
        kernel: Kernel::named(name.unwrap_or_else(|| Kernel::UNKNOWN.to_owned())),
        specialization: computation
            .and_then(|of| shapes(&of))
            .map(|of| ("arguments".to_owned(), of))
            .into_iter()
            .collect(),
    };
    Ok(build::follow(py, asked, Did::Nothing))
}

/// `_cache_read(...)`: an executable, or None, and how long it once took to compile.
fn reads(_py: Python<'_>, _call: &Call<'_, '_>) -> PyResult<Option<After>> {
    Ok(Some(Box::new(|_py, outcome| {
        let executable = outcome.ok().and_then(|pair| pair.get_item(0).or_none());
        if executable.is_some_and(|executable| !executable.is_none()) {
            build::note(&RUNTIME, Did::Loaded);
        }
        Ok(None)
    })))
}

/// Also called by whoever compiles ahead of time, and then by nobody who asks.
fn compiles(_py: Python<'_>, _call: &Call<'_, '_>) -> PyResult<Option<After>> {
    build::note(&RUNTIME, Did::Built);
    Ok(None)
}

/// The types of the arguments of the module's main function: `(tensor<8xf32>)`.
fn shapes(computation: &Bound<'_, PyAny>) -> Option<String> {
    let operations = get(&get(computation, "body")?, "operations")?;
    let main = each(&operations, FUNCTIONS).find(|function| {
        let operation = get(function, "operation").unwrap_or_else(|| function.clone());
        attribute(&operation, "sym_name").as_deref() == Some("main")
    })?;
    let of = attribute(&get(&main, "operation").unwrap_or(main), "function_type")?;
    Some(of.split_once(") -> ").map_or(of.clone(), |(arguments, _)| format!("{arguments})")))
}

/// An attribute of MLIR's as text, without quotes.
fn attribute(operation: &Bound<'_, PyAny>, name: &str) -> Option<String> {
    let attribute = item(&get(operation, "attributes")?, name)?;
    let said = attribute.str().or_none().map(|said| text(said.as_any()))?;
    Some(said.trim_matches('"').to_owned())
}
