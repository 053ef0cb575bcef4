//! The process's one monitor. Made by [`install`], made again in a forked child, never freed: hooks that outlive a
//! `deactivate` may still look at it, and a child must not touch what its parent's threads held.

use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;

use crate::attribute::Value;
use crate::config::{Config, Resource};
use crate::event::CompileEvent;
use crate::monitor::{Monitor, UnexpectedCompile};
use crate::process;
use crate::sink::Sink;
use crate::sink::console::ConsoleSink;
use crate::sink::otlp::{OtlpSink, encode};
use crate::source::System;
use crate::stats::Stats;

struct Process {
    generation: u64,
    monitor: Monitor,
    /// Made by [`prepare`], and not armed since.
    prepared: bool,
}

static CURRENT: AtomicPtr<Process> = AtomicPtr::new(std::ptr::null_mut());

/// Makes a monitor from `config` the process's own, armed. One that was there is flushed and ended; what one from
/// [`prepare`] has counted goes on being counted.
pub fn install(config: Config) -> &'static Monitor {
    let before = monitor();
    let counted = before.filter(|_| current().is_some_and(|process| process.prepared)).map(Monitor::share_stats);
    let installed = replace(Arc::new(config), true, counted, false);
    if let Some(before) = before {
        before.shutdown(before.config().flush_timeout);
    }
    installed
}

/// As [`install`], but not armed yet: compiles are only counted, as warm-up. Whoever arms installs again, with the mode
/// that is known by then. Does nothing where there is a monitor that was installed.
pub fn prepare(config: Config) -> &'static Monitor {
    match (monitor(), current()) {
        (Some(installed), Some(process)) if !process.prepared => installed,
        (before, _) => replace(Arc::new(config), false, before.map(Monitor::share_stats), true),
    }
}

/// The process's monitor, if one was installed, in this process or before a fork.
pub fn monitor() -> Option<&'static Monitor> {
    let process = current()?;
    if process.generation == process::generation() {
        return Some(&process.monitor);
    }
    let armed = process.monitor.is_armed();
    Some(replace(Arc::clone(process.monitor.config()), armed, None, process.prepared))
}

/// Records a compile that Rust code did itself. Without an installed monitor it does nothing.
///
/// # Errors
/// In error mode, see [`Monitor::record`].
pub fn record(event: CompileEvent) -> Result<(), UnexpectedCompile> {
    monitor().map_or(Ok(()), |monitor| monitor.record(event))
}

/// Waits until what was recorded so far has been sent. False: not within `timeout`.
pub fn flush(timeout: Duration) -> bool {
    monitor().is_none_or(|monitor| monitor.flush(timeout))
}

#[expect(unsafe_code, reason = "a pointer that is only ever set to leaked boxes, so that a fork cannot tear it")]
fn current() -> Option<&'static Process> {
    // SAFETY: the pointer is null, or came from `Box::leak` in `replace`, and is never freed.
    unsafe { CURRENT.load(Ordering::Acquire).as_ref() }
}

fn replace(config: Arc<Config>, armed: bool, stats: Option<Arc<Stats>>, prepared: bool) -> &'static Monitor {
    let stats = stats.unwrap_or_default();
    let sinks = sinks(&config, &stats);
    let monitor = Monitor::new(config, Arc::new(System), sinks, stats);
    monitor.arm(armed);
    let process = Box::leak(Box::new(Process { generation: process::generation(), monitor, prepared }));
    CURRENT.store(process, Ordering::Release);
    &process.monitor
}

fn sinks(config: &Config, stats: &Arc<Stats>) -> Vec<Box<dyn Sink>> {
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    if config.disabled {
        return sinks;
    }
    if config.traces.console {
        sinks.push(Box::new(ConsoleSink::new(Arc::clone(stats))));
    }
    if let Some(endpoint) = &config.traces.otlp {
        let resource = Arc::new(resource(&config.resource));
        sinks.push(Box::new(OtlpSink::new(endpoint.clone(), config.batch.clone(), resource, Arc::clone(stats))));
    }
    sinks
}

/// What the user said, and the facts of this process.
fn resource(config: &Resource) -> ProtoResource {
    let instance = crate::source::uuid();
    let facts: [(&str, Value); 5] = [
        ("telemetry.sdk.name", "jitspan".into()),
        ("telemetry.sdk.language", "rust".into()),
        ("telemetry.sdk.version", env!("CARGO_PKG_VERSION").into()),
        ("process.pid", i64::from(std::process::id()).into()),
        ("service.instance.id", instance.into()),
    ];
    let mut attributes: Vec<(&str, Value)> = Vec::new();
    if config.get("service.name").is_none() {
        attributes.push(("service.name", format!("unknown_service:{}", executable()).into()));
    }
    let said = config.attributes.iter().map(|(key, value)| (key.as_str(), Value::from(value.clone())));
    for (key, value) in facts.into_iter().chain(said) {
        attributes.retain(|(known, _)| *known != key);
        attributes.push((key, value));
    }
    let attributes = attributes.iter().map(|(key, value)| encode::pair(key, value)).collect();
    ProtoResource { attributes, ..Default::default() }
}

fn executable() -> String {
    let path = std::env::current_exe().ok();
    path.as_deref()
        .and_then(|path| path.file_name())
        .map_or("unknown".into(), |name| name.to_string_lossy().into_owned())
}
