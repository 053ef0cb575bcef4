//! Constants from JSON. A line names what this process has: nothing is imported, evaluated or called because it says so,
//! but for Triton's own types.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyModule, PyTuple, PyType};
use serde_json::{Map, Value};

use super::find::Found;
use super::unsupported::{Unsupported, said};
use crate::model::recipe::Argument;
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::get;
use crate::python::host::imports;
use crate::python::replay::mock::{self, MockPointer};

/// A constant.
///
/// # Errors
/// This process does not have what it names, or it is no constant of ours.
pub fn decode<'py>(py: Python<'py>, value: &Value, found: &Found) -> Result<Bound<'py, PyAny>, Unsupported> {
    match value {
        Value::Null => Ok(py.None().into_bound(py)),
        Value::Bool(flag) => object(py, *flag),
        Value::String(text) => object(py, text),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => object(py, number),
            (None, Some(number)) => object(py, number),
            (None, None) => object(py, number.as_f64()),
        },
        Value::Array(items) => {
            let items = all(py, items, found)?;
            PyList::new(py, items).map(Bound::into_any).map_err(said)
        }
        Value::Object(tagged) => of_tag(py, tagged, found),
    }
}

fn object<'py>(py: Python<'py>, value: impl IntoPyObject<'py>) -> Result<Bound<'py, PyAny>, Unsupported> {
    value.into_bound_py_any(py).map_err(said)
}

fn all<'py>(py: Python<'py>, items: &[Value], found: &Found) -> Result<Vec<Bound<'py, PyAny>>, Unsupported> {
    items.iter().map(|item| decode(py, item, found)).collect()
}

fn of_tag<'py>(py: Python<'py>, tagged: &Map<String, Value>, found: &Found) -> Result<Bound<'py, PyAny>, Unsupported> {
    let text = |name: &str| tagged.get(name).and_then(Value::as_str);
    let builtins = || py.import("builtins").map_err(said);
    if let Some(digits) = text("int").filter(|digits| digits.len() <= 4000) {
        return builtins()?.call_method1("int", (digits,)).map_err(said);
    }
    if let Some(number) = text("float") {
        return builtins()?.call_method1("float", (number,)).map_err(said);
    }
    if let Some(items) = tagged.get("tuple").and_then(Value::as_array) {
        let items = all(py, items, found)?;
        return match tagged.get("class") {
            Some(class) => named_tuple(&path(class)?.resolve(py)?, items),
            None => PyTuple::new(py, items).map(Bound::into_any).map_err(said),
        };
    }
    if let Some(value) = tagged.get("constexpr") {
        let value = decode(py, value, found)?;
        return language(py)?.call_method1("constexpr", (value,)).map_err(said);
    }
    if let Some(name) = text("dtype") {
        let class = language(py)?.getattr("dtype").map_err(said)?;
        let known =
            class.call_method1("is_dtype", (name,)).and_then(|known| known.is_truthy()).or_none().unwrap_or(false);
        return if known { class.call1((name,)).map_err(said) } else { Err(format!("no type {name} here")) };
    }
    if let Some(kernel) = tagged.get("kernel") {
        return found.constant(py, kernel);
    }
    if let (Some(class), Some(member)) = (tagged.get("enum"), text("member")) {
        let class = path(class)?.resolve(py)?;
        let members = own(&class, "_member_map_").and_then(|members| members.cast_into::<PyDict>().ok());
        let member = members.and_then(|members| members.get_item(member).or_none().flatten());
        return member.ok_or_else(|| "no such member of an enumeration".to_owned());
    }
    if let (Some(class), Some(fields)) = (tagged.get("dataclass"), tagged.get("fields").and_then(Value::as_object)) {
        return layout(py, &path(class)?, fields, found);
    }
    if let Some(name) = text("torch.dtype") {
        let torch = imports::loaded(py, "torch").ok_or("torch is not imported")?;
        let dtype = get(&torch, name).filter(|dtype| crate::python::host::convert::type_name(dtype) == "dtype");
        return dtype.ok_or_else(|| format!("no torch.{name} here"));
    }
    Err("a constant of an unknown kind".to_owned())
}

fn language(py: Python<'_>) -> Result<Bound<'_, PyAny>, Unsupported> {
    imports::loaded(py, "triton.language").ok_or_else(|| "triton.language is not imported".to_owned())
}

/// Where a class is.
struct Path<'a> {
    module: &'a str,
    name: &'a str,
}

fn path(value: &Value) -> Result<Path<'_>, Unsupported> {
    match value.as_array().map(Vec::as_slice) {
        Some([Value::String(module), Value::String(name)]) => Ok(Path { module, name }),
        _ => Err("a class without a name".to_owned()),
    }
}

impl Path<'_> {
    /// The class, in a module that is there, from the dictionaries alone: a lazy module's `__getattr__` would import.
    fn resolve<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>, Unsupported> {
        let missing = || format!("{}.{} is not there", self.module, self.name);
        let mut at = imports::loaded(py, self.module).ok_or_else(missing)?;
        for part in self.name.split('.') {
            at = own(&at, part).ok_or_else(missing)?;
        }
        Ok(at)
    }
}

/// What the dictionary of a module or class has.
pub fn own<'py>(holder: &Bound<'py, PyAny>, name: &str) -> Option<Bound<'py, PyAny>> {
    match holder.cast::<PyModule>() {
        Ok(module) => module.dict().get_item(name).or_none().flatten(),
        Err(_) => {
            let class = holder.cast::<PyType>().ok()?;
            class.getattr("__dict__").or_none()?.get_item(name).or_none()
        }
    }
}

/// Made by `tuple` itself: the class's own `__new__` may do anything.
fn named_tuple<'py>(
    class: &Bound<'py, PyAny>,
    items: Vec<Bound<'py, PyAny>>,
) -> Result<Bound<'py, PyAny>, Unsupported> {
    let py = class.py();
    let fields = class.cast::<PyType>().ok().filter(|class| class.is_subclass_of::<PyTuple>().unwrap_or(false));
    let fields = fields.and_then(|class| get(class.as_any(), "_fields")?.len().or_none());
    if fields != Some(items.len()) {
        return Err("not the named tuple that it was".to_owned());
    }
    py.get_type::<PyTuple>().call_method1("__new__", (class, items)).map_err(said)
}

/// A frozen data class of Triton's.
fn layout<'py>(
    py: Python<'py>,
    path: &Path<'_>,
    fields: &Map<String, Value>,
    found: &Found,
) -> Result<Bound<'py, PyAny>, Unsupported> {
    if !path.module.starts_with("triton.") {
        return Err("a data class that is not Triton's".to_owned());
    }
    let class = path.resolve(py)?;
    let frozen = own(&class, "__dataclass_params__").and_then(|parameters| get(&parameters, "frozen"));
    if !frozen.is_some_and(|frozen| frozen.is_truthy().or_none().unwrap_or(false)) {
        return Err("not the data class that it was".to_owned());
    }
    let keywords = PyDict::new(py);
    for (name, value) in fields {
        keywords.set_item(name, decode(py, value, found)?).map_err(said)?;
    }
    class.call((), Some(&keywords)).map_err(said)
}

/// Something that Triton takes for such an argument.
///
/// # Errors
/// As [`decode`].
pub fn argument<'py>(py: Python<'py>, argument: &Argument, found: &Found) -> Result<Bound<'py, PyAny>, Unsupported> {
    match argument {
        Argument::Constexpr { constexpr: value } | Argument::Constant { constant: value } => decode(py, value, found),
        Argument::Absent { .. } => Ok(py.None().into_bound(py)),
        Argument::One { .. } => object(py, 1),
        Argument::Pointer { pointer, aligned, small, .. } => {
            let pointer = MockPointer::new(py, pointer, *aligned, *small, vec![1024]);
            pointer.and_then(|pointer| pointer.into_bound_py_any(py)).map_err(said)
        }
        // Neither a whole number nor None: what an annotated parameter does not specialize for.
        Argument::Scalar { unspecialized: true, .. } => object(py, true),
        Argument::Scalar { scalar, divisible, .. } => mock::scalar(py, scalar, *divisible),
        Argument::Descriptor { descriptor } => mock::descriptor(py, descriptor),
        Argument::Tuple { tuple, class } => {
            let members: Vec<_> =
                tuple.iter().map(|member| self::argument(py, member, found)).collect::<Result<_, _>>()?;
            match class {
                Some((module, name)) => named_tuple(&Path { module, name }.resolve(py)?, members),
                None => PyTuple::new(py, members).map(Bound::into_any).map_err(said),
            }
        }
    }
}

use pyo3::IntoPyObjectExt;
