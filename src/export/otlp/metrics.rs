//! Metrics, at intervals, cumulative. Each message tells all that the one before it did, so nothing is queued, and a
//! message that was lost is made good by the next.
//!
//! Cumulative alone: a Collector that turns deltas into sums keeps the first exemplar for ever.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1 as proto;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::encode;
use super::transport::Transport;
use crate::clock::Source;
use crate::config::{Endpoint, Interval, Signal};
use crate::export::Flushing;
use crate::export::answer::Answer;
use crate::export::backoff::Backoff;
use crate::export::console;
use crate::export::resource::SharedResource;
use crate::export::thread::{Thread, Work};
use crate::metrics::{BOUNDS, Data, Histogram, Metric, Metrics, Snapshot};
use crate::model::attribute::Attributes;
use crate::model::event::UnixNanos;
use crate::process::concurrency::{SyncSender, sync_channel};
use crate::process::output;
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
    thread: Thread<Command>,
}

enum Command {
    /// Export at intervals, from now on.
    Start,
    /// Export once more, and then not until told to.
    Pause,
    /// Export, and answer.
    Flush(SyncSender<()>),
    /// The same, and end.
    Shutdown(SyncSender<()>),
}

impl Exporter {
    /// Nothing is opened and nothing is started yet.
    pub fn new(plan: Plan) -> Self {
        Exporter { plan, thread: Thread::new() }
    }

    /// Sends at once, so that the series are there with 0 before the first compile, and from then on at intervals.
    ///
    /// This is the one thread that there is before something compiled. It is started when warm-up is over: a server
    /// forks its workers before that, and a fork that comes later finds nothing of it in the child but a generation
    /// that has changed.
    pub fn start(&self) {
        let make = |commands| Some(Worker::new(commands, self.plan.clone()));
        match self.thread.started("jitspan-metrics", make) {
            // A thread that has ended has a collector that does not take metrics.
            Ok(Some(sender)) => drop(sender.send(Command::Start)),
            Ok(None) => {}
            Err(_) => drop(self.plan.stats.fault("metrics.thread")),
        }
    }

    /// Sends what is known now, and then nothing until [`start`](Self::start). Waits for nothing.
    pub fn pause(&self) {
        if let Some(sender) = self.thread.running() {
            let _ = sender.send(Command::Pause);
        }
    }

    /// Sends what is known now.
    pub fn flush(&self) -> Flushing {
        self.thread.running().map_or_else(Flushing::done, |sender| ask(&sender, Command::Flush))
    }

    /// The same, and ends the thread, which is not started again.
    pub fn shutdown(&self) -> Flushing {
        self.thread.close().map_or_else(Flushing::done, |sender| ask(&sender, Command::Shutdown))
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
    /// When to export next, unless told to before. None: not at all.
    next: Option<Instant>,
    /// Whether the collector has all that is known, for nothing can be added while we are paused.
    is_told: bool,
    paused: bool,
    ending: bool,
    waiting: Vec<SyncSender<()>>,
}

impl Work for Worker {
    async fn work(&mut self) {
        loop {
            if !self.wait().await {
                return;
            }
            let goes_on = !self.is_due() || self.export().await;
            self.answer_waiting();
            if !goes_on || self.ending {
                return self.answer_the_rest();
            }
        }
    }

    fn recover(&mut self, panic: &str) {
        self.plan.stats.fault("metrics.panic");
        self.plan.stats.note_export_error(&format!("a fault of jitspan's own: {panic}"));
        self.plan.stats.add(Counter::MetricsFailed, 1);
        if let Some(transport) = &mut self.transport {
            transport.reset();
        }
        self.answer_waiting();
        self.again_in(self.plan.interval.every);
    }
}

impl Worker {
    fn new(commands: mpsc::UnboundedReceiver<Command>, plan: Plan) -> Self {
        let timeout = plan.interval.timeout;
        let transport = plan.endpoint.clone().map(|endpoint| Transport::new(endpoint, Signal::Metrics, timeout));
        Worker {
            commands,
            transport,
            backoff: Backoff::up_to(plan.interval.every),
            plan,
            next: None,
            is_told: false,
            paused: true,
            ending: false,
            waiting: Vec::new(),
        }
    }

    /// Until there is something to do. False: nobody is there any more.
    async fn wait(&mut self) -> bool {
        let told = match self.next {
            Some(next) => match tokio::time::timeout_at(next, self.commands.recv()).await {
                Ok(told) => told,
                Err(_) => return true,
            },
            None => self.commands.recv().await,
        };
        let Some(command) = told else { return false };
        self.take(command);
        while let Ok(command) = self.commands.try_recv() {
            self.take(command);
        }
        true
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Start => (self.paused, self.is_told) = (false, false),
            Command::Pause => (self.paused, self.is_told) = (true, false),
            Command::Flush(done) => self.waiting.push(done),
            Command::Shutdown(done) => {
                self.waiting.push(done);
                self.ending = true;
            }
        }
    }

    fn is_due(&self) -> bool {
        !(self.paused && self.is_told)
    }

    fn answer_waiting(&mut self) {
        for done in self.waiting.drain(..) {
            let _ = done.try_send(());
        }
    }

    fn answer_the_rest(&mut self) {
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            self.take(command);
        }
        self.answer_waiting();
    }

    fn again_in(&mut self, wait: Duration) {
        self.next = (!self.paused).then(|| Instant::now() + wait);
    }

    /// Sends once, and says when to do it again. False: never.
    async fn export(&mut self) -> bool {
        let stats = &self.plan.stats;
        let snapshot = self.plan.metrics.snapshot(stats);
        let every = self.plan.interval.every;
        if self.plan.console {
            write(&snapshot);
        }
        let Some(transport) = &mut self.transport else {
            self.plan.metrics.forget_exemplars();
            self.is_told = true;
            self.again_in(every);
            return self.plan.console;
        };
        let message = encode_snapshot(&snapshot, &self.plan.resource.encoded(), self.plan.source.now());
        let answer = transport.send(&message).await;
        let (counter, wait) = match &answer {
            Answer::Taken { .. } => {
                self.plan.metrics.forget_exemplars();
                self.backoff = Backoff::up_to(every);
                (Counter::MetricsExported, every)
            }
            Answer::Later { after, .. } => (Counter::MetricsFailed, self.backoff.next(*after).min(every)),
            Answer::Refused { .. } => (Counter::MetricsFailed, every),
            // A collector without a pipeline for metrics says so once, and is asked once.
            Answer::Unsupported { .. } => {
                self.transport = None;
                (Counter::MetricsFailed, every)
            }
        };
        self.is_told = matches!(answer, Answer::Taken { .. });
        let (Answer::Taken { message, .. }
        | Answer::Later { message, .. }
        | Answer::Refused { message }
        | Answer::Unsupported { message }) = answer;
        if !message.is_empty() || !self.is_told {
            stats.note_export_error(&message);
        }
        stats.add(counter, 1);
        self.again_in(wait);
        self.transport.is_some() || self.plan.console
    }
}

fn write(snapshot: &Snapshot) {
    for metric in &snapshot.metrics {
        let _ = console::line(metric).and_then(|line| output::write(&line));
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
