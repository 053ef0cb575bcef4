//! A Rust server that embeds Python, traces its requests with `tracing`, and sees on each request's span which kernel
//! compiled while it waited.
//!
//! ```sh
//! PYTHONPATH=examples cargo run --manifest-path examples/rust/Cargo.toml --bin rust_host
//! curl http://127.0.0.1:8000/generate/128     # warmed up
//! curl http://127.0.0.1:8000/generate/1000    # compiles: the event is on this request's span
//! ```
//!
//! Needs Triton in the embedded Python (no GPU). `JIT_MONITOR_MODE=error` fails the request instead.

#[path = "rust/exporter.rs"]
mod exporter;

use std::collections::HashMap;
use std::error::Error;

use axum::Router;
use axum::extract::{Path, Request};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use exporter::{Collector, exporter};
// The module, under another name than the crate.
use jitspan::python::jitspan as jitspan_module;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use pyo3::prelude::*;
use tracing::Instrument;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (resource, collector) = (Resource::builder().build(), Collector::default());
    let builder = SdkTracerProvider::builder().with_resource(resource.clone());
    let provider = builder.with_batch_exporter(exporter(&collector)?).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("rust_host"));
    // Without a level, what the exporter's HTTP/2 client says of each frame would be spans too.
    tracing_subscriber::registry().with(LevelFilter::INFO).with(layer).init();

    // What Python's `jitspan.activate()` installs sends through it, too.
    jitspan::export_through(resource, move || exporter(&collector));
    // Before the interpreter starts. The wheel's module would be another copy of jitspan, with no spans in it.
    pyo3::append_to_inittab!(jitspan_module);
    Python::initialize();
    // Imports the model, which warms up and then activates jitspan.
    Python::attach(|py| py.import("rust_host_model").map(drop))?;

    let app = Router::new().route("/generate/{length}", get(generate)).layer(from_fn(in_a_span));
    let port = std::env::var("PORT").unwrap_or_else(|_| "8000".to_owned());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).with_graceful_shutdown(interrupted()).await?;

    jitspan::flush(std::time::Duration::from_secs(2));
    provider.shutdown()?;
    Ok(())
}

/// Each request has a span, a child of its client's.
async fn in_a_span(request: Request, next: Next) -> Response {
    let span = tracing::info_span!("GET /generate", otel.kind = "server", url.path = request.uri().path());
    // Before the span is entered: entering starts it, and a span that has started keeps its parent.
    let _ = span.set_parent(client(request.headers()));
    next.run(request).instrument(span).await
}

fn client(headers: &HeaderMap) -> opentelemetry::Context {
    let texts = headers.iter().filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
    TraceContextPropagator::new().extract(&texts.collect::<HashMap<_, _>>())
}

async fn generate(Path(length): Path<u32>) -> Result<String, (StatusCode, String)> {
    // Another thread has no current span until this one is moved there and entered.
    let span = tracing::Span::current();
    let step = move || {
        span.in_scope(|| {
            Python::attach(|py| {
                let model = py.import("rust_host_model")?;
                model.call_method1("generate", (length,))?.extract::<u32>()
            })
        })
    };
    let failed = |error: String| (StatusCode::INTERNAL_SERVER_ERROR, error);
    let block = tokio::task::spawn_blocking(step).await.map_err(|error| failed(error.to_string()))?;
    block.map(|block| format!("{block}\n")).map_err(|error| failed(error.to_string()))
}

async fn interrupted() {
    let _ = tokio::signal::ctrl_c().await;
}
