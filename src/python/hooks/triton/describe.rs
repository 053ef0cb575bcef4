//! Triton's objects in words. Every attribute is optional: what is missing, or raises, is left out.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyString, PyTuple};

use super::package::{self, Package};
use crate::model::attribute::bounded;
use crate::model::event::{CompileEvent, Detail, Kernel};
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::{get, get_text, item, text};
use crate::python::host::here;

/// Keys of the hooks' `compile` that are no options.
const NOT_OPTIONS: &[&str] =
    &["key", "signature", "device", "constants", "extern_libs", "configs", "specialization_data", "is_warmup"];

/// Characters of one value. A constant may be a table.
const VALUE: usize = 200;

/// Members of all the tuples in one value.
const ITEMS: usize = 256;

/// The `JITFunction` inside tuners and heuristics.
pub fn innermost_function<'py>(outer: &Bound<'py, PyAny>) -> Bound<'py, PyAny> {
    let mut inner = outer.clone();
    for _ in 0..16 {
        // A Python function has none, so the last one that has is Triton's own.
        match get(&inner, "fn") {
            Some(next) if next.hasattr("fn").or_none().unwrap_or(false) => inner = next,
            _ => break,
        }
    }
    inner
}

/// A compile-time constant as text. Besides what is plain, Triton's own constants read well by attributes that are
/// known to be plain; anything else is named by its type, because its `repr` may do anything.
pub fn value(constant: &Bound<'_, PyAny>) -> String {
    let mut left = ITEMS;
    value_within(constant, 0, &mut left)
}

fn value_within(constant: &Bound<'_, PyAny>, depth: usize, left: &mut usize) -> String {
    let class = constant.get_type();
    let of_triton = package::has_class(&class);
    if of_triton && depth < 4 {
        let name = crate::python::host::convert::type_name(constant);
        let known = match name.as_str() {
            "constexpr" => constant.getattr("value").or_none().map(|inner| value_within(&inner, depth + 1, left)),
            "dtype" => get_text(constant, "name"),
            _ if constant.hasattr("arg_names").or_none().unwrap_or(false) => get_text(constant, "__name__"),
            _ => None,
        };
        if let Some(known) = known {
            return bounded(&known, VALUE).into_owned();
        }
    }
    match constant.cast_exact::<PyTuple>() {
        Ok(tuple) if depth < 4 => {
            let mut members = Vec::new();
            for member in tuple.iter().take(32) {
                let Some(less) = left.checked_sub(1) else { break };
                *left = less;
                members.push(value_within(&member, depth + 1, left));
            }
            if members.len() < tuple.len() {
                members.push("...".to_owned());
            }
            bounded(&format!("({})", members.join(", ")), VALUE).into_owned()
        }
        _ => bounded(&text(constant), VALUE).into_owned(),
    }
}

/// A tensor's type as Triton calls it: `fp16`. torch's type is an object with a `repr` of its own that is
/// safe; another library's is named by its class, unless it is text.
pub fn dtype(dtype: &Bound<'_, PyAny>) -> String {
    let of_torch = get_text(dtype.get_type().as_any(), "__module__").is_some_and(|module| module == "torch");
    let said = if of_torch {
        dtype.str().or_none().map_or_else(|| text(dtype), |text| text.to_string_lossy().into_owned())
    } else {
        value(dtype)
    };
    let name = said.trim_start_matches("torch.");
    let spelt = [("bfloat", "bf"), ("float", "fp"), ("uint", "u"), ("int", "i")];
    let short = spelt.iter().find_map(|(long, short)| Some((short, name.strip_prefix(long)?)));
    match short {
        Some((short, bits)) if bits.bytes().all(|byte| byte.is_ascii_digit()) => format!("{short}{bits}"),
        _ => name.to_owned(),
    }
}

/// The kernel: from the hooks' `fn`, else from the function itself.
pub fn kernel(function: &Bound<'_, PyAny>, call: Option<&Bound<'_, PyDict>>) -> Kernel {
    let info = call.and_then(|call| item(call, "fn"));
    let of_info = |name: &str| info.as_ref().and_then(|info| get_text(info, name));
    let python = get(function, "fn").unwrap_or_else(|| function.clone());
    let code = get(&python, "__code__");
    let own = get_text(&python, "__name__");
    // A generated kernel (`triton_kernels`) has been given a name, and its qualified one is still its template's:
    // `define_kernel.<locals>._empty_fn`.
    let is_own = |name: &String| own.as_ref().is_none_or(|own| name.rsplit('.').next().is_some_and(|last| last == own));
    Kernel {
        name: of_info("name")
            .filter(is_own)
            .or_else(|| {
                get_text(&python, if package::of(function).is_qualified() { "__qualname__" } else { "__name__" })
                    .filter(is_own)
            })
            .or_else(|| own.clone())
            .or_else(|| get_text(function, "__name__"))
            .or_else(|| get_text(function, "name"))
            .unwrap_or_else(|| Kernel::UNKNOWN.to_owned()),
        module: of_info("module").or_else(|| get_text(&python, "__module__")),
        file: code.as_ref().and_then(|code| get_text(code, "co_filename")),
        line: code.as_ref().and_then(|code| get(code, "co_firstlineno")?.extract().or_none()),
    }
}

/// What tells one specialization of a kernel from another: its key.
pub fn specialization(call: &Bound<'_, PyDict>) -> String {
    item(call, "key").map(|key| text(&key)).unwrap_or_default()
}

/// Adds version and thread.
pub fn add_process(py: Python<'_>, event: &mut CompileEvent, package: &Package) {
    event.runtime_version = package.whole_version();
    event.thread = here::thread(py);
}

/// Adds version, options, thread and, in verbose mode, everything else known.
pub fn add(py: Python<'_>, event: &mut CompileEvent, call: Option<&Bound<'_, PyDict>>, source: &Bound<'_, PyAny>) {
    add_process(py, event, package::of(source));
    let payload = call.and_then(|call| item(call, "compile"));
    if let Some(payload) = payload.as_ref().and_then(|payload| payload.cast::<PyDict>().ok()) {
        event.options = options(payload);
    }
    if crate::monitor().is_some_and(|monitor| monitor.config().verbose) {
        event.detail = Some(Box::new(detail(py, call, payload.as_ref(), source)));
    }
}

fn options(payload: &Bound<'_, PyDict>) -> Vec<(String, String)> {
    let mut options = Vec::new();
    for (name, value) in payload.iter() {
        let name = text(&name);
        let plain = value.is_instance_of::<PyInt>()
            || value.is_instance_of::<PyBool>()
            || value.is_instance_of::<PyFloat>()
            || value.is_instance_of::<PyString>();
        if plain && !NOT_OPTIONS.contains(&name.as_str()) {
            options.push((name, bounded(&text(&value), 100).into_owned()));
        }
    }
    options
}

fn detail(
    py: Python<'_>,
    call: Option<&Bound<'_, PyDict>>,
    payload: Option<&Bound<'_, PyAny>>,
    source: &Bound<'_, PyAny>,
) -> Detail {
    let signature = payload.and_then(|payload| item(payload, "signature")).or_else(|| get(source, "signature"));
    let constants = payload.and_then(|payload| item(payload, "constants")).or_else(|| get(source, "constants"));
    let names = get(source, "fn").and_then(|function| get(&function, "arg_names"));
    let names: Vec<String> = names.and_then(|names| names.extract().or_none()).unwrap_or_default();
    Detail {
        signature: signature.map(|signature| pairs(&signature, &names)),
        constexprs: constants.map(|constants| pairs(&constants, &names)),
        key: call.and_then(|call| item(call, "key")).map(|key| text(&key)),
        stack: here::stack(py),
    }
}

/// A mapping as `name=value, ...`. From 3.3 on constants are named by their path, `(4,)`, in the parameters.
fn pairs(mapping: &Bound<'_, PyAny>, names: &[String]) -> String {
    let Ok(mapping) = mapping.cast::<PyDict>() else { return text(mapping) };
    let pairs = mapping.iter().map(|(key, constant)| format!("{}={}", parameter(&key, names), value(&constant)));
    pairs.collect::<Vec<_>>().join(", ")
}

fn parameter(key: &Bound<'_, PyAny>, names: &[String]) -> String {
    let path: Vec<usize> =
        key.extract().or_none().or_else(|| Some(vec![key.extract::<usize>().or_none()?])).unwrap_or_default();
    match path.split_first().and_then(|(first, rest)| Some((names.get(*first)?, rest))) {
        Some((name, rest)) => rest.iter().fold(name.clone(), |name, index| format!("{name}[{index}]")),
        None => text(key),
    }
}
