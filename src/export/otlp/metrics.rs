//! Metrics, at intervals, cumulative. Each message tells all that the one before it did, so nothing is queued, and a
//! message that was lost is made good by the next.
//!
//! Cumulative alone: a Collector that turns deltas into sums keeps the first exemplar for ever.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1 as proto;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use tokio::sync::mpsc;

use super::answer::Answer;
use super::backoff::Backoff;
use super::encode;
use super::transport::Transport;
use super::{Runtime, spawn};
use crate::clock::Source;
use crate::config::{Endpoint, Interval, Signal};
use crate::export::Flushing;
use crate::export::resource::SharedResource;
use crate::metrics::{BOUNDS, Data, Histogram, Metric, Metrics, Snapshot};
use crate::model::attribute::Attributes;
use crate::model::event::UnixNanos;
use crate::process::concurrency::{SyncSender, sync_channel};
use crate::process::lock::Mutex;
use crate::semconv::SCHEMA_URL;
use crate::stats::{Counter, Stats};

/// What the exporter needs.
#[derive(Clone)]
pub struct Plan {
    /// To which collector.
    pub endpoint: Option<Endpoint>,
    /// To standard output, as one JSON object a line.
    pub console: bool,
    /// How often, and how long one export may take.
    pub interval: Interval,
    /// Who we are.
    pub resource: Arc<SharedResource>,
    /// What is told.
    pub metrics: Arc<Metrics>,
    /// What is told of ourselves.
    pub stats: Arc<Stats>,
    /// The time.
    pub source: Arc<dyn Source>,
}

/// Sends metrics to a collector.
pub struct Exporter {
    plan: Plan,
    thread: Mutex<Thread>,
}

enum Thread {
    NotStarted,
    Running(mpsc::UnboundedSender<Command>),
    Closed,
}

enum Command {
    Flush(SyncSender<()>),
    Shutdown(SyncSender<()>),
}

impl Exporter {
    /// Nothing is opened and nothing is started yet.
    pub fn new(plan: Plan) -> Self {
        Exporter { plan, thread: Mutex::new(Thread::NotStarted) }
    }

    /// Sends at once, so that the series are there with 0 before the first compile, and from then on at intervals.
    ///
    /// This is the one thread that there is before something compiled. It is started when warm-up is over: a server
    /// forks its workers before that, and a fork that comes later finds nothing of it in the child but a generation
    /// that has changed.
    pub fn start(&self) {
        let mut thread = self.thread.lock();
        if let Thread::NotStarted = *thread {
            let (sender, commands) = mpsc::unbounded_channel();
            let timeout = self.plan.interval.timeout;
            let endpoint = self.plan.endpoint.clone();
            let worker = Worker {
                commands,
                transport: endpoint.map(|endpoint| Transport::new(endpoint, Signal::Metrics, timeout)),
                plan: self.plan.clone(),
                backoff: Backoff::up_to(self.plan.interval.every),
            };
            *thread = match spawn("jitspan-metrics", move |runtime| worker.run(runtime)) {
                Ok(()) => Thread::Running(sender),
                Err(_) => {
                    self.plan.stats.fault("metrics.thread");
                    Thread::Closed
                }
            };
        }
    }

    /// Sends what is known now.
    pub fn flush(&self) -> Flushing {
        match &*self.thread.lock() {
            Thread::Running(sender) => ask(sender, Command::Flush),
            Thread::NotStarted | Thread::Closed => Flushing::done(),
        }
    }

    /// The same, and ends the thread, which is not started again.
    pub fn shutdown(&self) -> Flushing {
        match std::mem::replace(&mut *self.thread.lock(), Thread::Closed) {
            Thread::Running(sender) => ask(&sender, Command::Shutdown),
            Thread::NotStarted | Thread::Closed => Flushing::done(),
        }
    }
}

fn ask(sender: &mpsc::UnboundedSender<Command>, command: impl FnOnce(SyncSender<()>) -> Command) -> Flushing {
    let (done, wait) = sync_channel(1);
    match sender.send(command(done)) {
        Ok(()) => Flushing::until(wait),
        // The collector does not take metrics, and the thread has ended: there is nothing to wait for.
        Err(_) => Flushing::done(),
    }
}

struct Worker {
    commands: mpsc::UnboundedReceiver<Command>,
    transport: Option<Transport>,
    plan: Plan,
    backoff: Backoff,
}

impl Worker {
    fn run(mut self, runtime: &Runtime) {
        runtime.block_on(self.work());
    }

    async fn work(&mut self) {
        let mut waiting: Option<SyncSender<()>> = None;
        let mut ending = false;
        loop {
            let next = self.export().await;
            if let Some(done) = waiting.take() {
                let _ = done.try_send(());
            }
            let Some(wait) = next.filter(|_| !ending) else { return self.answer_the_rest() };
            match tokio::time::timeout(wait, self.commands.recv()).await {
                Err(_) => {}
                Ok(None) => return,
                Ok(Some(Command::Flush(done))) => waiting = Some(done),
                Ok(Some(Command::Shutdown(done))) => (waiting, ending) = (Some(done), true),
            }
        }
    }

    fn answer_the_rest(&mut self) {
        self.commands.close();
        while let Ok(Command::Flush(done) | Command::Shutdown(done)) = self.commands.try_recv() {
            let _ = done.try_send(());
        }
    }

    /// Sends once. Returns when to do it again; None: never.
    async fn export(&mut self) -> Option<Duration> {
        let stats = &self.plan.stats;
        let snapshot = self.plan.metrics.snapshot(stats);
        let every = self.plan.interval.every;
        if self.plan.console {
            write(&snapshot);
        }
        let Some(transport) = &mut self.transport else {
            self.plan.metrics.forget_exemplars();
            return Some(every);
        };
        let message = encode_snapshot(&snapshot, &self.plan.resource.encoded(), self.plan.source.now());
        match transport.send(&message).await {
            Answer::Taken { message, .. } => {
                if !message.is_empty() {
                    stats.note_export_error(&message);
                }
                stats.add(Counter::MetricsExported, 1);
                self.plan.metrics.forget_exemplars();
                self.backoff = Backoff::up_to(every);
                Some(every)
            }
            Answer::Later { after, message } => {
                stats.note_export_error(&message);
                stats.add(Counter::MetricsFailed, 1);
                Some(self.backoff.next(after).min(every))
            }
            Answer::Refused { message } => {
                stats.note_export_error(&message);
                stats.add(Counter::MetricsFailed, 1);
                Some(every)
            }
            // A collector without a pipeline for metrics says so once, and is asked once.
            Answer::Unsupported { message } => {
                stats.note_export_error(&message);
                stats.add(Counter::MetricsFailed, 1);
                self.transport = None;
                self.plan.console.then_some(every)
            }
        }
    }
}

fn write(snapshot: &Snapshot) {
    let mut output = std::io::stdout().lock();
    for metric in &snapshot.metrics {
        if let Ok(line) = serde_json::to_string(metric) {
            let _ = writeln!(output, "{line}");
        }
    }
}

fn encode_snapshot(snapshot: &Snapshot, resource: &[u8], now: UnixNanos) -> Bytes {
    let metrics = snapshot.metrics.iter().map(|metric| encode_metric(metric, snapshot.started, now)).collect();
    let scope_metrics =
        proto::ScopeMetrics { scope: Some(encode::scope()), metrics, schema_url: SCHEMA_URL.to_owned() };
    let resource_metrics = proto::ResourceMetrics {
        // It was encoded by us.
        resource: Resource::decode(resource).ok(),
        scope_metrics: vec![scope_metrics],
        schema_url: String::new(),
    };
    ExportMetricsServiceRequest { resource_metrics: vec![resource_metrics] }.encode_to_vec().into()
}

fn encode_metric(metric: &Metric, started: UnixNanos, now: UnixNanos) -> proto::Metric {
    let temporality = proto::AggregationTemporality::Cumulative as i32;
    let number = |attributes: &Attributes, value| proto::NumberDataPoint {
        attributes: encode::attributes(attributes),
        start_time_unix_nano: started,
        time_unix_nano: now,
        value: Some(value),
        ..Default::default()
    };
    let sum = |is_monotonic, data_points| {
        let sum = proto::Sum { data_points, aggregation_temporality: temporality, is_monotonic };
        proto::metric::Data::Sum(sum)
    };
    let whole = |series: &[(Attributes, u64)]| {
        let value = |count: &u64| proto::number_data_point::Value::AsInt(i64::try_from(*count).unwrap_or(i64::MAX));
        series.iter().map(|(attributes, count)| number(attributes, value(count))).collect()
    };
    let data = match &metric.data {
        Data::Count(series) => sum(true, whole(series)),
        Data::UpDown(series) => sum(false, whole(series)),
        Data::Time(series) => sum(
            true,
            series
                .iter()
                .map(|(attributes, seconds)| number(attributes, proto::number_data_point::Value::AsDouble(*seconds)))
                .collect(),
        ),
        Data::Histogram(series) => proto::metric::Data::Histogram(proto::Histogram {
            data_points: series
                .iter()
                .map(|(attributes, histogram)| proto::HistogramDataPoint {
                    attributes: encode::attributes(attributes),
                    ..encode_histogram(histogram, started, now)
                })
                .collect(),
            aggregation_temporality: temporality,
        }),
    };
    proto::Metric {
        name: metric.name.to_owned(),
        description: metric.description.to_owned(),
        unit: metric.unit.to_owned(),
        metadata: Vec::new(),
        data: Some(data),
    }
}

fn encode_histogram(histogram: &Histogram, started: UnixNanos, now: UnixNanos) -> proto::HistogramDataPoint {
    let exemplars = histogram.exemplars().map(|exemplar| proto::Exemplar {
        time_unix_nano: exemplar.time,
        trace_id: exemplar.trace_id.to_bytes().to_vec(),
        span_id: exemplar.span_id.to_bytes().to_vec(),
        value: Some(proto::exemplar::Value::AsDouble(exemplar.seconds)),
        ..Default::default()
    });
    proto::HistogramDataPoint {
        start_time_unix_nano: started,
        time_unix_nano: now,
        count: histogram.count(),
        sum: Some(histogram.sum),
        bucket_counts: histogram.counts.to_vec(),
        explicit_bounds: BOUNDS.to_vec(),
        exemplars: exemplars.collect(),
        min: histogram.range.map(|(least, _)| least),
        max: histogram.range.map(|(_, most)| most),
        ..Default::default()
    }
}
