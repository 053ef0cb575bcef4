//! TileLang. `tilelang.instrumentation` would be its public way; it is not in old versions, begins anew for each tool that
//! registers, and does not tell of loads. These are called only where a kernel is not in memory, in all versions:
//!
//! | place | when |
//! |---|---|
//! | `KernelCache.cached` | a kernel is asked for; it ends with the writing of the cache, a quarter of a second with CUDA |
//! | `JITKernel._compile_and_create_adapter` | it is compiled, inside that or without a cache |
//! | `KernelCache._load_kernel_from_disk` | it was in the database, if this gives something |
//! | `par_compile` | several at once, in threads of its own, which work for the requests of the thread that asked |
//!
//! TileLang is never imported by us: that alone has broken servers without CUDA.

use std::collections::VecDeque;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyList;

use super::build::{self, Asked, Did};
use crate::model::event::Kernel;
use crate::monitor::Pending;
use crate::process::lock::Mutex;
use crate::python::hooks::{Runtime, State, known};
use crate::python::host::boundary::OrNone;
use crate::python::host::bounded::each;
use crate::python::host::convert::{get, get_text, item, text};
use crate::python::host::imports;
use crate::python::patch::{After, Call, Patches};
use crate::python::stall;

/// The row of the table.
pub static RUNTIME: Runtime = Runtime {
    name: "tilelang",
    title: "TileLang",
    package: "tilelang",
    distributions: &["tilelang"],
    tested: ("0.1.8", "0.1.15"),
    // `tilelang.jit` as an attribute is a function; the module is in `sys.modules` only, and is the last to come.
    module: "tilelang.jit",
    parts: &[("tilelang", |module, patches| {
        // Bound by name there. It is wrapped once in each place, and calls pass one of them.
        patches.wrap(module, "par_compile", "tilelang.par_compile", compiles_several).map(drop)
    })],
    install,
    armed: |_, _| Ok(()),
    forget: |_| {
        known::forget();
        PARALLEL.lock().clear();
    },
    patches: Patches::new(),
    state: Mutex::new(State::Waiting),
};

/// Kernels that `par_compile` has been given, by address, and who waits for them.
static PARALLEL: Mutex<VecDeque<(usize, Arc<Pending>)>> = Mutex::new(VecDeque::new());
const PARALLEL_KEPT: usize = 4096;

/// Parameters of a kernel that are described, and dimensions of one.
const PARAMETERS: usize = 64;
const DIMENSIONS: usize = 8;

fn install(module: &Bound<'_, PyModule>, patches: &'static Patches) -> PyResult<()> {
    let class = |module_name: &str, name: &str| get(&imports::loaded(module.py(), module_name)?, name);
    if let Some(class) = class("tilelang.cache.kernel_cache", "KernelCache") {
        patches.wrap(&class, "cached", "tilelang.cached", asks)?;
        patches.wrap(&class, "_load_kernel_from_disk", "tilelang.load_kernel_from_disk", loads)?;
    }
    if let Some(class) = class("tilelang.jit.kernel", "JITKernel") {
        patches.wrap(&class, "_compile_and_create_adapter", "tilelang.compile_and_create_adapter", compiles)?;
    }
    patches.wrap(module, "par_compile", "tilelang.jit.par_compile", compiles_several)?;
    Ok(())
}

/// `cached(self, func, ...)`.
fn asks(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    Ok(follow(py, function(call).as_ref(), Did::Nothing))
}

/// `_compile_and_create_adapter(self, tilelang_func, out_idx)`.
fn compiles(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    match build::note(&RUNTIME, Did::Built) {
        true => Ok(None),
        false => Ok(follow(py, function(call).as_ref(), Did::Built)),
    }
}

/// `_load_kernel_from_disk(self, key, ...)`: None if it is not there.
fn loads(_py: Python<'_>, _call: &Call<'_, '_>) -> PyResult<Option<After>> {
    Ok(Some(Box::new(|_py, outcome| {
        if outcome.is_ok_and(|kernel| !kernel.is_none()) {
            build::note(&RUNTIME, Did::Loaded);
        }
        Ok(None)
    })))
}

/// `par_compile(funcs, ...)`. An iterator is left alone: to look at it would be to use it up.
fn compiles_several(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let functions = call.arg(0).or_else(|| call.keyword("funcs"));
    let Some(functions) = functions.and_then(|functions| functions.cast_into::<PyList>().ok()) else { return Ok(None) };
    let Some(pending) = stall::begin(py) else { return Ok(None) };
    let mut parallel = PARALLEL.lock();
    for function in functions.iter().take(PARALLEL_KEPT) {
        if parallel.len() >= PARALLEL_KEPT {
            parallel.pop_front();
        }
        parallel.push_back((function.as_ptr() as usize, Arc::clone(&pending)));
    }
    drop(parallel);
    Ok(Some(Box::new(move |_py, _outcome| {
        PARALLEL.lock().retain(|(_, waiting)| !Arc::ptr_eq(waiting, &pending));
        Ok(None)
    })))
}

fn follow(py: Python<'_>, function: Option<&Bound<'_, PyAny>>, did: Did) -> Option<After> {
    let asked = Asked { runtime: &RUNTIME, kernel: kernel(function), specialization: specialization(function) };
    let waiting = function.filter(|_| !stall::is_nested()).and_then(|function| {
        let address = function.as_ptr() as usize;
        PARALLEL.lock().iter().find(|(known, _)| *known == address).map(|(_, pending)| Arc::clone(pending))
    });
    match waiting {
        Some(waiting) => build::follow_as(stall::begin_beside(&waiting)?, asked, did),
        None => build::follow(py, asked, did),
    }
}

/// The `PrimFunc`: where it stands among the arguments differs, and it alone has these attributes.
fn function<'py>(call: &Call<'_, 'py>) -> Option<Bound<'py, PyAny>> {
    let given = call.args.iter().skip(1).chain(call.kwargs.iter().flat_map(|kwargs| kwargs.iter().map(|pair| pair.1)));
    given.take(16).find(|any| get(any, "attrs").is_some() && get(any, "buffer_map").is_some())
}

fn kernel(function: Option<&Bound<'_, PyAny>>) -> Kernel {
    let name = function.and_then(|function| item(&get(function, "attrs")?, "global_symbol"));
    // Not `text`: it is a `str` of TVM's own.
    let name = name.and_then(|name| word(&name));
    Kernel::named(name.unwrap_or_else(|| Kernel::UNKNOWN.to_owned()))
}

/// Its parameters: of a tensor type and shape.
fn specialization(function: Option<&Bound<'_, PyAny>>) -> known::Specialization {
    let Some(function) = function else { return Vec::new() };
    let parameters = get(function, "params");
    let buffers = get(function, "buffer_map");
    let parameters = parameters.iter().flat_map(|parameters| each(parameters, PARAMETERS));
    let describe = |parameter: Bound<'_, PyAny>| {
        let buffer = buffers.as_ref().and_then(|buffers| buffers.get_item(&parameter).or_none());
        let of = buffer.as_ref().unwrap_or(&parameter);
        let name = word(&get(of, "name")?)?;
        let dtype = word(&get(of, "dtype")?)?;
        let shape = buffer.as_ref().and_then(|buffer| get(buffer, "shape"));
        let dimensions: Vec<String> = shape.iter().flat_map(|shape| each(shape, DIMENSIONS)).map(dimension).collect();
        Some((name, if buffer.is_some() { format!("{dtype}[{}]", dimensions.join(", ")) } else { dtype }))
    };
    parameters.filter_map(describe).collect()
}

/// A text of a type of its own.
fn word(any: &Bound<'_, PyAny>) -> Option<String> {
    any.str().or_none().map(|word| text(word.as_any()))
}

/// A number, or the name of a variable.
fn dimension(dimension: Bound<'_, PyAny>) -> String {
    let number = get(&dimension, "value").map(|value| text(&value));
    number.or_else(|| get_text(&dimension, "name")).unwrap_or_else(|| "?".to_owned())
}
