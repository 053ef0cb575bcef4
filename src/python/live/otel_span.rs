//! The span that opentelemetry-python has open where a kernel compiles: the event goes on it, its own SDK exports it.
//!
//! opentelemetry-python is never imported by us. On each stall we look for what the program has imported by then.
//! logfire's spans are opentelemetry-python's; ddtrace's are in [`crate::python::live::datadog_span`].

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use opentelemetry::trace::SpanContext;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::live::LiveSpan;
use crate::live::Place;
use crate::model::attribute::Attributes;
use crate::model::event::{CompileEvent, Failure};
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::{get, mapping};
use crate::python::host::guard::guard;
use crate::python::host::imports;
use crate::python::live::datadog_span::{self, DatadogSpan};
use crate::python::live::identity::{context, is_recording};
use crate::python::live::local_root;
use crate::python::live::provider_flush;
use crate::python::unexpected::UnexpectedCompileError;
use crate::semconv::attribute;

const API: &str = "opentelemetry.trace";
const PLACE: &str = "otel_span";

/// The live span of this task or thread. One that takes nothing (it has ended, it is not sampled, it is the remote
/// span of a request that was only propagated) is a parent.
pub fn place(py: Python<'_>) -> PyResult<Place> {
    let current = current(py);
    if let Some(span) = &current
        && is_recording(span)
    {
        return match DatadogSpan::behind(span) {
            Some(datadog) => Ok(Place::Live(Arc::new(datadog))),
            None => Ok(OtelSpan::new(span).map_or(Place::Nobody, |span| Place::Live(Arc::new(span)))),
        };
    }
    if let Some(span) = datadog_span::current(py) {
        return Ok(Place::Live(Arc::new(span)));
    }
    Ok(current.as_ref().and_then(context).map_or(Place::Nobody, Place::Under))
}

fn current(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    // While another thread is importing it, the module is there and its functions are not.
    imports::loaded(py, API)?.call_method0("get_current_span").or_none().filter(|span| !span.is_none())
}

/// A recording span of opentelemetry-python.
struct OtelSpan {
    span: Py<PyAny>,
    context: SpanContext,
    root: Option<Py<PyAny>>,
}

impl OtelSpan {
    fn new(span: &Bound<'_, PyAny>) -> Option<Self> {
        let root = guard(span.py(), "local_root", || local_root::find(span)).flatten();
        Some(OtelSpan { span: span.clone().unbind(), context: context(span)?, root: root.map(Bound::unbind) })
    }

    fn with(&self, body: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<()>) {
        // No interpreter: the process ends, and whoever recorded this is not in Python any more.
        Python::try_attach(|py| guard(py, PLACE, || body(self.span.bind(py))));
    }
}

impl LiveSpan for OtelSpan {
    fn context(&self) -> SpanContext {
        self.context.clone()
    }

    fn is_recording(&self) -> bool {
        Python::try_attach(|py| is_recording(self.span.bind(py))).unwrap_or(false)
    }

    fn root(&self) -> Option<Arc<dyn LiveSpan>> {
        let root = Python::try_attach(|py| {
            let root = self.root.as_ref()?.bind(py);
            Some(OtelSpan { span: root.clone().unbind(), context: context(root)?, root: None })
        });
        root.flatten().map(|root| Arc::new(root) as Arc<dyn LiveSpan>)
    }

    fn add(&self, event: &CompileEvent) {
        self.with(|span| {
            let options = PyDict::new(span.py());
            options.set_item("attributes", mapping(span.py(), &event.attributes())?)?;
            // A ddtrace span that we do not recognise as one reads microseconds: now is nearer than 1970.
            if !datadog_span::is_shim(span) {
                options.set_item("timestamp", event.began())?;
            }
            span.call_method("add_event", (event.kind.event_name(),), Some(&options)).map(drop)
        });
    }

    fn summarise(&self, summary: &Attributes, _first: bool) {
        self.with(|span| span.call_method1("set_attributes", (mapping(span.py(), summary)?,)).map(drop));
    }

    fn fail(&self, failure: &Failure, _first: bool) {
        self.with(|span| {
            let py = span.py();
            span.call_method1("set_attribute", (attribute::ERROR_TYPE, &failure.error_type))?;
            // `start_as_current_span` will record the raised error once more, if nobody catches it inside the span.
            let error = UnexpectedCompileError::new_err(failure.message.clone());
            span.call_method1("record_exception", (error.value(py),))?;
            let Some(api) = imports::loaded(py, API) else { return Ok(()) };
            let status = api.getattr("Status")?.call1((api.getattr("StatusCode")?.getattr("ERROR")?, &failure.message));
            span.call_method1("set_status", (status?,)).map(drop)
        });
    }

    fn flush(&self, timeout: Duration) -> Option<Receiver<()>> {
        Python::try_attach(|py| {
            let milliseconds = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            let flush = get(&provider(self.span.bind(py))?, "force_flush")?;
            provider_flush::start(&flush, (milliseconds,).into_pyobject(py).ok()?)
        })
        .flatten()
    }
}

/// What sends this span: the processors of its own provider, which need not be the global one. The span itself goes
/// only when it ends; what it has of finished children goes now.
fn provider<'py>(span: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    // `_span_processor`: SDK 1.0 to 1.45. logfire keeps the SDK's span in `span`.
    let own = get(span, "_span_processor").or_else(|| get(&get(span, "span")?, "_span_processor"));
    // Not `get_tracer_provider()`: with OTEL_PYTHON_TRACER_PROVIDER set and no provider yet, it would load one.
    own.or_else(|| get(&imports::loaded(span.py(), API)?, "_TRACER_PROVIDER"))
}
