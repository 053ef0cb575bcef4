//! The process's one monitor. Made by [`install`], made again in a forked child, never freed: hooks that outlive a
//! `deactivate` may still look at it, and a child must not touch what its parent's threads held.

#[cfg(feature = "sdk")]
pub(crate) mod through;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Source, System};
use crate::config::{Batch, Config, Endpoint, Events, Protocol};
use crate::export::Sink;
use crate::export::console::ConsoleSink;
use crate::export::otlp::{OtlpSink, metrics};
use crate::export::resource::{Foreign, SharedResource};
use crate::export::sinks::Sinks;
use crate::metrics::{Exporters, Metrics};
use crate::model::attribute::{Attributes, Value};
use crate::model::event::CompileEvent;
use crate::monitor::{Monitor, UnexpectedCompile};
use crate::process;
use crate::process::concurrency::{AtomicPtr, Ordering, shared};
use crate::semconv::resource::SERVICE_INSTANCE_ID;
use crate::semconv::{SCOPE_NAME, metric};
use crate::stats::Stats;

struct Process {
    generation: u64,
    monitor: Monitor,
    /// Made by [`prepare`]: another one will take its place when warm-up is over.
    prepared: bool,
    resource: Arc<SharedResource>,
    runtimes: Vec<&'static str>,
}

/// What an SDK or a language runtime in this process says of it, and in which process it said so.
struct Known {
    generation: u64,
    foreign: Foreign,
    /// The instance id that was told before the last fork: it is the parent's.
    parents: Option<Value>,
}

shared!(CURRENT: AtomicPtr<Process> = AtomicPtr::new(std::ptr::null_mut()));
shared!(KNOWN: AtomicPtr<Known> = AtomicPtr::new(std::ptr::null_mut()));

/// Makes a monitor from `config` the process's own, armed. One that was there is flushed and ended; what one from
/// [`prepare`] has counted goes on being counted.
pub fn install(config: Config) -> &'static Monitor {
    install_for(config, &[])
}

/// The same; the metrics of these runtimes begin at 0.
pub fn install_for(config: Config, runtimes: &[&'static str]) -> &'static Monitor {
    let stats = prepared().map(|process| process.monitor.share_stats()).unwrap_or_default();
    let made: &'static Process = Box::leak(make(Arc::new(config), true, runtimes.to_vec(), stats));
    let before = leaked(CURRENT.swap(std::ptr::from_ref(made).cast_mut(), Ordering::AcqRel));
    if let Some(before) = before.filter(|before| before.generation == process::generation()) {
        before.monitor.shutdown(before.monitor.config().flush_timeout);
    }
    made.monitor.send_metrics(runtimes);
    &made.monitor
}

/// Makes a monitor that is not armed yet: compiles are only counted, as warm-up. Whoever arms installs another one, with
/// the mode that is known by then. Does nothing where one was installed.
pub fn prepare(config: Config) {
    let before = prepared();
    if before.is_none() && monitor().is_some() {
        return;
    }
    let stats = before.map(|process| process.monitor.share_stats()).unwrap_or_default();
    let mut made = make(Arc::new(config), false, Vec::new(), stats);
    made.prepared = true;
    CURRENT.store(Box::into_raw(made), Ordering::Release);
}

fn prepared() -> Option<&'static Process> {
    current().filter(|process| process.prepared && process.generation == process::generation())
}

/// The process's monitor, if one was installed, in this process or before a fork.
pub fn monitor() -> Option<&'static Monitor> {
    let process = current()?;
    if process.generation == process::generation() {
        return Some(&process.monitor);
    }
    let armed = process.monitor.is_armed();
    let mut made = make(Arc::clone(process.monitor.config()), armed, process.runtimes.clone(), Arc::default());
    made.prepared = process.prepared;
    let made: &'static Process = Box::leak(made);
    let (before, after) = (std::ptr::from_ref(process).cast_mut(), std::ptr::from_ref(made).cast_mut());
    match CURRENT.compare_exchange(before, after, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {
            if armed {
                made.monitor.send_metrics(&made.runtimes);
            }
            Some(&made.monitor)
        }
        // Another thread of the child was faster. Ours has started nothing; that it is leaked is a few hundred bytes.
        Err(_) => current().map(|process| &process.monitor),
    }
}

/// Tells what else is known of this process: the attributes of another SDK's resource, or of a language runtime. From
/// here on they are on everything that is sent; what the user said in variables wins over them.
pub fn set_resource(foreign: Vec<(String, Value)>) {
    #[cfg(feature = "sdk")]
    let foreign = through::with_programs_own(foreign);
    let generation = process::generation();
    let before = leaked(KNOWN.load(Ordering::Acquire));
    let parents = before.and_then(|before| before.parents_in(generation));
    let foreign = without(foreign, parents.as_ref());
    if before.is_some_and(|before| before.generation == generation && before.foreign == foreign) {
        return;
    }
    if let Some(process) = current() {
        process.resource.adopt(&foreign);
    }
    KNOWN.store(Box::into_raw(Box::new(Known { generation, foreign, parents })), Ordering::Release);
}

impl Known {
    /// The instance id that is not this process's own.
    fn parents_in(&self, generation: u64) -> Option<Value> {
        let told = self.foreign.iter().find(|(key, _)| key == SERVICE_INSTANCE_ID).map(|(_, value)| value.clone());
        told.filter(|_| self.generation != generation).or_else(|| self.parents.clone())
    }
}

/// With its parent's instance id two processes would look like one.
fn without(foreign: Foreign, parents: Option<&Value>) -> Foreign {
    foreign.into_iter().filter(|(key, value)| key != SERVICE_INSTANCE_ID || Some(value) != parents).collect()
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

fn current() -> Option<&'static Process> {
    leaked(CURRENT.load(Ordering::Acquire))
}

#[expect(unsafe_code, reason = "pointers that are only ever set to leaked boxes, so that a fork cannot tear them")]
fn leaked<T>(pointer: *mut T) -> Option<&'static T> {
    // SAFETY: the pointer is null, or came from `Box::into_raw` in this file, and is never freed.
    unsafe { pointer.as_ref() }
}

fn make(config: Arc<Config>, armed: bool, runtimes: Vec<&'static str>, stats: Arc<Stats>) -> Box<Process> {
    let generation = process::generation();
    let known = leaked(KNOWN.load(Ordering::Acquire));
    let foreign = known.map(|known| without(known.foreign.clone(), known.parents_in(generation).as_ref()));
    let foreign = foreign.unwrap_or_default();
    let resource = Arc::new(SharedResource::new(config.resource.clone(), &foreign));
    let sinks = sinks(&config, &resource, &stats);
    let monitor = Monitor::new(config, Arc::new(System), sinks, stats);
    monitor.arm(armed);
    Box::new(Process { generation, monitor, prepared: false, resource, runtimes })
}

fn sinks(config: &Config, resource: &Arc<SharedResource>, stats: &Arc<Stats>) -> Sinks {
    let source: Arc<dyn Source> = Arc::new(System);
    let metrics = Arc::new(Metrics::new(source.now()).with_exporters(exporters(config)));
    let mut sinks = Sinks { metrics: Arc::clone(&metrics), ..Sinks::default() };
    if config.disabled {
        return sinks;
    }
    let batch = &config.batch;
    let shared = || (batch.clone(), Arc::clone(resource), Arc::clone(stats));
    if config.traces.console {
        sinks.spans.push(Box::new(ConsoleSink::spans(batch, Arc::clone(stats))));
    }
    if let Some(endpoint) = &config.traces.otlp {
        let (batch, resource, stats) = shared();
        sinks.spans.push(span_sink(endpoint.clone(), batch, resource, stats));
    }
    if config.events != Events::Span {
        if config.logs.console {
            sinks.logs.push(Box::new(ConsoleSink::logs(batch, Arc::clone(stats))));
        }
        if let Some(endpoint) = &config.logs.otlp {
            let (batch, resource, stats) = shared();
            sinks.logs.push(Box::new(OtlpSink::logs(endpoint.clone(), batch, resource, stats)));
        }
    }
    if config.metrics.otlp.is_some() || config.metrics.console {
        let (_, resource, stats) = shared();
        let (endpoint, console) = (config.metrics.otlp.clone(), config.metrics.console);
        let interval = config.interval.clone();
        let plan = metrics::Plan { endpoint, console, interval, resource, metrics, stats, source };
        sinks.metrics_exporter = Some(metrics::Exporter::new(plan));
    }
    sinks
}

fn exporters(config: &Config) -> Exporters {
    let of = |endpoint: Option<&Endpoint>, signal: &str| {
        let mut attributes = Attributes::new();
        attributes.text(metric::COMPONENT_NAME, SCOPE_NAME);
        if let Some(endpoint) = endpoint {
            let protocol = match endpoint.protocol {
                Protocol::Grpc => "grpc",
                Protocol::HttpProtobuf => "http",
            };
            attributes.text(metric::COMPONENT_TYPE, format!("otlp_{protocol}_{signal}_exporter"));
            attributes.text(metric::SERVER_ADDRESS, endpoint.uri.host().unwrap_or_default().to_owned());
            if let Some(port) = endpoint.uri.port_u16() {
                attributes.int(metric::SERVER_PORT, i64::from(port));
            }
        }
        attributes
    };
    Exporters { spans: of(config.traces.otlp.as_ref(), "span"), logs: of(config.logs.otlp.as_ref(), "log") }
}

/// The program's own exporter, if it has given us one, else the collector that the variables name.
fn span_sink(endpoint: Endpoint, batch: Batch, resource: Arc<SharedResource>, stats: Arc<Stats>) -> Box<dyn Sink> {
    #[cfg(feature = "sdk")]
    if let Some(through) = through::chosen() {
        return Box::new(crate::export::sdk::SdkSink::new(through, batch, stats));
    }
    Box::new(OtlpSink::spans(endpoint, batch, resource, stats))
}

#[cfg(all(test, jitspan_loom))]
mod model;
