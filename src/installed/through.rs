//! The program's own exporter, if it has given us one (feature `sdk`).

use std::fmt::Display;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter;

use super::{AtomicPtr, Config, Foreign, Monitor, Ordering, install, leaked, set_resource};
use crate::export::sdk::Through;

static THROUGH: AtomicPtr<Through> = AtomicPtr::new(std::ptr::null_mut());

/// [`install`](crate::install) for a program that exports its own spans: jitspan's go through an exporter of the same
/// kind, so that endpoint, credentials, TLS, retry policy and `resource` are said once, and may be said in code.
///
/// `factory` makes that exporter. It is called when the first span is to be sent, on a thread of ours and inside that
/// thread's tokio runtime (tonic's client asks for one); in a forked child, on whose threads the parent's exporter is
/// not, once more; and again after it failed or after an exporter panicked. So it must not keep hold of anything that
/// ends with a runtime of the program's. Whether it can work shows where the program calls the same function for its
/// own spans. The crate's front page shows how.
///
/// What differs from jitspan's own transport is told at [`SdkSink`](crate::export::sdk::SdkSink). Metrics and log-based
/// events are sent by that one still, if variables ask for them, with what `resource` says. `OTEL_SDK_DISABLED`,
/// `OTEL_TRACES_EXPORTER=none` and `OTEL_BSP_*` hold for spans as ever; `OTEL_EXPORTER_OTLP_*` is the exporter's.
pub fn install_through<E, X>(
    config: Config,
    resource: Resource,
    factory: impl Fn() -> Result<E, X> + Send + Sync + 'static,
) -> &'static Monitor
where
    E: SpanExporter + 'static,
    X: Display,
{
    export_through(resource, factory);
    install(config)
}

/// The exporter alone, for a program that does not install jitspan itself: what embeds Python says it before Python
/// code calls `activate()`. It holds from the next installation on.
pub fn export_through<E, X>(resource: Resource, factory: impl Fn() -> Result<E, X> + Send + Sync + 'static)
where
    E: SpanExporter + 'static,
    X: Display,
{
    THROUGH.store(Box::into_raw(Box::new(Through::new(resource, factory))), Ordering::Release);
    set_resource(Vec::new());
}

/// Never freed: a forked child makes its exporter from it as well.
pub(super) fn chosen() -> Option<&'static Through> {
    leaked(THROUGH.load(Ordering::Acquire))
}

/// What else is known of this process, and what the program says of itself, which wins.
pub(super) fn with_programs_own(mut foreign: Foreign) -> Foreign {
    let own = chosen().map(Through::attributes).unwrap_or_default();
    foreign.retain(|(key, _)| own.iter().all(|(other, _)| other != key));
    foreign.extend(own);
    foreign
}
