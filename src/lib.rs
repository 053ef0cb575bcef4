//! jitspan shows which request paid for a kernel compile.
//!
//! After warm-up, every JIT compile or autotune in an inference process becomes an OpenTelemetry span event on the
//! trace of each request that waited for it, exported over OTLP.
//!
//! Python servers use the wheel. A Rust server that compiles kernels itself, or embeds Python, links this crate:
//!
//! ```
//! use std::time::Duration;
//! use jitspan::{CompileEvent, Config, Kernel, Kind, Settings};
//!
//! # let environment = |variable: &str| (variable == "OTEL_SDK_DISABLED").then(|| "true".to_owned());
//! // Warm-up is over. (`Config::from_environment` reads OTEL_* and JITSPAN_*.)
//! jitspan::install(Config::resolve(&Settings::default(), &environment)?);
//!
//! // Inside a request's `tracing` span:
//! let mut event = CompileEvent::new(Kind::Compile, "nvrtc", Kernel::named("saxpy"));
//! event.duration = Duration::from_millis(180);
//! jitspan::record(event)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod clock;
pub mod config;
pub mod export;
pub mod live;
pub mod manifest;
pub mod metrics;
pub mod model;
pub mod monitor;
mod process;
pub mod propagation;
#[cfg(feature = "python")]
pub mod python;
#[cfg(feature = "view")]
pub mod report;
pub mod scope;
pub mod semconv;
pub mod stats;
#[cfg(feature = "view")]
pub mod view;

pub use config::{Config, ConfigError, Mode, Settings};
pub use model::event::{Autotune, CacheResult, Cause, CompileEvent, Detail, Failure, Kernel, Kind, Stage};
pub use monitor::{Monitor, UnexpectedCompile};
pub use process::installed::{flush, install, install_for, monitor, prepare, record, set_resource};
pub use propagation::parse as parse_traceparent;
