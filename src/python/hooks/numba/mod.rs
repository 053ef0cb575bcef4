//! numba, on the CPU. Its event API (`numba.core.event`) does not tell of `@vectorize`, nor of loads, and is told of every
//! pass. These are called only where a signature is not in memory, in all versions:
//!
//! | place | when |
//! |---|---|
//! | `Dispatcher.compile`, `CFunc.compile`, `DUFunc._compile_for_argtys` | a signature is asked for; error mode raises at its end |
//! | `_FunctionCompiler._compile_core` | it is compiled; a signature that has failed before does not come here |
//! | `UFuncDispatcher._compile_core` | one of a ufunc is loaded or compiled |
//! | `FunctionCache.load_overload`, `NullCache.load_overload` | what the cache on disk had, if this gives something |
//!
//! A function that another one calls is compiled inside that one, and nests in it. CUDA kernels of `numba-cuda` come
//! through another dispatcher and are not watched.

use std::cell::Cell;

use pyo3::prelude::*;

use super::build::{self, Asked, Did};
use crate::model::event::Kernel;
use crate::process::lock::Mutex;
use crate::python::hooks::{Runtime, State, known};
use crate::python::host::boundary::OrNone;
use crate::python::host::bounded::each;
use crate::python::host::convert::{get, get_text, text};
use crate::python::host::imports;
use crate::python::patch::{After, Call, Patches};

/// The row of the table.
pub static RUNTIME: Runtime = Runtime {
    name: "numba",
    title: "numba",
    package: "numba",
    distributions: &["numba"],
    tested: ("0.59.1", "0.68.1"),
    module: "numba",
    parts: &[],
    install,
    armed: |_, _| Ok(()),
    forget: |_| known::forget(),
    patches: Patches::new(),
    state: Mutex::new(State::Waiting),
};

thread_local! {
    /// Ufuncs that this thread loads or compiles: there nothing else says that it is a compile.
    static UFUNCS: Cell<usize> = const { Cell::new(0) };
}

/// Arguments that are described.
const ARGUMENTS: usize = 64;

fn install(module: &Bound<'_, PyModule>, patches: &'static Patches) -> PyResult<()> {
    let class = |module_name: &str, name: &str| get(&imports::loaded(module.py(), module_name)?, name);
    if let Some(class) = class("numba.core.dispatcher", "Dispatcher") {
        patches.wrap(&class, "compile", "numba.Dispatcher.compile", asks)?;
    }
    if let Some(class) = class("numba.core.ccallback", "CFunc") {
        patches.wrap(&class, "compile", "numba.CFunc.compile", asks_for_callback)?;
    }
    if let Some(class) = class("numba.np.ufunc.dufunc", "DUFunc") {
        patches.wrap(&class, "_compile_for_argtys", "numba.DUFunc", asks_for_ufunc)?;
    }
    if let Some(class) = class("numba.core.dispatcher", "_FunctionCompiler") {
        patches.wrap(&class, "_compile_core", "numba.compile_core", compiles)?;
    }
    if let Some(class) = class("numba.np.ufunc.ufuncbuilder", "UFuncDispatcher") {
        patches.wrap(&class, "_compile_core", "numba.ufunc.compile_core", compiles_ufunc)?;
    }
    for name in ["FunctionCache", "NullCache"] {
        if let Some(class) = class("numba.core.caching", name) {
            patches.wrap(&class, "load_overload", "numba.load_overload", loads)?;
        }
    }
    Ok(())
}

/// `compile(self, sig)`: a tuple of types, or a signature.
fn asks(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let signature = call.arg(1).or_else(|| call.keyword("sig"));
    Ok(build::follow(py, asked(call.arg(0), "py_func", types(signature)), Did::Nothing))
}

/// `compile(self)`.
fn asks_for_callback(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let signature = call.arg(0).and_then(|callback| get(&callback, "_sig"));
    Ok(build::follow(py, asked(call.arg(0), "_pyfunc", types(signature)), Did::Nothing))
}

/// `_compile_for_argtys(self, argtys, return_type=None)`.
fn asks_for_ufunc(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let dispatcher = call.arg(0).and_then(|ufunc| get(&ufunc, "_dispatcher"));
    Ok(build::follow(py, asked(dispatcher, "py_func", types(call.arg(1))), Did::Nothing))
}

/// `_compile_core(self, args, return_type)`.
fn compiles(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    if build::note(&RUNTIME, Did::Built) {
        return Ok(None);
    }
    Ok(build::follow(py, asked(call.arg(0), "py_func", types(call.arg(1))), Did::Built))
}

/// `_compile_core(self, sig, ...)`.
fn compiles_ufunc(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let follow = match build::is_asked(&RUNTIME) {
        true => None,
        // `@vectorize` with its signatures: they are compiled where it stands.
        false => build::follow(py, asked(call.arg(0), "py_func", types(call.arg(1))), Did::Nothing),
    };
    UFUNCS.set(UFUNCS.get() + 1);
    Ok(Some(Box::new(move |py, outcome| {
        UFUNCS.set(UFUNCS.get().saturating_sub(1));
        follow.map_or(Ok(None), |follow| follow(py, outcome))
    })))
}

/// `load_overload(self, sig, target_context)`: None if it is not there.
fn loads(_py: Python<'_>, _call: &Call<'_, '_>) -> PyResult<Option<After>> {
    Ok(Some(Box::new(|_py, outcome| {
        match outcome {
            Ok(overload) if !overload.is_none() => build::note(&RUNTIME, Did::Loaded),
            Ok(_) => UFUNCS.get() > 0 && build::note(&RUNTIME, Did::Built),
            Err(_) => false,
        };
        Ok(None)
    })))
}

fn asked(of: Option<Bound<'_, PyAny>>, function: &str, types: Vec<String>) -> Asked {
    let function = of.and_then(|of| get(&of, function));
    let of_function = |name: &str| function.as_ref().and_then(|function| get_text(function, name));
    let code = function.as_ref().and_then(|function| get(function, "__code__"));
    let names = code.as_ref().and_then(|code| get(code, "co_varnames"));
    let names: Vec<String> = names.iter().flat_map(|names| each(names, ARGUMENTS)).map(|name| text(&name)).collect();
    let name = |at: usize| names.get(at).cloned().unwrap_or_else(|| format!("argument {}", at + 1));
    Asked {
        runtime: &RUNTIME,
        kernel: Kernel {
            name: of_function("__name__").unwrap_or_else(|| Kernel::UNKNOWN.to_owned()),
            module: of_function("__module__"),
            file: code.as_ref().and_then(|code| get_text(code, "co_filename")),
            line: code.as_ref().and_then(|code| get(code, "co_firstlineno")?.extract().or_none()),
        },
        specialization: types.into_iter().enumerate().map(|(at, of)| (name(at), of)).collect(),
    }
}

/// The arguments' types, by their names.
fn types(signature: Option<Bound<'_, PyAny>>) -> Vec<String> {
    let Some(signature) = signature else { return Vec::new() };
    let arguments = get(&signature, "args").unwrap_or(signature);
    each(&arguments, ARGUMENTS)
        .map(|of| get_text(&of, "name").or_else(|| of.str().or_none().map(|of| text(of.as_any()))).unwrap_or_default())
        .collect()
}
