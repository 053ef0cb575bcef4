//! Through the program's own exporter: any `SpanExporter` of OpenTelemetry's Rust SDK (feature `sdk`).
//!
//! What makes it is kept, not the exporter: it is made on our thread, inside that thread's runtime, and made again in a
//! forked child, where nothing of the parent's runtime is left. Neither the SDK's tracer nor its batch processor is
//! used: a tracer takes no ids (ours are known before the span is finished), and the processor tells nobody what it
//! dropped.

mod convert;
mod drive;
mod queue;
mod shared;
mod size;
mod worker;

use std::fmt::{self, Display};
use std::pin::Pin;
use std::sync::Arc;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

use super::{Flushing, Sink};
use crate::config::Batch;
use crate::export::resource::Foreign;
use crate::model::span::Span;
use crate::process;
use crate::stats::Stats;

pub use convert::span_data;
use queue::Queue;
use shared::Plan;
use size::Sizes;

/// What makes exporters, and whose spans they send.
pub struct Through {
    make: Box<Make>,
    resource: Resource,
    generation: u64,
}

type Make = dyn Fn(&Resource) -> Result<Box<dyn Exporter>, String> + Send + Sync;

impl Through {
    /// Exporters of this `factory`, which are given this `resource`.
    pub fn new<E, X>(resource: Resource, factory: impl Fn() -> Result<E, X> + Send + Sync + 'static) -> Self
    where
        E: SpanExporter + 'static,
        X: Display,
    {
        let make = move |resource: &Resource| {
            let mut exporter = factory().map_err(|error| error.to_string())?;
            exporter.set_resource(resource);
            Ok(Box::new(exporter) as Box<dyn Exporter>)
        };
        Through { make: Box::new(make), resource, generation: process::generation() }
    }

    /// What the resource says, for the signals that we send ourselves.
    pub fn attributes(&self) -> Foreign {
        convert::attributes(&self.resource)
    }

    fn resource(&self) -> Resource {
        if self.generation == process::generation() {
            self.resource.clone()
        } else {
            convert::of_this_process(&self.resource)
        }
    }
}

impl fmt::Debug for Through {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Through").field("resource", &self.resource).finish_non_exhaustive()
    }
}

/// An exporter of whatever type.
trait Exporter: Send {
    fn send(&self, spans: Vec<SpanData>) -> Pin<Box<dyn Future<Output = OTelSdkResult> + Send + '_>>;
    fn settle(&self) -> OTelSdkResult;
    fn end(&self) -> OTelSdkResult;
}

impl<E: SpanExporter> Exporter for E {
    fn send(&self, spans: Vec<SpanData>) -> Pin<Box<dyn Future<Output = OTelSdkResult> + Send + '_>> {
        Box::pin(self.export(spans))
    }

    fn settle(&self) -> OTelSdkResult {
        self.force_flush()
    }

    fn end(&self) -> OTelSdkResult {
        // Not `shutdown_with_timeout`: exporters of opentelemetry-otlp 0.33 override this one.
        self.shutdown()
    }
}

/// Sends spans through an exporter of the program's. Bounded as our own transport is: `OTEL_BSP_MAX_QUEUE_SIZE`
/// spans and 8 MiB wait, and a batch holds `OTEL_BSP_MAX_EXPORT_BATCH_SIZE` and less than 4 MiB.
///
/// Each batch is given to the exporter once, so it is tried again as the exporter itself does
/// (`opentelemetry_otlp::RetryPolicy`). `OTEL_BSP_EXPORT_TIMEOUT` bounds the call. All that it does not send, for
/// whatever reason, is counted as `unreachable`: an SDK's error does not say more. The collector's partial success
/// stays with the exporter: what it rejected is counted as exported.
pub struct SdkSink(Queue);

impl SdkSink {
    /// A sink for spans. Nothing is made and nothing is started yet.
    pub fn new(through: &'static Through, batch: Batch, stats: Arc<Stats>) -> Self {
        SdkSink(Queue::new(Plan { through, batch, stats }))
    }
}

impl Sink for SdkSink {
    fn export(&self, spans: Vec<Span>) {
        let mut sizes = Sizes::default();
        for span in spans {
            let size = sizes.of(&span);
            self.0.offer(span, size);
        }
    }

    fn flush(&self) -> Flushing {
        self.0.flush()
    }

    fn shutdown(&self) -> Flushing {
        self.0.shutdown()
    }

    fn abandon(&self) {
        self.0.abandon();
    }

    fn queued(&self) -> usize {
        self.0.queued()
    }
}
