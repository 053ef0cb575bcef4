//! What a Rust program hears of us through `tracing`, target `jitspan`: unexpected compiles, and the first failure of
//! the exporter. Without a subscriber nothing is even made; Python code hears the same through `logging`.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use opentelemetry::Context;
use opentelemetry::trace::SpanContext;
use tracing::level_filters::LevelFilter;

use crate::model::event::{CompileEvent, Kind};
use crate::process::line_gate;

thread_local! {
    /// A layer that records a compile for each event that it sees would come back for ever.
    static TELLING: Cell<bool> = const { Cell::new(false) };
}

/// An unexpected compile, which so many `requests` waited for; `request` is the first of them. A load from a disk cache
/// is worth a debug line, a warm-up that somebody asked for none. False: the program's subscriber has failed.
///
/// Without a parent: as part of the current span, tracing-opentelemetry would put it there as a second span event.
/// What says whose it is are the fields. `duration` is in seconds.
pub fn stall(
    event: &CompileEvent,
    requests: usize,
    request: impl Fn() -> Option<SpanContext>,
    message: impl Fn() -> String,
) -> bool {
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                target: "jitspan",
                parent: None,
                runtime = &*event.runtime,
                kernel = &*event.kernel.name,
                duration = event.duration.as_secs_f64(),
                cause = event.cause.map(|cause| cause.as_str()),
                requests,
                trace_id = request().map(|request| tracing::field::display(request.trace_id())),
                "{}",
                message()
            )
        };
    }
    event.manual_warmup
        || tell(|| match event.severity() {
            _ if event.background => line!(debug),
            Kind::Compile | Kind::Autotune | Kind::TunerMiss => line!(warn),
            Kind::Load | Kind::Launcher | Kind::Peer => line!(debug),
        })
}

/// What an operator should know, and nobody asks for. False: the program's subscriber has failed.
pub fn notice(text: &str) -> bool {
    tell(|| tracing::warn!(target: "jitspan", parent: None, "{text}"))
}

/// What was recorded does not arrive. False: the program's subscriber has failed.
pub fn export_failed(reason: &str) -> bool {
    tell(|| {
        // The exporters' threads suppress telemetry; this line is meant.
        let _heard = Context::new().attach();
        tracing::warn!(
            target: "jitspan",
            parent: None,
            reason,
            "what jitspan has recorded does not arrive, which from now on is only counted: {reason}"
        );
    })
}

/// The subscriber is the program's: it may take its time, look into what is ours, or panic.
fn tell(line: impl FnOnce()) -> bool {
    if LevelFilter::current() == LevelFilter::OFF || TELLING.get() {
        return true;
    }
    TELLING.set(true);
    let told = catch_unwind(AssertUnwindSafe(|| line_gate::write(line)));
    TELLING.set(false);
    told.is_ok()
}
