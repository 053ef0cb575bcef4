//! Who we are, as Python knows it: its own version, and the resource of an OpenTelemetry SDK in this process. Taken
//! over, so that both sides look like one service. Looks into `sys.modules` and imports nothing.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::export::resource::Foreign;
use crate::model::attribute::Value;
use crate::python::host::boundary::OrNone;
use crate::python::host::convert;
use crate::python::host::imports;
use crate::semconv::resource as key;

/// Attributes of a resource that are taken over.
const ATTRIBUTES: usize = 1024;

/// Tells the core what is known now. Cheap enough for every `activate()` and the first event of a process; a provider
/// that is set later than that is found by the next.
pub fn adopt(py: Python<'_>) {
    let mut foreign = runtime(py);
    foreign.extend(provider(py).unwrap_or_default());
    crate::set_resource(foreign);
}

/// `process.runtime.*`.
fn runtime(py: Python<'_>) -> Foreign {
    let version = py.version_info();
    let mut known: Foreign = vec![(
        key::PROCESS_RUNTIME_VERSION.to_owned(),
        Value::from(format!("{}.{}.{}", version.major, version.minor, version.patch)),
    )];
    let name = py.import("sys").and_then(|sys| sys.getattr("implementation")?.getattr("name"));
    if let Some(name) = name.or_none() {
        known.push((key::PROCESS_RUNTIME_NAME.to_owned(), Value::from(convert::text(&name))));
    }
    known
}

/// The attributes of the global tracer provider's resource, if a provider has been set.
fn provider(py: Python<'_>) -> Option<Foreign> {
    let trace = imports::loaded(py, "opentelemetry.trace")?;
    // Not `get_tracer_provider()`: with OTEL_PYTHON_TRACER_PROVIDER set and no provider yet, it would load one.
    let provider = convert::get(&trace, "_TRACER_PROVIDER")?;
    let attributes = convert::get(&convert::get(&provider, "resource")?, "attributes")?;
    // A `BoundedAttributes` of the SDK is a MutableMapping, but not by registration in all of its versions.
    let copy = PyDict::new(py);
    copy.call_method1("update", (attributes,)).or_none()?;
    let attributes = convert::attributes(Some(copy.as_any()), ATTRIBUTES);
    Some(attributes.iter().map(|(key, value)| (key.to_owned(), value.clone())).collect())
}
