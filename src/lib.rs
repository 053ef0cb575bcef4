//! jitspan shows which request paid for a kernel compile.
//!
//! After warm-up, every JIT compile or autotune in an inference process becomes an OpenTelemetry span event on the
//! trace of each request that waited for it, exported over OTLP.
//!
//! Python servers use the wheel. A Rust server that compiles kernels itself, or embeds Python, links this crate. One that
//! exports its own spans says how once, and jitspan's go the same way (feature `sdk`):
//!
#![cfg_attr(feature = "sdk", doc = "```no_run")]
#![cfg_attr(not(feature = "sdk"), doc = "```ignore")]
//! use std::time::Duration;
//! use jitspan::{CompileEvent, Config, Kernel, Kind, Settings};
//! use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
//! use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
//!
//! fn exporter() -> Result<SpanExporter, ExporterBuildError> {
//!     SpanExporter::builder().with_tonic().with_endpoint("https://collector.example:4317").build()
//! }
//!
//! let resource = Resource::builder().with_service_name("server").build();
//! let builder = SdkTracerProvider::builder().with_resource(resource.clone());
//! let provider = builder.with_batch_exporter(exporter()?).build();
//!
//! // Warm-up is over.
//! jitspan::install_through(Config::from_environment(&Settings::default())?, resource, exporter);
//!
//! // Inside a request's `tracing` span:
//! let mut event = CompileEvent::new(Kind::Compile, "nvrtc", Kernel::named("saxpy"));
//! event.duration = Duration::from_millis(180);
//! jitspan::record(event)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The event is on the request's span, the compile is its child, and the program hears of it as a `tracing` warning of
//! target `jitspan`, with fields `runtime`, `kernel`, `duration` (seconds), `cause`, `requests` and `trace_id`; of an
//! exporter that fails, once. What embeds Python says [`export_through`] before Python code calls `activate()`.
//!
//! A program without an exporter of its own has jitspan's transport, which `OTEL_*` variables set up:
//!
//! ```
//! use jitspan::{Config, Settings};
//!
//! # let environment = |variable: &str| (variable == "OTEL_SDK_DISABLED").then(|| "true".to_owned());
//! // (`Config::from_environment` reads this process's variables.)
//! jitspan::install(Config::resolve(&Settings::default(), &environment)?);
//! # Ok::<(), jitspan::ConfigError>(())
//! ```
#![cfg_attr(not(feature = "sdk"), doc = "\n[`export_through`]: https://docs.rs/jitspan")]

pub mod board;
#[cfg(feature = "view")]
pub mod cli;
pub mod clock;
pub mod config;
pub mod export;
#[cfg(feature = "view")]
mod findings;
mod installed;
pub mod live;
pub mod manifest;
pub mod metrics;
pub mod model;
pub mod monitor;
mod process;
pub mod propagation;
#[cfg(feature = "python")]
pub mod python;
mod report;
pub mod scope;
pub mod semconv;
pub mod stats;
#[cfg(feature = "view")]
pub mod view;

pub use config::{Config, ConfigError, Mode, Settings};
#[cfg(feature = "sdk")]
pub use installed::through::{export_through, install_through};
pub use installed::{flush, install, install_for, monitor, notices, prepare, record, set_resource};
pub use model::event::{Autotune, CacheResult, Cause, CompileEvent, Detail, Failure, Kernel, Kind, Stage};
pub use monitor::{Monitor, UnexpectedCompile};
pub use propagation::parse as parse_traceparent;
