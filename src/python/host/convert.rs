//! Python values as attributes, carriers as span contexts. Reads only what is plain: `repr` of a tensor would copy it
//! from the device, so what is not plain is named by its type.

use opentelemetry::trace::SpanContext;
use pyo3::exceptions::{PyAttributeError, PyLookupError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyMapping, PyString, PyTuple};

use crate::model::attribute::{Attributes, Value, bounded};
use crate::process::lock;
use crate::propagation::{Format, HEADERS, Malformed, TRACESTATE, extract, parse};
use crate::python::host::boundary::{self, OrNone};
use crate::python::host::guard::fault;

/// Characters of one value, before the limits of the span.
const TEXT: usize = 8192;

/// A plain value; of anything else the name of its type.
pub fn value(any: &Bound<'_, PyAny>) -> Value {
    if let Ok(flag) = any.cast::<PyBool>() {
        return Value::Bool(flag.is_true());
    }
    if any.is_instance_of::<PyInt>() {
        // OTLP has 64 bits; a larger number is kept as its digits.
        return match any.extract::<i64>() {
            Ok(number) => Value::Int(number),
            Err(_) => Value::from(text(any)),
        };
    }
    if any.is_instance_of::<PyFloat>() {
        return Value::Double(any.extract().unwrap_or(f64::NAN));
    }
    if any.is_instance_of::<PyString>() || any.is_instance_of::<PyBytes>() {
        return Value::from(text(any));
    }
    if let Ok(list) = any.cast::<PyList>() {
        return Value::List(list.iter().take(128).map(|item| value(&item)).collect());
    }
    if let Ok(tuple) = any.cast::<PyTuple>() {
        return Value::List(tuple.iter().take(128).map(|item| value(&item)).collect());
    }
    Value::from(text(any))
}

/// A value as Python has it. A list becomes texts: opentelemetry-python refuses one whose items differ in type.
pub fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Bool(flag) => flag.into_pyobject(py)?.to_owned().into_any(),
        Value::Int(number) => number.into_pyobject(py)?.into_any(),
        Value::Double(number) => number.into_pyobject(py)?.into_any(),
        Value::Text(text) => PyString::new(py, text).into_any(),
        Value::List(values) => {
            let texts = values.iter().map(|value| match value {
                Value::Text(text) => text.clone().into_owned(),
                other => serde_json::to_string(other).unwrap_or_default(),
            });
            texts.collect::<Vec<_>>().into_pyobject(py)?.into_any()
        }
    })
}

/// A mapping as attributes. What is not a mapping gives none.
pub fn attributes(mapping: Option<&Bound<'_, PyAny>>) -> Attributes {
    let mut to = Attributes::new();
    let Some(mapping) = mapping else { return to };
    if let Ok(dict) = mapping.cast::<PyDict>() {
        for (key, item) in dict.iter() {
            if !item.is_none() {
                to.set(text(&key), value(&item));
            }
        }
    } else if let Some(pairs) = mapping.cast::<PyMapping>().ok().and_then(|mapping| mapping.items().or_none()) {
        for pair in pairs.iter() {
            if let Ok((key, item)) = pair.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>() {
                to.set(text(&key), value(&item));
            }
        }
    }
    to
}

/// A short text for a plain value: strings as they are, numbers and truth values by `repr`, `None`; tuples and lists
/// of these; of anything else `<type>`.
pub fn text(any: &Bound<'_, PyAny>) -> String {
    plain(any, 0).unwrap_or_else(|| format!("<{}>", type_name(any)))
}

fn plain(any: &Bound<'_, PyAny>, depth: usize) -> Option<String> {
    if let Ok(string) = any.cast::<PyString>() {
        return Some(bounded(&string.to_string_lossy(), TEXT).into_owned());
    }
    if let Ok(bytes) = any.cast::<PyBytes>() {
        return Some(bounded(&String::from_utf8_lossy(bytes.as_bytes()), TEXT).into_owned());
    }
    // Exact types: a subclass may have a repr of its own, which may do anything.
    if any.is_none() || any.is_exact_instance_of::<PyBool>() || any.is_exact_instance_of::<PyFloat>() {
        return Some(any.repr().ok()?.to_string_lossy().into_owned());
    }
    if any.is_exact_instance_of::<PyInt>() {
        // CPython refuses to write integers of more than 4,300 digits.
        return Some(any.repr().map_or_else(|_| "<int>".to_owned(), |text| text.to_string_lossy().into_owned()));
    }
    let items: Vec<Bound<'_, PyAny>> = match (any.cast_exact::<PyTuple>(), any.cast_exact::<PyList>()) {
        (Ok(tuple), _) => tuple.iter().take(32).collect(),
        (_, Ok(list)) => list.iter().take(32).collect(),
        _ => return None,
    };
    if depth > 3 {
        return Some("...".to_owned());
    }
    let texts = items.iter().map(|item| plain(item, depth + 1).unwrap_or_else(|| format!("<{}>", type_name(item))));
    Some(format!("({})", texts.collect::<Vec<_>>().join(", ")))
}

/// The name of a value's type, which no object can hide.
pub fn type_name(any: &Bound<'_, PyAny>) -> String {
    any.get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// An attribute of a foreign object. Missing or None: there is none. Raising otherwise: the same, and counted.
pub fn get<'py>(any: &Bound<'py, PyAny>, name: &str) -> Option<Bound<'py, PyAny>> {
    lock::assert_none_held();
    readable(any.py(), any.getattr(name))
}

/// A key of a foreign mapping. No mapping, missing or None: there is none. Raising otherwise: the same, and counted.
pub fn item<'py>(any: &Bound<'py, PyAny>, key: &str) -> Option<Bound<'py, PyAny>> {
    lock::assert_none_held();
    readable(any.py(), any.get_item(key))
}

fn readable<'py>(py: Python<'py>, read: PyResult<Bound<'py, PyAny>>) -> Option<Bound<'py, PyAny>> {
    match read {
        Ok(value) => (!value.is_none()).then_some(value),
        Err(error) => {
            let absent = error.is_instance_of::<PyAttributeError>(py)
                || error.is_instance_of::<PyLookupError>(py)
                || error.is_instance_of::<PyTypeError>(py);
            if !absent && let Some(error) = boundary::keep(py, error) {
                fault(py, "read", &error.to_string());
            }
            None
        }
    }
}

/// The text of a foreign attribute, if it is one.
pub fn get_text(any: &Bound<'_, PyAny>, name: &str) -> Option<String> {
    get(any, name)?.cast::<PyString>().ok().map(|text| bounded(&text.to_string_lossy(), TEXT).into_owned())
}

/// The span context in a carrier: HTTP headers as a mapping or as pairs (names in any case, text or bytes), in the
/// formats that `OTEL_PROPAGATORS` names; or a `traceparent` text. Nothing there: Ok(None).
pub fn carrier(any: &Bound<'_, PyAny>) -> Result<Option<SpanContext>, Malformed> {
    let py = any.py();
    if any.is_none() {
        return Ok(None);
    }
    if any.is_instance_of::<PyString>() || any.is_instance_of::<PyBytes>() {
        return parse(&text(any), None).map(Some);
    }
    let items = match any.getattr("items") {
        Ok(items) => items.call0().or_none().ok_or(Malformed)?,
        Err(error) => {
            boundary::keep(py, error);
            any.clone()
        }
    };
    let mut found: Vec<(&str, String)> = Vec::new();
    for pair in items.try_iter().or_none().ok_or(Malformed)? {
        let pair = pair.and_then(|pair| pair.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>());
        let Some((name, value)) = pair.or_none() else { continue };
        let name = text(&name).to_ascii_lowercase();
        if let Some(known) = HEADERS.into_iter().find(|known| *known == name) {
            found.push((known, text(&first(value))));
        }
    }
    let header = |name: &str| {
        let mut values = found.iter().filter(|(known, _)| *known == name).map(|(_, value)| value.as_str());
        match name {
            // The only one that may stand in several headers, which then are one list.
            TRACESTATE => Some(values.collect::<Vec<_>>().join(",")).filter(|value| !value.is_empty()),
            _ => values.next().map(str::to_owned),
        }
    };
    match crate::monitor() {
        Some(monitor) => extract(&monitor.config().propagators.0, &header),
        None => extract(&[Format::TraceContext], &header),
    }
}

/// Some servers keep a list of values under a name.
fn first(value: Bound<'_, PyAny>) -> Bound<'_, PyAny> {
    match value.cast::<PyList>().ok().and_then(|list| list.get_item(0).ok()) {
        Some(item) => item,
        None => value,
    }
}
