//! Forked children deliver through the program's own exporter, whatever its threads were doing at the fork: the parent
//! records, exports and writes log lines meanwhile. One test, alone in its process.

mod collector;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use collector::{Collector, names};
use jitspan::{CompileEvent, Config, Kernel, Kind, Settings};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_sdk::Resource;
use tracing::Subscriber;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Writes lines as a real layer does: behind one lock, which is held for a while.
struct Lines(&'static Mutex<usize>);

static LINES: Mutex<usize> = Mutex::new(0);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "jitspan" {
            let mut lines = self.0.lock().unwrap();
            *lines += 1;
            std::thread::sleep(Duration::from_micros(500));
        }
    }
}

fn compile(kernel: String) {
    let mut event = CompileEvent::new(Kind::Compile, "nvrtc", Kernel::named(kernel));
    event.duration = Duration::from_millis(1);
    jitspan::record(event).unwrap();
}

/// Runs `work` in a forked child, which ends at once with what that says. A child that hangs is ended and said so.
#[expect(unsafe_code, reason = "what is tested is fork")]
fn in_child(work: impl FnOnce() -> i32) -> Result<i32, String> {
    // SAFETY: the child runs this thread alone, takes no lock that another one may hold but those under test, and
    // leaves by `_exit`; `waitpid` writes to the status that it is given.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::_exit(work());
        }
        let (began, mut status) = (Instant::now(), 0);
        while libc::waitpid(child, &raw mut status, libc::WNOHANG) == 0 {
            if began.elapsed() > Duration::from_secs(60) {
                libc::kill(child, libc::SIGKILL);
                libc::waitpid(child, &raw mut status, 0);
                return Err("hung".to_owned());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(libc::WEXITSTATUS(status))
    }
}

#[test]
fn every_forked_child_delivers_under_its_own_ids() {
    let forks: usize = std::env::var("JITSPAN_TEST_FORKS").ok().and_then(|text| text.parse().ok()).unwrap_or(50);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let collector = runtime.block_on(Collector::start());
    tracing_subscriber::registry().with(Lines(&LINES)).init();

    let made = Box::leak(Box::new(AtomicUsize::new(0)));
    let endpoint = format!("http://{}", collector.address);
    let resource = Resource::builder_empty()
        .with_service_name("host")
        .with_attribute(opentelemetry::KeyValue::new("service.instance.id", "parent"))
        .build();
    let nothing = |variable: &str| match variable {
        "OTEL_BSP_SCHEDULE_DELAY" => Some("5".to_owned()),
        "OTEL_BSP_MAX_QUEUE_SIZE" => Some("100000".to_owned()),
        _ => None,
    };
    let config = Config::resolve(&Settings::default(), &nothing).unwrap();
    let made_here: &'static AtomicUsize = made;
    jitspan::install_through(config, resource, move || {
        made_here.fetch_add(1, Ordering::SeqCst);
        SpanExporter::builder().with_tonic().with_endpoint(&endpoint).build()
    });

    let go_on = AtomicBool::new(true);
    let results: Vec<_> = std::thread::scope(|scope| {
        for thread in 0..2 {
            let go_on = &go_on;
            scope.spawn(move || {
                let mut number = 0;
                while go_on.load(Ordering::SeqCst) {
                    compile(format!("parent {thread} {number}"));
                    number += 1;
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        }
        let fork = |number: usize| {
            in_child(|| {
                let made_before = made_here.load(Ordering::SeqCst);
                compile(format!("child {number}"));
                let flushed = jitspan::flush(Duration::from_secs(30));
                let made = made_here.load(Ordering::SeqCst) - made_before;
                if flushed && made == 1 { 0 } else { 1 }
            })
        };
        let results = (0..forks).map(fork).collect();
        go_on.store(false, Ordering::SeqCst);
        results
    });
    assert!(jitspan::flush(Duration::from_secs(30)));

    let failed: Vec<_> = results.iter().enumerate().filter(|(_, result)| **result != Ok(0)).collect();
    assert!(failed.is_empty(), "{} of {forks} failed: {failed:?}", failed.len());
    let (mut children, mut parents, mut instances) = (BTreeSet::new(), 0, BTreeSet::new());
    for message in collector.messages() {
        let resource = message.resource_spans[0].resource.as_ref().unwrap();
        let instance = resource.attributes.iter().find(|pair| pair.key == "service.instance.id").unwrap();
        let Some(Value::StringValue(instance)) = &instance.value.as_ref().unwrap().value else { panic!("a text") };
        assert!(!names(&message).is_empty());
        for span in &message.resource_spans[0].scope_spans[0].spans {
            let kernel = span.attributes.iter().find(|pair| pair.key.starts_with("jit.kernel"));
            let text = format!("{:?}", kernel.unwrap().value);
            if text.contains("child") {
                assert_ne!(instance, "parent");
                instances.insert(instance.clone());
                assert!(children.insert(text), "a span came twice");
            } else {
                assert_eq!(instance, "parent");
                parents += 1;
            }
        }
    }
    assert_eq!((children.len(), instances.len()), (forks, forks));
    let stats = jitspan::monitor().unwrap().stats().snapshot();
    assert_eq!((stats["spans.recorded"], stats["spans.exported"]), (parents, parents), "{stats:?}");
    println!(
        "{forks} forks delivered, while the parent sent {parents} spans and wrote {} lines",
        LINES.lock().unwrap()
    );
}
