//! Python values as attributes, carriers as span contexts. Reads only what is plain: `repr` of a tensor would copy it
//! from the device, so what is not plain is named by its type.

use std::collections::HashSet;

use opentelemetry::trace::SpanContext;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyMapping, PyString, PyTuple};

use crate::model::attribute::{Attributes, Value, bounded};
use crate::process::lock;
use crate::propagation::{Format, HEADERS, Malformed, TRACESTATE, extract, parse};
use crate::python::host::boundary::{self, OrNone};
use crate::python::host::bounded::each;
use crate::python::host::unreadable::unreadable;

/// Characters of one value, before the limits of the span.
const TEXT: usize = 8192;

/// How deep lists may lie in one another. A protobuf parser refuses a message of 100 levels, of which a list takes two
/// (the Collector's, too): one value from too deep down would cost the spans of all who are in the same message.
const DEPTH: usize = 8;

/// Items of one list, and of all the lists in one value.
const ITEMS: usize = 128;
const ALL_ITEMS: usize = 1024;

/// Items of all the tuples and lists in one text.
const ITEMS_OF_TEXT: usize = 256;

/// Bytes of the texts in one value, and in all the values of one mapping.
const VALUE_BYTES: usize = 1 << 16;
const MAPPING_BYTES: usize = 1 << 18;

/// Pairs of a carrier that are looked at. Servers refuse requests of more headers than that.
const HEADERS_READ: usize = 1024;

/// What may still be read of one value.
struct Reader {
    items: usize,
    bytes: usize,
}

impl Reader {
    /// A plain value; of anything else the name of its type.
    fn value(&mut self, any: &Bound<'_, PyAny>, depth: usize) -> Value {
        if let Ok(flag) = any.cast::<PyBool>() {
            return Value::Bool(flag.is_true());
        }
        if any.is_instance_of::<PyInt>() {
            // OTLP has 64 bits; a larger number is kept as its digits.
            return any.extract::<i64>().or_none().map_or_else(|| self.text(any), Value::Int);
        }
        if any.is_instance_of::<PyFloat>() {
            return Value::Double(any.extract().or_none().unwrap_or(f64::NAN));
        }
        if let Ok(list) = any.cast::<PyList>() {
            return self.list(list.iter(), list.len(), depth);
        }
        if let Ok(tuple) = any.cast::<PyTuple>() {
            return self.list(tuple.iter(), tuple.len(), depth);
        }
        self.text(any)
    }

    fn text(&mut self, any: &Bound<'_, PyAny>) -> Value {
        let text = text(any);
        // As many characters as there are bytes left: the last text may be longer, and is the last.
        let text = if text.len() > self.bytes { bounded(&text, self.bytes).into_owned() } else { text };
        self.bytes = self.bytes.saturating_sub(text.len());
        Value::from(text)
    }

    fn list<'py>(&mut self, items: impl Iterator<Item = Bound<'py, PyAny>>, length: usize, depth: usize) -> Value {
        if depth >= DEPTH {
            return Value::from(format!("<nested deeper than {DEPTH}>"));
        }
        let mut values = Vec::new();
        for item in items.take(ITEMS) {
            if self.items == 0 || self.bytes == 0 {
                break;
            }
            self.items -= 1;
            values.push(self.value(&item, depth + 1));
        }
        if values.len() < length {
            values.push(Value::from(format!("<{} more>", length - values.len())));
        }
        Value::List(values)
    }
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

/// A mapping as attributes, at most `count`; those beyond are counted. What is not a mapping gives none.
pub fn attributes(mapping: Option<&Bound<'_, PyAny>>, count: usize) -> Attributes {
    let mut to = Attributes::new();
    let is_mapping = |any: &&Bound<'_, PyAny>| any.is_instance_of::<PyDict>() || any.cast::<PyMapping>().is_ok();
    let Some(mapping) = mapping.filter(is_mapping) else { return to };
    // Not a dictionary's own iterator, which panics where the dictionary changes meanwhile.
    let Some(items) = readable(mapping.py(), mapping.call_method0("items")) else { return to };
    let (mut read, mut bytes) = (0, MAPPING_BYTES);
    let mut names = HashSet::new();
    let mut pairs = each(&items, usize::MAX);
    while to.len() < count && bytes > 0 {
        let Some(pair) = pairs.next() else { break };
        read += 1;
        let Ok((key, item)) = pair.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>() else { continue };
        if item.is_none() {
            continue;
        }
        let name = text(&key);
        let mut reader = Reader { items: ALL_ITEMS, bytes: VALUE_BYTES.min(bytes) };
        let value = reader.value(&item, 0);
        bytes = bytes.saturating_sub(name.len() + VALUE_BYTES.min(bytes) - reader.bytes);
        if names.insert(name.clone()) {
            to.add(name, value);
        } else {
            to.set(name, value);
        }
    }
    to.drop(pairs.rest(mapping, read));
    to
}

/// A short text for a plain value: strings as they are, numbers and truth values by `repr`, `None`; tuples and lists
/// of these; of anything else `<type>`.
pub fn text(any: &Bound<'_, PyAny>) -> String {
    let mut left = ITEMS_OF_TEXT;
    plain(any, 0, &mut left).unwrap_or_else(|| format!("<{}>", type_name(any)))
}

fn plain(any: &Bound<'_, PyAny>, depth: usize, left: &mut usize) -> Option<String> {
    if let Ok(string) = any.cast::<PyString>() {
        return Some(bounded(&string.to_string_lossy(), TEXT).into_owned());
    }
    if let Ok(bytes) = any.cast::<PyBytes>() {
        // A character has at most four bytes.
        let bytes = bytes.as_bytes();
        let read = bytes.get(..4 * TEXT + 4).unwrap_or(bytes);
        return Some(bounded(&String::from_utf8_lossy(read), TEXT).into_owned());
    }
    // Exact types: a subclass may have a repr of its own, which may do anything.
    if any.is_none() || any.is_exact_instance_of::<PyBool>() || any.is_exact_instance_of::<PyFloat>() {
        return Some(any.repr().or_none()?.to_string_lossy().into_owned());
    }
    if any.is_exact_instance_of::<PyInt>() {
        // CPython refuses to write integers of more than 4,300 digits, but its first releases of 3.10 did it, for hours.
        let bits = any.call_method0("bit_length").or_none().and_then(|bits| bits.extract::<u64>().or_none());
        if bits.is_none_or(|bits| bits > 14_000) {
            return Some("<int>".to_owned());
        }
        return Some(
            any.repr().or_none().map_or_else(|| "<int>".to_owned(), |text| text.to_string_lossy().into_owned()),
        );
    }
    let items: Vec<Bound<'_, PyAny>> = match (any.cast_exact::<PyTuple>(), any.cast_exact::<PyList>()) {
        (Ok(tuple), _) => tuple.iter().take(32).collect(),
        (_, Ok(list)) => list.iter().take(32).collect(),
        _ => return None,
    };
    if depth > 3 {
        return Some("...".to_owned());
    }
    let mut texts = Vec::new();
    for item in &items {
        let Some(less) = left.checked_sub(1) else {
            texts.push("...".to_owned());
            break;
        };
        *left = less;
        texts.push(plain(item, depth + 1, left).unwrap_or_else(|| format!("<{}>", type_name(item))));
    }
    Some(format!("({})", texts.join(", ")))
}

/// The name of a value's type, which no object can hide.
pub fn type_name(any: &Bound<'_, PyAny>) -> String {
    any.get_type().name().or_none().map_or_else(|| "object".to_owned(), |name| name.to_string_lossy().into_owned())
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
            unreadable(py, &error);
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
    let mut pairs = each(&items, HEADERS_READ);
    for pair in pairs.by_ref() {
        let Ok((name, value)) = pair.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>() else { continue };
        let name = text(&name).to_ascii_lowercase();
        if let Some(known) = HEADERS.into_iter().find(|known| *known == name) {
            found.push((known, text(&first(value))));
        }
    }
    if pairs.has_failed() || (found.is_empty() && pairs.has_more()) {
        return Err(Malformed);
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
    match value.cast::<PyList>().ok().and_then(|list| list.get_item(0).or_none()) {
        Some(item) => item,
        None => value,
    }
}

/// What attributes are in Python.
pub fn mapping<'py>(py: Python<'py>, attributes: &Attributes) -> PyResult<Bound<'py, PyDict>> {
    let to = PyDict::new(py);
    for (key, value) in attributes.iter() {
        to.set_item(key, to_python(py, value)?)?;
    }
    Ok(to)
}
