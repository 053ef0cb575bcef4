//! A server that compiles kernels inside its requests' tasks, which tokio moves between threads while other requests run
//! there: each compile is on the span of the request that waited.

#[path = "../kernels.rs"]
mod kernels;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use jitspan::{Config, Settings};
use kernels::Kernels;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::Instrument;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

const REQUESTS: u32 = 64;
/// Exponents below it are warmed up.
const WARM: u32 = 16;

type Shared = Arc<Mutex<Kernels>>;

/// The answer, and whether the task has moved before it compiled.
async fn power(Path(exponent): Path<u32>, State(kernels): State<Shared>) -> String {
    let span = tracing::info_span!("request", exponent);
    let began = thread::current().id();
    // A task of its own has no current span but the one that it is given.
    let task = async move {
        for _ in 0..500 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if thread::current().id() != began {
                break;
            }
        }
        // Other requests' compiles wait here, on other threads, or on this one while the task waited.
        let answer = kernels.lock().unwrap_or_else(PoisonError::into_inner).power(exponent, 1).unwrap();
        tokio::task::yield_now().await;
        format!("{answer} {}", thread::current().id() != began)
    };
    tokio::spawn(task.instrument(span)).await.unwrap()
}

async fn ask(address: SocketAddr, exponent: u32) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET /power/{exponent} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.lines().last().unwrap().to_owned()
}

fn attribute(span: &SpanData, name: &str) -> Option<String> {
    span.attributes.iter().find(|pair| pair.key.as_str() == name).map(|pair| pair.value.to_string())
}

#[test]
fn a_compile_is_on_the_span_of_its_request_whatever_thread_it_is_on() {
    let (theirs, ours) = (InMemorySpanExporter::default(), InMemorySpanExporter::default());
    let provider = SdkTracerProvider::builder().with_simple_exporter(theirs.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("server"));
    tracing_subscriber::registry().with(layer).init();

    let mut kernels = Kernels::default();
    for exponent in 0..WARM {
        kernels.power(exponent, 1).unwrap();
    }
    let through = ours.clone();
    let config = Config::resolve(&Settings::default(), &|_| None).unwrap();
    jitspan::install_through(config, Resource::builder().build(), move || Ok::<_, Infallible>(through.clone()));

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let answers = runtime.block_on(async {
        let app = Router::new().route("/power/{exponent}", get(power)).with_state(Arc::new(Mutex::new(kernels)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        let requests: Vec<_> = (0..REQUESTS).map(|exponent| tokio::spawn(ask(address, exponent))).collect();
        let mut answers = Vec::new();
        for request in requests {
            answers.push(request.await.unwrap());
        }
        answers
    });
    runtime.shutdown_timeout(Duration::from_secs(10));
    let moved = answers.iter().filter(|answer| *answer == "1 true").count();
    assert!(answers.iter().all(|answer| answer.starts_with("1 ")), "{answers:?}");
    assert!(moved > answers.len() / 2, "{moved} tasks have moved");

    assert!(jitspan::flush(Duration::from_secs(10)));
    let own = ours.get_finished_spans().unwrap();
    let mut own: HashMap<_, _> = own.iter().map(|span| (span.parent_span_id, span)).collect();
    let requests = theirs.get_finished_spans().unwrap();
    assert_eq!(requests.len(), REQUESTS as usize);
    for request in &requests {
        let exponent: u32 = attribute(request, "exponent").unwrap().parse().unwrap();
        let changes: Vec<_> = request
            .events
            .iter()
            .map(|event| event.attributes.iter().find(|pair| pair.key.as_str() == "jit.changes").unwrap())
            .map(|pair| pair.value.to_string())
            .collect();
        let span = own.remove(&request.span_context.span_id());
        if exponent < WARM {
            assert_eq!((changes, span), (vec![], None), "{exponent}");
        } else {
            assert_eq!(changes, [format!("exponent: {exponent}")]);
            let span = span.unwrap();
            assert_eq!(span.span_context.trace_id(), request.span_context.trace_id());
            assert_eq!(attribute(span, "jit.changes"), Some(format!("exponent: {exponent}")));
        }
    }
    assert!(own.is_empty(), "{own:?}");
}
