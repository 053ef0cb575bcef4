//! The span that ddtrace has open: its own (`tracer.trace()`), also where it stands in for opentelemetry-python
//! (`DD_TRACE_OTEL_ENABLED`).
//!
//! That stand-in multiplies the time of an event by 1000, so that nanoseconds become the year 1970 (ddtrace 4.16):
//! we go to the span behind it. ddtrace has no public way to add an event: `_add_event` is what it uses itself, and
//! where it is missing the tags alone tell of the compile.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use crate::live::LiveSpan;
use crate::model::attribute::{Attributes, Value};
use crate::model::event::{CompileEvent, Failure};
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::{self, get, mapping};
use crate::python::host::guard::guard;
use crate::python::host::here;
use crate::python::host::imports;
use crate::python::live::provider_flush;
use crate::semconv::{attribute, datadog};

const PLACE: &str = "datadog_span";

/// ddtrace's own current span, if the program has imported ddtrace.
pub fn current(py: Python<'_>) -> Option<DatadogSpan> {
    let span = get(&imports::loaded(py, "ddtrace")?, "tracer")?.call_method0("current_span").or_none()?;
    DatadogSpan::new(&span).filter(LiveSpan::is_recording)
}

/// Whether an OpenTelemetry span is ddtrace's stand-in.
pub fn is_shim(span: &Bound<'_, PyAny>) -> bool {
    let module = get(span.get_type().as_any(), "__module__");
    module.is_some_and(|module| module.extract::<String>().is_ok_and(|module| module.starts_with("ddtrace.")))
}

/// A span of ddtrace.
pub struct DatadogSpan {
    span: Py<PyAny>,
    context: SpanContext,
}

impl DatadogSpan {
    /// The span behind ddtrace's stand-in for opentelemetry-python.
    pub fn behind(span: &Bound<'_, PyAny>) -> Option<Self> {
        if is_shim(span) { Self::new(&get(span, "_ddspan")?) } else { None }
    }

    fn new(span: &Bound<'_, PyAny>) -> Option<Self> {
        let trace_id = get(span, "trace_id")?.extract::<u128>().or_none()?;
        let span_id = get(span, "span_id")?.extract::<u64>().or_none()?;
        // None until ddtrace decides, when the trace ends or is propagated. It keeps a trace unless told otherwise.
        let priority = get(span, "context").and_then(|context| get(&context, "sampling_priority"));
        let sampled =
            priority.and_then(|priority| priority.extract::<f64>().or_none()).is_none_or(|priority| priority > 0.0);
        let flags = TraceFlags::default().with_sampled(sampled);
        let (trace_id, span_id) = (TraceId::from(trace_id), SpanId::from(span_id));
        let context = SpanContext::new(trace_id, span_id, flags, false, TraceState::default());
        context.is_valid().then(|| DatadogSpan { span: span.clone().unbind(), context })
    }

    fn with(&self, body: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<()>) {
        Python::try_attach(|py| guard(py, PLACE, || body(self.span.bind(py))));
    }
}

impl LiveSpan for DatadogSpan {
    fn context(&self) -> SpanContext {
        self.context.clone()
    }

    fn is_recording(&self) -> bool {
        Python::try_attach(|py| {
            get(self.span.bind(py), "finished").is_some_and(|it| !it.is_truthy().or_none().unwrap_or(true))
        })
        .unwrap_or(false)
    }

    fn root(&self) -> Option<Arc<dyn LiveSpan>> {
        let root = Python::try_attach(|py| DatadogSpan::new(&get(self.span.bind(py), "_local_root")?)).flatten();
        let root = root.filter(|root| root.context.span_id() != self.context.span_id() && root.is_recording());
        root.map(|root| Arc::new(root) as Arc<dyn LiveSpan>)
    }

    fn add(&self, event: &CompileEvent) {
        self.with(|span| {
            let Some(add) = get(span, "_add_event") else { return Ok(()) };
            add.call1((event.kind.event_name(), mapping(span.py(), &event.attributes())?, event.began())).map(drop)
        });
    }

    fn summarise(&self, summary: &Attributes, _first: bool) {
        self.with(|span| {
            for (key, value) in summary.iter() {
                tag(span, key, value)?;
            }
            Ok(())
        });
    }

    fn fail(&self, failure: &Failure, _first: bool) {
        self.with(|span| {
            let py = span.py();
            // Not `set_exc_info`, which does nothing for an exception that has not been raised yet.
            let frames = here::stack(py).unwrap_or_default();
            let stack = format!("{frames}{}: {}\n", failure.error_type, failure.message);
            span.setattr("error", 1)?;
            for (key, text) in [
                (attribute::ERROR_TYPE, &failure.error_type),
                (datadog::ERROR_MESSAGE, &failure.message),
                ("error.stack", &stack),
            ] {
                span.call_method1("set_tag", (key, text))?;
            }
            Ok(())
        });
    }

    fn flush(&self, _timeout: Duration) -> Option<Receiver<()>> {
        Python::try_attach(|py| {
            let flush = get(&get(&imports::loaded(py, "ddtrace")?, "tracer")?, "flush")?;
            provider_flush::start(&flush, PyTuple::empty(py))
        })
        .flatten()
    }
}

/// ddtrace has tags, which are text, and metrics, which are numbers. It writes a truth value as `true` itself.
fn tag(span: &Bound<'_, PyAny>, key: &str, value: &Value) -> PyResult<()> {
    let py = span.py();
    match value {
        Value::Int(_) | Value::Double(_) => span.call_method1("set_metric", (key, convert::to_python(py, value)?)),
        Value::Bool(flag) => {
            span.call_method1("set_tag", (key, PyString::new(py, if *flag { "true" } else { "false" })))
        }
        other => span.call_method1("set_tag", (key, convert::to_python(py, other)?)),
    }
    .map(drop)
}
