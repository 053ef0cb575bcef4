//! `jitspan view` from outside: real OTLP over real sockets, in a child process where signals and pipes matter.
#![cfg(feature = "view")]

#[path = "view/hostile.rs"]
mod hostile;
#[path = "view/messages.rs"]
mod messages;
#[path = "view/process.rs"]
mod process;

use std::net::TcpListener;

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Value, json};
use tonic::codec::CompressionEncoding;

use messages::{START, gzip, log_based_event, plain, stalled};
use process::{Viewer, become_jitspan, spawn};

const PROTOBUF: &str = "Content-Type: application/x-protobuf";
const JSON: &str = "Content-Type: application/json";
const GZIP: &str = "Content-Encoding: gzip";

#[test]
#[ignore = "the child process of the other tests"]
fn jitspan_itself() {
    become_jitspan();
}

/// What `--json` prints for `stalled(number)`.
fn line_of_stalled(number: u8) -> Value {
    let span = json!({
        "span_id": "0202020202020202",
        "parent_span_id": "0101010101010101",
        "name": "inference",
        "kind": "INTERNAL",
        "service": "chat",
        "start_unix_nano": START,
        "end_unix_nano": START + 1_310_000_000,
        "duration_s": 1.31,
        "status": "ERROR",
        "status_message": "JIT compile of add_kernel",
        "attributes": {
            "jit.stalled": true,
            "jit.compile.count": 9_007_199_254_740_993_i64,
            "jit.stall.time": 0.76,
            "shape": [128, "x", null],
            "raw": "AP8=",
        },
        "resource": {"service.name": "chat", "process.pid": 4242},
        "scope": "jitspan",
        "events": [{
            "name": "jit.compile",
            "time_unix_nano": START + 10_000_000,
            "attributes": {"jit.kernel.name": "add_kernel", "jit.duration": 0.76},
        }],
        "links": [{
            "trace_id": "07070707070707070707070707070707",
            "span_id": "0808080808080808",
            "attributes": {"why": "same batch"},
        }],
    });
    json!({
        "trace_id": format!("{number:02x}").repeat(16),
        "service": ["chat"],
        "start_unix_nano": START,
        "duration_s": 1.31,
        "stalled": true,
        "updated": false,
        "omitted_spans": 0,
        "spans": [span],
    })
}

#[tokio::test]
async fn a_stalled_trace_over_grpc_is_one_whole_line_of_json() {
    let mut viewer = Viewer::start(&["--json"]);
    let answer = viewer.trace_client().await.export(stalled(1)).await.unwrap().into_inner();
    assert_eq!(answer, ExportTraceServiceResponse { partial_success: None });
    assert_eq!(viewer.next_line(), line_of_stalled(1));
}

#[tokio::test]
async fn compressed_grpc_is_read_and_a_trace_without_a_stall_is_only_counted() {
    let mut viewer = Viewer::start(&["--json"]);
    for (number, compression) in [(1, CompressionEncoding::Gzip), (2, CompressionEncoding::Zstd)] {
        let mut client = viewer.trace_client().await.send_compressed(compression);
        client.export(plain(100 + number)).await.unwrap();
        client.export(stalled(number)).await.unwrap();
        assert_eq!(viewer.next_line(), line_of_stalled(number));
    }
    let ended = viewer.stop("-INT");
    assert_eq!(ended, (Some(0), String::new(), "jitspan view: 4 traces, 2 with a stall".to_owned()));
}

#[tokio::test]
async fn all_prints_a_trace_without_a_stall() {
    let mut viewer = Viewer::start(&["--json", "--all"]);
    viewer.trace_client().await.export(plain(1)).await.unwrap();
    assert_eq!(viewer.next_line()["stalled"], json!(false));
}

#[tokio::test]
async fn a_message_over_grpcs_usual_4_mib_is_read() {
    let mut viewer = Viewer::start(&["--json"]);
    let mut request = stalled(1);
    request.resource_spans[0].scope_spans[0].spans[0].name = "x".repeat(8 << 20);
    viewer.trace_client().await.export(request).await.unwrap();
    assert_eq!(viewer.next_line()["spans"][0]["name"].as_str().map(str::len), Some(8 << 20));
}

#[test]
fn http_takes_protobuf_json_and_gzip_and_answers_in_kind() {
    let mut viewer = Viewer::start(&["--json"]);
    let answer = viewer.post("/v1/traces", &[PROTOBUF], &stalled(1).encode_to_vec());
    assert_eq!((answer.status, answer.media_type.as_str(), answer.body.as_slice()), (200, &PROTOBUF[14..], &[][..]));
    assert_eq!(viewer.next_line(), line_of_stalled(1));

    let body = serde_json::to_vec(&stalled(2)).unwrap();
    let answer = viewer.post("/v1/traces", &["Content-Type: application/json; charset=utf-8"], &body);
    assert_eq!((answer.status, answer.media_type.as_str(), answer.text()), (200, &JSON[14..], "{}".to_owned()));
    assert_eq!(viewer.next_line(), line_of_stalled(2));

    assert_eq!(viewer.post("/v1/traces", &[PROTOBUF, GZIP], &gzip(&stalled(3).encode_to_vec())).status, 200);
    assert_eq!(viewer.next_line(), line_of_stalled(3));
}

#[test]
fn http_refuses_what_it_cannot_read_as_the_specification_says() {
    let viewer = Viewer::start(&[]);
    let answer = viewer.post("/v1/traces", &[JSON], b"{\"resourceSpans\": 1}");
    let status: Value = serde_json::from_str(&answer.text()).unwrap();
    assert_eq!((answer.status, answer.media_type.as_str(), &status["code"]), (400, &JSON[14..], &json!(3)));
    assert!(status["message"].as_str().unwrap().starts_with("the body is not what OTLP expects: "), "{status}");

    let answer = viewer.post("/v1/traces", &[PROTOBUF], b"\xff\xff");
    assert_eq!((answer.status, answer.media_type.as_str()), (400, &PROTOBUF[14..]));
    assert_eq!(answer.body[..2], [8, 3], "google.rpc.Status begins with INVALID_ARGUMENT");

    let status = |headers: &[&str], body: &[u8]| viewer.post("/v1/traces", headers, body).status;
    assert_eq!(status(&[JSON, GZIP], b"not gzip"), 400);
    assert_eq!(status(&[JSON, GZIP], &gzip(&vec![b' '; 17 << 20])), 413);
    assert_eq!(status(&[JSON, "Content-Encoding: br"], b"{}"), 415);
    assert_eq!(status(&["Content-Type: text/plain"], b"{}"), 415);
    assert_eq!(status(&[], b"{}"), 415);
    assert_eq!(viewer.post("/v1/profiles", &[JSON], b"{}").status, 404);
}

#[test]
fn spans_without_a_valid_id_are_refused_by_number_and_the_others_kept() {
    let mut viewer = Viewer::start(&["--json"]);
    let mut request = stalled(1);
    let spans = &mut request.resource_spans[0].scope_spans[0].spans;
    spans.push(Span { trace_id: vec![1; 3], ..spans[0].clone() });
    spans.push(Span { span_id: Vec::new(), ..spans[0].clone() });
    spans.push(Span { trace_id: vec![0; 16], ..spans[0].clone() });
    let answer = viewer.post("/v1/traces", &[PROTOBUF], &request.encode_to_vec());
    let partial_success = ExportTraceServiceResponse::decode(&*answer.body).unwrap().partial_success.unwrap();
    assert_eq!((answer.status, partial_success.rejected_spans), (200, 3));
    assert_eq!(partial_success.error_message, "a trace_id must be 16 bytes, a span_id 8 bytes, and neither all zero");
    assert_eq!(viewer.next_line(), line_of_stalled(1));
    assert_eq!(viewer.stop("-TERM").2, "jitspan view: 1 trace, 1 with a stall; 3 spans refused for an invalid id");
}

#[tokio::test]
async fn metrics_are_accepted_and_log_based_events_land_on_their_span() {
    let mut viewer = Viewer::start(&["--json"]);
    let channel = viewer.channel().await;
    MetricsServiceClient::new(channel.clone()).export(ExportMetricsServiceRequest::default()).await.unwrap();
    assert_eq!(viewer.post("/v1/metrics", &[JSON], b"{}").text(), "{}");
    assert_eq!(viewer.post("/v1/logs", &[JSON], b"{}").text(), "{}");

    LogsServiceClient::new(channel).export(log_based_event()).await.unwrap();
    viewer.trace_client().await.export(plain(1)).await.unwrap();
    let line = viewer.next_line();
    assert_eq!((line["spans"].as_array().map(Vec::len), &line["spans"][0]["name"]), (Some(1), &json!("tokenize")));
    let event = json!({"name": "jit.compile", "time_unix_nano": START, "attributes": {}});
    assert_eq!(line["spans"][0]["events"], json!([event]));
}

#[tokio::test]
async fn a_signal_prints_what_is_pending_and_exits_with_0() {
    for signal in ["-INT", "-TERM"] {
        let viewer = Viewer::start(&["--settle", "600", "--width", "70"]);
        viewer.trace_client().await.export(stalled(1)).await.unwrap();
        let (code, output, errors) = viewer.stop(signal);
        assert_eq!((code, errors.as_str()), (Some(0), "jitspan view: 1 trace, 1 with a stall"));
        insta::allow_duplicates! {
            insta::assert_snapshot!(output, @r#"
            inference waited 760 ms of 1.31 s for 1 compile, and failed
            trace 01010101010101010101010101010101 · chat · 22:13:20.000 UTC

                                   0             500 ms         1 s
            ✗ inference            ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  1.31 s
            │  JIT compile of add_kernel
            └─ compile add_kernel  ███████████████████████                  760 ms
            "#);
        }
    }
}

#[tokio::test]
async fn a_reader_that_leaves_ends_it_quietly() {
    let mut viewer = Viewer::start(&["--json"]);
    viewer.close_output();
    viewer.trace_client().await.export(stalled(1)).await.unwrap();
    assert_eq!(viewer.wait(), (Some(0), "jitspan view: 1 trace, 1 with a stall".to_owned()));
}

#[test]
fn a_port_takes_both_protocols() {
    let mut viewer = Viewer::start(&["--json"]);
    let answer = viewer.post_to(viewer.grpc, "/v1/traces", &[PROTOBUF], &stalled(1).encode_to_vec());
    assert_eq!(answer.status, 200);
    assert_eq!(viewer.next_line(), line_of_stalled(1));
}

#[test]
fn spans_of_other_programs_are_told_of_once() {
    let viewer = Viewer::start(&[]);
    for number in [1, 2] {
        let mut request = plain(number);
        request.resource_spans[0].scope_spans[0].scope = None;
        viewer.post("/v1/traces", &[PROTOBUF], &request.encode_to_vec());
    }
    let lines = viewer.stop_and_say_all("-INT");
    let expected =
        "jitspan view: receiving spans of \"chat\"; traces without a stall are not printed (--all prints them)";
    assert_eq!(lines, [expected, "jitspan view: 2 traces, 0 with a stall"]);
}

#[test]
fn a_taken_port_is_one_clear_line_and_exit_code_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let child = spawn(&["--grpc-port", &port.to_string(), "--http-port", "0"]).wait_with_output().unwrap();
    let expected = format!(
        "jitspan view: cannot listen on 127.0.0.1:{port}: Address already in use (os error 98) \
         (choose another port with --grpc-port, 0 for any)\n"
    );
    assert_eq!((child.status.code(), String::from_utf8_lossy(&child.stderr).as_ref()), (Some(1), expected.as_str()));
}
