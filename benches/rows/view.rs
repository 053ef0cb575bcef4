//! How many spans a second `jitspan view` takes in, over gRPC from an exporter of ours, and what memory it needs. One span
//! in a hundred is of a request that waited.

mod support;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jitspan::view::{Format, Limits, Options};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, span};
use prost::Message as _;
use support::{figure, megabytes, quick};

const A_MESSAGE: usize = 500;

fn main() {
    if std::env::args().any(|argument| argument == "view") {
        let format = Format::Waterfall { width: 100, color: false };
        let settle = Duration::from_millis(500);
        // What `jitspan view` has without options.
        let limits = Limits { traces: 10_000, spans_per_trace: 2_000, bytes: 128 << 20 };
        let host = "127.0.0.1".to_owned();
        let options = Options { host, grpc_port: 0, http_port: 0, format, json_file: None, all: false, settle, limits };
        std::process::exit(jitspan::view::run(&options).into());
    }
    let spans = if quick() { 20_000 } else { 1_000_000 };
    let program = std::env::current_exe().expect("a path");
    let mut viewer =
        Command::new(program).arg("view").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("a child");
    let mut said = String::new();
    let mut reader = BufReader::new(viewer.stderr.take().expect("a pipe"));
    reader.read_line(&mut said).expect("an address");
    let address = said.trim().rsplit("http ").next().expect("an address").to_owned();
    let saying = std::thread::spawn(move || std::io::read_to_string(reader).unwrap_or_default());
    let process = viewer.id().to_string();
    // Made beforehand, a tenth at a time, so that what is timed is the viewer.
    let mut took = Duration::ZERO;
    let mut half = 0.0;
    for tenth in 0..10 {
        let messages: Vec<Vec<u8>> =
            (0..spans / A_MESSAGE / 10).map(|number| message(tenth * 1_000_000 + number).encode_to_vec()).collect();
        let began = Instant::now();
        post(&address, &messages);
        took += began.elapsed();
        if tenth == 4 {
            half = megabytes(&process, "VmRSS");
        }
    }
    let most = megabytes(&process, "VmHWM");
    // As Ctrl-C: it says what it has counted, which traces it had no room for too.
    let stopped = Command::new("kill").args(["-INT", &process]).status().expect("kill");
    assert!(stopped.success());
    let _ = viewer.wait();
    let counted = saying.join().unwrap_or_default();
    println!("NOTE\tit says: {}", counted.lines().last().unwrap_or("nothing"));
    if !quick() {
        figure("spans taken in", spans as f64 / took.as_secs_f64(), "spans/s");
        figure("memory after half of them", half, "MB");
        figure("memory at most", most, "MB");
    }
}

/// 100 traces of 5 spans, of which one has a stall.
fn message(number: usize) -> ExportTraceServiceRequest {
    let now = 1_700_000_000_000_000_000;
    let spans = (0..A_MESSAGE).map(|index| {
        let trace = (number * A_MESSAGE + index / 5) as u128 + 1;
        let events = if index == 0 {
            vec![span::Event { time_unix_nano: now + 10, name: "jit.compile".to_owned(), ..Default::default() }]
        } else {
            Vec::new()
        };
        let parent = if index % 5 == 0 { Vec::new() } else { 1_u64.to_be_bytes().to_vec() };
        Span {
            trace_id: trace.to_be_bytes().to_vec(),
            span_id: (index as u64 % 5 + 1).to_be_bytes().to_vec(),
            parent_span_id: parent,
            name: "inference".to_owned(),
            start_time_unix_nano: now,
            end_time_unix_nano: now + 1_000_000,
            events,
            ..Default::default()
        }
    });
    let scope_spans = vec![ScopeSpans { spans: spans.collect(), ..Default::default() }];
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..Default::default() }] }
}

/// Over one connection, each when the one before is answered.
fn post(address: &str, messages: &[Vec<u8>]) {
    use http_body_util::{BodyExt as _, Full};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.expect("the viewer");
        let stream = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.expect("HTTP");
        tokio::spawn(connection);
        for message in messages {
            let request = http::Request::post("/v1/traces")
                .header("host", "viewer")
                .header("content-type", "application/x-protobuf")
                .body(Full::new(axum::body::Bytes::copy_from_slice(message)))
                .expect("a request");
            let answer = sender.send_request(request).await.expect("an answer");
            assert!(answer.status().is_success(), "{}", answer.status());
            answer.into_body().collect().await.expect("a body");
        }
    });
}
