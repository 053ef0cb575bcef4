//! Constants as JSON: what is plain as it is, anything else under one tag that says how to find it again. A constant
//! that is none of these cannot be replayed, and its type is said.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple, PyType};
use serde_json::{Map, Number, Value, json};

use super::package;
use crate::manifest::literal::{integer, tag};
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::{get, type_name};
use crate::python::host::imports;
use crate::python::host::unreadable::said;

/// How deep constants may nest, and how many members one has.
const DEPTH: usize = 16;
const MEMBERS: usize = 4096;

/// Why it cannot be replayed.
pub type Unsupported = String;

/// A constant.
///
/// # Errors
/// It is of a type that another process may not have, or not find.
pub fn encode(any: &Bound<'_, PyAny>) -> Result<Value, Unsupported> {
    within(any, 0)
}

fn within(any: &Bound<'_, PyAny>, depth: usize) -> Result<Value, Unsupported> {
    if depth > DEPTH {
        return Err("a constant that nests too deep".to_owned());
    }
    if any.is_none() {
        return Ok(Value::Null);
    }
    if let Ok(flag) = any.cast::<PyBool>() {
        return Ok(flag.is_true().into());
    }
    if any.is_exact_instance_of::<PyString>() {
        return Ok(string(any)?.into());
    }
    if any.is_exact_instance_of::<PyInt>() {
        return Ok(integer(&written(any.repr())?));
    }
    if any.is_exact_instance_of::<PyFloat>() {
        let number: f64 = any.extract().map_err(said)?;
        return Ok(match Number::from_f64(number) {
            Some(number) => Value::Number(number),
            None => tag("float", written(any.repr())?.into()),
        });
    }
    if let Ok(list) = any.cast_exact::<PyList>() {
        return Ok(Value::Array(members(list.iter(), depth)?));
    }
    if let Ok(tuple) = any.cast::<PyTuple>() {
        let items = Value::Array(members(tuple.iter(), depth)?);
        return match any.is_exact_instance_of::<PyTuple>() {
            true => Ok(tag("tuple", items)),
            false if get(any.get_type().as_any(), "_fields").is_some() => {
                Ok(json!({ "tuple": items, "class": path(&any.get_type())? }))
            }
            false => Err(of_type(any)),
        };
    }
    of_triton(any, depth).or_else(|| of_python(any)).unwrap_or_else(|| Err(of_type(any)))
}

fn members<'py>(items: impl Iterator<Item = Bound<'py, PyAny>>, depth: usize) -> Result<Vec<Value>, Unsupported> {
    let mut encoded = Vec::new();
    for item in items {
        if encoded.len() >= MEMBERS {
            return Err("a constant with too many members".to_owned());
        }
        encoded.push(within(&item, depth + 1)?);
    }
    Ok(encoded)
}

/// Triton's own: types, constants in a wrapping, kernels, layouts.
fn of_triton(any: &Bound<'_, PyAny>, depth: usize) -> Option<Result<Value, Unsupported>> {
    let class = any.get_type();
    if let Some(kernel) = kernel(any) {
        return Some(kernel);
    }
    if !package::has_class(&class) {
        return None;
    }
    match type_name(any).as_str() {
        "dtype" => Some(written(any.str()).map(|name| tag("dtype", name.into()))),
        "constexpr" => {
            let value = any.getattr("value").map_err(said);
            Some(value.and_then(|value| within(&value, depth + 1)).map(|value| tag("constexpr", value)))
        }
        _ => frozen(any, &class, depth),
    }
}

/// A `JITFunction`, or a class derived from it.
fn kernel(any: &Bound<'_, PyAny>) -> Option<Result<Value, Unsupported>> {
    let jit = package::of(any).loaded(any.py(), "runtime.jit").and_then(|module| get(&module, "JITFunction"))?;
    if !any.get_type().is_subclass(&jit).or_none().unwrap_or(false) {
        return None;
    }
    let kernel = super::kernel_name::kernel(any);
    Some(Ok(tag("kernel", json!([kernel.module, kernel.name, kernel.source]))))
}

/// A frozen data class: a layout. Its fields are all that it is.
fn frozen(any: &Bound<'_, PyAny>, class: &Bound<'_, PyType>, depth: usize) -> Option<Result<Value, Unsupported>> {
    let parameters = get(class.as_any(), "__dataclass_params__")?;
    if !get(&parameters, "frozen")?.is_truthy().or_none().unwrap_or(false) {
        return None;
    }
    Some(fields(any, class, depth))
}

fn fields(any: &Bound<'_, PyAny>, class: &Bound<'_, PyType>, depth: usize) -> Result<Value, Unsupported> {
    let mut encoded = Map::new();
    let fields = get(class.as_any(), "__dataclass_fields__").and_then(|fields| fields.cast_into::<PyDict>().ok());
    for (name, field) in fields.iter().flat_map(|fields| fields.items()).filter_map(|pair| pair.extract().or_none()) {
        let (name, field): (String, Bound<'_, PyAny>) = (name, field);
        if get(&field, "init").is_some_and(|init| init.is_truthy().or_none().unwrap_or(false)) {
            let value = any.getattr(&*name).map_err(said)?;
            encoded.insert(name, within(&value, depth + 1)?);
        }
    }
    Ok(json!({ "dataclass": path(class)?, "fields": encoded }))
}

/// Members of enumerations, and torch's types.
fn of_python(any: &Bound<'_, PyAny>) -> Option<Result<Value, Unsupported>> {
    let class = any.get_type();
    if class.module().or_none().is_some_and(|module| module == "torch") && type_name(any) == "dtype" {
        // `torch.float16`
        let name = written(any.str()).map(|name| name.rsplit('.').next().unwrap_or_default().to_owned());
        return Some(name.map(|name| tag("torch.dtype", name.into())));
    }
    let enumeration = imports::loaded(any.py(), "enum").and_then(|module| get(&module, "Enum"))?;
    if !class.is_subclass(&enumeration).or_none().unwrap_or(false) {
        return None;
    }
    let member = get(any, "_name_").ok_or_else(|| of_type(any)).and_then(|name| string(&name));
    Some(member.and_then(|member| Ok(json!({ "enum": path(&class)?, "member": member }))))
}

/// Where a class is found again.
pub fn path(class: &Bound<'_, PyType>) -> Result<(String, String), Unsupported> {
    let module = class.module().map_err(said)?.to_string_lossy().into_owned();
    let name = class.qualname().map_err(said)?.to_string_lossy().into_owned();
    match name.contains("<locals>") {
        true => Err(format!("a constant of the class {name}, which is local")),
        false => Ok((module, name)),
    }
}

fn of_type(any: &Bound<'_, PyAny>) -> Unsupported {
    let module =
        any.get_type().module().or_none().map(|module| module.to_string_lossy().into_owned()).unwrap_or_default();
    format!("a constant of type {module}.{}", type_name(any))
}

/// A text that JSON can hold: no lone surrogates.
fn string(any: &Bound<'_, PyAny>) -> Result<String, Unsupported> {
    let text = any.cast::<PyString>().map_err(|_| of_type(any))?;
    text.to_cow().map(|text| text.into_owned()).map_err(|_| "a text that is no Unicode".to_owned())
}

fn written(text: PyResult<Bound<'_, PyString>>) -> Result<String, Unsupported> {
    text.map_err(said).and_then(|text| string(text.as_any()))
}
