//! A monitor from its configuration: the sinks that it sends to, and what it counts in.

use std::sync::Arc;

use crate::board::Board;
use crate::clock::{Source, System};
use crate::config::{Batch, Config, Endpoint, Events, Protocol};
use crate::export::Sink;
use crate::export::console::ConsoleSink;
use crate::export::otlp::{OtlpSink, metrics};
use crate::export::resource::SharedResource;
use crate::export::sinks::Sinks;
use crate::metrics::{Exporters, Metrics};
use crate::model::attribute::Attributes;
use crate::monitor::Monitor;
use crate::semconv::{SCOPE_NAME, metric};
use crate::stats::Stats;

/// What all monitors of a process have in common.
#[derive(Clone)]
pub struct Common {
    pub stats: Arc<Stats>,
    metrics: Arc<Metrics>,
    /// `service.instance.id`, unless somebody else says another one.
    pub instance: Arc<str>,
    /// What compiles now, and what has compiled last.
    pub board: Arc<Board>,
}

impl Common {
    /// Of a process, or of a monitor, that has none yet.
    pub fn new(config: &Config, board: Board) -> Self {
        Common {
            stats: Arc::default(),
            metrics: Arc::new(Metrics::new(System.now()).with_exporters(exporters(config))),
            instance: crate::clock::uuid().into(),
            board: Arc::new(board),
        }
    }

    /// A monitor that counts there, armed.
    pub fn monitor(&self, config: Arc<Config>, resource: &Arc<SharedResource>) -> Monitor {
        let sinks = sinks(&config, resource, self);
        let monitor = Monitor::new(config, Arc::new(System), sinks, Arc::clone(&self.stats));
        monitor.with_board(Arc::clone(&self.board))
    }
}

impl Monitor {
    /// A monitor that is not the process's: it counts for itself, hooks never find it, and it does not live through a
    /// `fork`. It is armed. Shut it down before it is dropped; what waits in it is lost otherwise. Metrics are sent from
    /// [`send_metrics`](Self::send_metrics) on.
    ///
    /// With feature `sdk`, an exporter that the program has given ([`export_through`]) takes its spans as well.
    ///
    /// ```
    /// use std::time::Duration;
    /// use jitspan::{CompileEvent, Config, Kernel, Kind, Monitor, Settings};
    ///
    /// // (`Config::from_environment` reads this process's variables.)
    /// let variables = |name: &str| (name == "OTEL_TRACES_EXPORTER").then(|| "console".to_owned());
    /// let monitor = Monitor::from_config(Config::resolve(&Settings::default(), &variables)?);
    ///
    /// let mut event = CompileEvent::new(Kind::Compile, "nvrtc", Kernel::named("saxpy"));
    /// event.duration = Duration::from_millis(180);
    /// monitor.record(event)?;
    ///
    /// assert!(monitor.shutdown(Duration::from_secs(5)));
    /// let counted = monitor.stats().snapshot();
    /// assert_eq!((counted["events.compile"], counted["spans.exported"]), (1, 1));
    /// assert!(jitspan::monitor().is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// [`export_through`]: https://docs.rs/jitspan
    pub fn from_config(config: Config) -> Self {
        let common = Common::new(&config, Board::default());
        let resource = SharedResource::of(config.resource.clone(), Arc::clone(&common.instance));
        resource.adopt(&[]);
        common.monitor(Arc::new(config), &Arc::new(resource))
    }
}

fn sinks(config: &Config, resource: &Arc<SharedResource>, common: &Common) -> Sinks {
    let (stats, metrics) = (&common.stats, Arc::clone(&common.metrics));
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
        let (interval, source) = (config.interval.clone(), Arc::new(System));
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
    if let Some(through) = super::through::chosen() {
        return Box::new(crate::export::sdk::SdkSink::new(through, batch, stats));
    }
    Box::new(OtlpSink::spans(endpoint, batch, resource, stats))
}
