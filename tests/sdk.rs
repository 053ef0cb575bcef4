//! Through a program's own exporter: what opentelemetry-otlp sends, and what becomes of spans when an exporter fails in
//! every way it can. Each test closes with the books.

mod collector;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use collector::{Collector, Say, batch, names, span};
use jitspan::config::Batch;
use jitspan::export::Sink;
use jitspan::export::sdk::{SdkSink, Through};
use jitspan::model::attribute::Attributes;
use jitspan::model::span::Span;
use jitspan::stats::{Ledger, Stats};
use opentelemetry::Context;
use opentelemetry_otlp::{ExporterBuildError, Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SpanData, SpanExporter as Exporter};
use prost::Message;
use tonic::metadata::MetadataMap;

const SOON: Duration = Duration::from_secs(20);

/// A sink over what this factory makes, and its books.
struct Program {
    sink: Arc<SdkSink>,
    stats: Arc<Stats>,
}

impl Program {
    fn new<E: Exporter + 'static>(factory: impl Fn() -> Result<E, String> + Send + Sync + 'static) -> Self {
        Self::batched(batch(), factory)
    }

    fn batched<E: Exporter + 'static>(
        batch: Batch,
        factory: impl Fn() -> Result<E, String> + Send + Sync + 'static,
    ) -> Self {
        let resource = Resource::builder_empty().with_service_name("host").build();
        let through = Box::leak(Box::new(Through::new(resource, factory)));
        let stats = Arc::new(Stats::default());
        Program { sink: Arc::new(SdkSink::new(through, batch, Arc::clone(&stats))), stats }
    }

    fn to(collector: &Collector) -> Self {
        let endpoint = format!("http://{}", collector.address);
        Self::new(move || over_grpc(&endpoint).map_err(|error| error.to_string()))
    }

    fn send(&self, name: &str) {
        self.sink.export(vec![span(name)]);
    }

    /// False: not within `timeout`.
    async fn flush(&self, timeout: Duration) -> bool {
        let (flushing, deadline) = (self.sink.flush(), Instant::now() + timeout);
        tokio::task::spawn_blocking(move || flushing.wait(deadline)).await.unwrap()
    }

    async fn shutdown(&self, timeout: Duration) -> bool {
        let (flushing, deadline) = (self.sink.shutdown(), Instant::now() + timeout);
        let flushed = tokio::task::spawn_blocking(move || flushing.wait(deadline)).await.unwrap();
        if !flushed {
            self.sink.abandon();
        }
        flushed
    }

    fn get(&self, name: &str) -> u64 {
        self.stats.snapshot().get(name).copied().unwrap_or_default()
    }

    /// Exported, unreachable, queued; and recorded is the sum of all.
    fn books(&self) -> (u64, u64, u64) {
        let ledger = Ledger::SPANS;
        let dropped: u64 = ledger.dropped().iter().map(|(_, counter)| self.stats.get(*counter)).sum();
        let (recorded, exported) = (self.stats.get(ledger.recorded), self.stats.get(ledger.exported));
        let queued = self.sink.queued() as u64;
        assert_eq!(recorded, exported + dropped + queued, "{:?}, queued {queued}", self.stats.snapshot());
        (exported, self.stats.get(ledger.unreachable), queued)
    }
}

fn over_grpc(endpoint: &str) -> Result<SpanExporter, ExporterBuildError> {
    let token = MetadataMap::from_headers([("x-token".parse().unwrap(), "t".parse().unwrap())].into_iter().collect());
    let retry = RetryPolicy::default().with_max_retries(2).with_initial_delay(Duration::from_millis(10));
    let builder = SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_metadata(token);
    builder.with_retry_policy(retry).build()
}

/// Does what it was told to with each batch, the last thing from then on.
#[derive(Debug, Clone)]
struct Told {
    acts: Arc<[Act]>,
    at: Arc<AtomicUsize>,
    taken: InMemorySpanExporter,
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Take,
    Fail,
    Panic,
    /// For good, but lets others run.
    Wait,
    /// Keeps the thread for so many milliseconds.
    Block(u64),
    SayShutdown,
}

impl Told {
    fn to(acts: &[Act]) -> Self {
        Told { acts: acts.into(), at: Arc::default(), taken: InMemorySpanExporter::default() }
    }

    fn taken(&self) -> Vec<String> {
        self.taken.get_finished_spans().unwrap().into_iter().map(|span| span.name.into_owned()).collect()
    }
}

impl Exporter for Told {
    async fn export(&self, spans: Vec<SpanData>) -> OTelSdkResult {
        let at = self.at.fetch_add(1, Ordering::SeqCst);
        match self.acts.get(at).or(self.acts.last()).unwrap() {
            Act::Take => return self.taken.export(spans).await,
            Act::Fail => return Err(OTelSdkError::InternalFailure("failed for a test".into())),
            Act::Panic => panic!("panicked for a test"),
            Act::Wait => std::future::pending().await,
            Act::Block(milliseconds) => std::thread::sleep(Duration::from_millis(*milliseconds)),
            Act::SayShutdown => return Err(OTelSdkError::AlreadyShutdown),
        }
        self.taken.export(spans).await
    }
}

fn told(acts: &[Act], batch: Batch) -> (Program, Told, Arc<AtomicUsize>) {
    let (exporter, made) = (Told::to(acts), Arc::new(AtomicUsize::new(0)));
    let (template, count) = (exporter.clone(), Arc::clone(&made));
    let program = Program::batched(batch, move || {
        count.fetch_add(1, Ordering::SeqCst);
        Ok(template.clone())
    });
    (program, exporter, made)
}

#[tokio::test]
async fn opentelemetry_otlp_sends_our_spans_under_the_programs_resource() {
    let collector = Collector::start().await;
    let program = Program::to(&collector);
    program.send("a");
    assert!(program.flush(SOON).await);
    let [message] = &collector.messages()[..] else { panic!("one message") };
    let resource = &message.resource_spans[0];
    let attributes = &resource.resource.as_ref().unwrap().attributes;
    assert_eq!(attributes.iter().map(|pair| &*pair.key).collect::<Vec<_>>(), ["service.name"]);
    assert_eq!(resource.scope_spans[0].scope.as_ref().unwrap().name, "jitspan");
    assert_eq!(names(message), ["a"]);
    assert_eq!(program.books(), (1, 0, 0));
}

/// As in the SDK's batch processor: what the exporter's client says is not to become spans of the program.
#[tokio::test]
async fn what_an_exporter_does_makes_no_telemetry() {
    #[derive(Debug, Clone, Default)]
    struct Asking(Arc<AtomicUsize>);

    impl Exporter for Asking {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            let is_suppressed = || async { Context::is_current_telemetry_suppressed() };
            let both = is_suppressed().await && tokio::spawn(is_suppressed()).await.unwrap();
            self.0.fetch_add(usize::from(both), Ordering::SeqCst);
            Ok(())
        }
    }

    let asking = Asking::default();
    let template = asking.clone();
    let program = Program::new(move || Ok(template.clone()));
    program.send("a");
    assert!(program.flush(SOON).await);
    assert_eq!(asking.0.load(Ordering::SeqCst), 1);
}

/// The default client of opentelemetry-otlp blocks, and refuses to where a runtime is running.
#[tokio::test]
async fn the_blocking_http_client_is_as_good() {
    let collector = Collector::start().await;
    let endpoint = format!("http://{}/v1/traces", collector.address);
    let program = Program::new(move || {
        let builder = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary);
        builder.with_endpoint(&endpoint).build().map_err(|error| error.to_string())
    });
    for name in ["a", "b"] {
        program.send(name);
        assert!(program.flush(SOON).await);
    }
    assert_eq!((collector.taken(), program.stats.export_error()), (vec!["a".to_owned(), "b".to_owned()], None));
    assert!(program.shutdown(SOON).await);
    assert_eq!(program.books(), (2, 0, 0));
}

#[tokio::test]
async fn a_batch_is_tried_again_as_the_exporter_says_and_then_counted() {
    let collector = Collector::start().await;
    collector.answer_next([Say::Unavailable, Say::Unavailable]);
    let program = Program::to(&collector);
    program.send("a");
    assert!(program.flush(SOON).await);
    assert_eq!((collector.messages().len(), program.books()), (3, (1, 0, 0)));
    collector.answer(Say::Unavailable);
    program.send("b");
    assert!(program.flush(SOON).await);
    assert_eq!((collector.messages().len(), program.books()), (6, (1, 1, 0)));
    let reason = program.stats.export_error().unwrap();
    assert!(reason.contains("Unavailable"), "{reason}");
}

/// The exporter logs it. This is what differs from our own transport, as the documentation says.
#[tokio::test]
async fn what_a_partial_success_leaves_out_is_not_told_to_us() {
    let collector = Collector::start().await;
    collector.answer(Say::Partial(1));
    let program = Program::to(&collector);
    program.send("a");
    assert!(program.flush(SOON).await);
    assert_eq!(program.books(), (1, 0, 0));
}

#[tokio::test]
async fn a_batch_holds_as_many_as_our_settings_say_and_never_more_than_a_collector_takes() {
    let collector = Collector::start().await;
    let endpoint = format!("http://{}", collector.address);
    let few = Batch { size: 100, delay: Duration::from_secs(60), ..batch() };
    let program = Program::batched(few, move || over_grpc(&endpoint).map_err(|error| error.to_string()));
    program.sink.export((0..250).map(|number| span(&number.to_string())).collect());
    assert!(program.flush(SOON).await);
    let counts = collector.messages().iter().map(|message| names(message).len()).collect::<Vec<_>>();
    assert_eq!(counts, [100, 100, 50]);

    let collector = Collector::start().await;
    let program = Program::to(&collector);
    let large = |name: String| {
        let mut attributes = Attributes::new();
        attributes.text("jit.signature", "x".repeat(20_000));
        Span { attributes, ..span(&name) }
    };
    // Under the queue's 8 MiB, and over one message of 4.
    program.sink.export((0..350).map(|number| large(number.to_string())).collect());
    assert!(program.flush(SOON).await, "{:?}", program.stats.export_error());
    let sizes: Vec<usize> = collector.messages().iter().map(Message::encoded_len).collect();
    assert!(sizes.len() >= 2 && sizes.iter().all(|size| *size < 4 * 1024 * 1024), "{sizes:?}");
    assert_eq!(program.books(), (350, 0, 0));
}

#[tokio::test]
async fn a_span_waits_for_others_as_long_as_our_settings_say() {
    let (program, exporter, _) = told(&[Act::Take], Batch { delay: Duration::from_millis(300), ..batch() });
    let began = Instant::now();
    program.send("a");
    program.send("b");
    while exporter.taken().is_empty() && began.elapsed() < SOON {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_eq!((exporter.taken().len(), exporter.at.load(Ordering::SeqCst)), (2, 1));
}

#[tokio::test]
async fn what_does_not_fit_is_dropped_and_counted() {
    let (program, ..) = told(&[Act::Take], Batch { queue: 50, delay: Duration::from_secs(60), ..batch() });
    program.sink.export((0..80).map(|number| span(&number.to_string())).collect());
    assert_eq!(program.get("spans.dropped.queue_full"), 30);
    let mut attributes = Attributes::new();
    attributes.text("jit.signature", "x".repeat(5 * 1024 * 1024));
    program.sink.export(vec![Span { attributes, ..span("large") }]);
    assert_eq!(program.get("spans.dropped.too_large"), 1);
    assert!(program.shutdown(SOON).await);
    assert_eq!(program.books(), (50, 0, 0));
    program.send("late");
    assert_eq!(program.get("spans.dropped.shutdown"), 1);
    program.books();
}

#[tokio::test]
async fn a_factory_that_fails_or_panics_is_asked_again_with_the_next_batch() {
    let (exporter, asked) = (Told::to(&[Act::Take]), Arc::new(AtomicUsize::new(0)));
    let (template, count) = (exporter.clone(), Arc::clone(&asked));
    let program = Program::new(move || match count.fetch_add(1, Ordering::SeqCst) {
        0 => Err("no such file: token".to_owned()),
        1 => panic!("panicked for a test"),
        _ => Ok(template.clone()),
    });
    for name in ["a", "b", "c", "d"] {
        program.send(name);
        assert!(program.flush(SOON).await);
    }
    assert_eq!((exporter.taken(), asked.load(Ordering::SeqCst)), (vec!["c".to_owned(), "d".to_owned()], 3));
    assert_eq!((program.get("faults.export.factory"), program.get("faults.export.panic")), (1, 1));
    assert_eq!(program.books(), (2, 2, 0));
}

#[tokio::test]
async fn an_exporter_that_fails_is_kept_and_one_that_panics_or_has_ended_is_made_again() {
    let (program, exporter, made) = told(&[Act::Fail, Act::Panic, Act::SayShutdown, Act::Take], batch());
    let mut exporters = Vec::new();
    for name in ["a", "b", "c", "d"] {
        program.send(name);
        assert!(program.flush(SOON).await);
        exporters.push(made.load(Ordering::SeqCst));
    }
    assert_eq!((exporter.taken(), exporters), (vec!["d".to_owned()], vec![1, 1, 2, 3]));
    assert_eq!(program.books(), (1, 3, 0));
}

#[tokio::test]
async fn an_exporter_that_never_answers_is_given_up_in_time_and_asked_again() {
    let short = Batch { timeout: Duration::from_millis(300), ..batch() };
    let (program, exporter, _) = told(&[Act::Wait, Act::Take], short);
    program.send("lost");
    assert!(program.flush(SOON).await);
    program.send("sent");
    assert!(program.flush(SOON).await);
    assert_eq!((exporter.taken(), program.books()), (vec!["sent".to_owned()], (1, 1, 0)));
}

#[tokio::test]
async fn no_flush_and_no_shutdown_waits_longer_than_its_deadline() {
    for act in [Act::Wait, Act::Block(10_000)] {
        let (program, ..) = told(&[act], batch());
        program.send("a");
        let began = Instant::now();
        assert!(!program.flush(Duration::from_millis(200)).await);
        assert!(!program.shutdown(Duration::from_millis(200)).await);
        assert!(began.elapsed() < Duration::from_secs(5), "{act:?}");
        assert_eq!(program.get("spans.dropped.shutdown"), 1, "{act:?}");
        program.books();
    }
}

#[tokio::test]
async fn an_exporter_that_blocks_its_thread_loses_that_thread_and_not_ours() {
    // It may take no time, and is given up 5 s later.
    let short = Batch { timeout: Duration::ZERO, ..batch() };
    let (program, exporter, made) = told(&[Act::Block(60_000), Act::Take], short);
    program.send("lost");
    tokio::time::sleep(Duration::from_millis(5_500)).await;
    program.send("sent");
    assert!(program.flush(SOON).await);
    assert_eq!((exporter.taken(), made.load(Ordering::SeqCst)), (vec!["sent".to_owned()], 2));
    assert_eq!((program.get("faults.export.stuck"), program.books()), (1, (1, 1, 0)));
}

#[tokio::test]
async fn a_flush_in_a_storm_is_answered_when_what_came_before_it_is_settled() {
    let (program, ..) = told(&[Act::Block(20)], Batch { size: 10, queue: 100_000, ..batch() });
    let (sink, go_on) = (Arc::clone(&program.sink), Arc::new(AtomicUsize::new(1)));
    let storm = std::thread::spawn({
        let go_on = Arc::clone(&go_on);
        move || {
            while go_on.load(Ordering::SeqCst) == 1 {
                sink.export(vec![span("storm")]);
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(program.flush(SOON).await);
    assert!(program.sink.queued() > 0);
    go_on.store(0, Ordering::SeqCst);
    storm.join().unwrap();
    program.shutdown(Duration::from_millis(100)).await;
    program.books();
}
