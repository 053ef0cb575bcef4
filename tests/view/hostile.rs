//! Senders that mean harm, or are broken: what they can take is bounded, and others are heard meanwhile.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use prost::Message;
use serde_json::Value;
use tonic::Code;
use tonic::codec::CompressionEncoding;

use crate::messages::{gzip, stalled};
use crate::process::Viewer;
use crate::{GZIP, JSON, PROTOBUF};

/// The store may hold 128 MiB, bodies on their way 64, one message that is being decoded 64 and its own 16.
const MOST_MIB: u64 = 400;

fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut message = vec![number << 3 | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut message);
    message.extend_from_slice(content);
    message
}

/// Seven million spans of two bytes each.
fn empty_spans() -> Vec<u8> {
    field(1, &field(2, &[0x12, 0].repeat(7 << 20)))
}

#[tokio::test]
async fn a_small_message_that_unpacks_and_decodes_to_gigabytes_is_refused_at_once() {
    let mut viewer = Viewer::start(&["--json"]);
    let began = Instant::now();
    let packed = gzip(&empty_spans());
    assert!(packed.len() < 100_000);
    assert_eq!(viewer.post("/v1/traces", &[PROTOBUF, GZIP], &packed).status, 413);
    assert_eq!(viewer.post("/v1/traces", &[PROTOBUF], &empty_spans()).status, 413);
    let objects = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}{{}}]}}]}}]}}"#, "{},".repeat(5_000_000));
    assert_eq!(viewer.post("/v1/traces", &[JSON], objects.as_bytes()).status, 413);
    for part in [9, 11, 13] {
        let span = field(2, &[part << 3 | 2, 0].repeat(7 << 20));
        assert_eq!(viewer.post("/v1/traces", &[PROTOBUF], &field(1, &field(2, &span))).status, 413, "field {part}");
    }
    // A million members of nothing.
    let nothing = gzip(b"");
    assert_eq!(viewer.post("/v1/traces", &[PROTOBUF, GZIP], &nothing.repeat(700_000)).status, 400);
    let halves = [&stalled(7).encode_to_vec()[..10], &stalled(7).encode_to_vec()[10..]].map(gzip).concat();
    assert_eq!(viewer.post("/v1/traces", &[PROTOBUF, GZIP], &halves).status, 200);
    viewer.next_line();
    // Two thousand members that unpack to a mebibyte each.
    let member = gzip(&vec![0; 1 << 20]);
    assert_eq!(viewer.post("/v1/traces", &[PROTOBUF, GZIP], &member.repeat(2000)).status, 413);

    for compression in [None, Some(CompressionEncoding::Gzip), Some(CompressionEncoding::Zstd)] {
        let client = viewer.trace_client().await;
        let mut client = match compression {
            None => client,
            Some(compression) => client.send_compressed(compression),
        };
        let spans = ExportTraceServiceRequest::decode(&*field(1, &field(2, &[0x12, 0].repeat(100_000)))).unwrap();
        assert_eq!(client.export(spans).await.unwrap_err().code(), Code::ResourceExhausted, "{compression:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(viewer.post("/v1/traces", &[PROTOBUF], &stalled(1).encode_to_vec()).status, 200);
    assert_eq!(viewer.next_line()["spans"][0]["name"], "inference");
    assert!(viewer.peak_mib() < MOST_MIB, "{} MiB", viewer.peak_mib());
}

#[test]
fn a_value_that_nests_too_deep_is_refused_and_a_deep_one_is_not() {
    let viewer = Viewer::start(&["--json"]);
    let nested = |levels: usize| {
        let mut value = field(1, b"x");
        for _ in 0..levels {
            value = field(5, &field(1, &value));
        }
        field(1, &field(2, &field(2, &field(9, &field(2, &value)))))
    };
    assert_eq!(viewer.post("/v1/traces", &[PROTOBUF], &nested(100_000)).status, 413);
    assert_eq!(viewer.post("/v1/traces", &[PROTOBUF], &nested(15)).status, 200);
    assert_eq!(viewer.post("/v1/traces", &[JSON], &[br#"{"a":"#.repeat(100_000), vec![]].concat()).status, 400);
}

#[test]
fn slow_bodies_hold_no_more_than_they_may_and_others_are_told_to_come_again() {
    let mut viewer = Viewer::start(&["--json"]);
    let length = 16 << 20;
    let mut slow: Vec<TcpStream> = (0..64)
        .map(|_| {
            let mut stream = viewer.connect();
            write!(stream, "POST /v1/traces HTTP/1.1\r\nHost: x\r\n{PROTOBUF}\r\nContent-Length: {length}\r\n\r\n")
                .unwrap();
            stream.set_nonblocking(true).unwrap();
            stream
        })
        .collect();
    let piece = vec![0; 1 << 16];
    let until = Instant::now() + Duration::from_secs(6);
    while Instant::now() < until {
        for stream in &mut slow {
            // It is full, or was closed.
            let _ = stream.write(&piece);
        }
    }
    let status = viewer.post("/v1/traces", &[PROTOBUF], &stalled(1).encode_to_vec()).status;
    assert!(matches!(status, 200 | 503), "{status}");
    assert!(viewer.peak_mib() < MOST_MIB, "{} MiB", viewer.peak_mib());
    drop(slow);
    let taken = (0..50).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        viewer.post("/v1/traces", &[PROTOBUF], &stalled(2).encode_to_vec()).status == 200
    });
    assert!(taken);
    viewer.next_line();
}

#[tokio::test]
async fn silent_clients_keep_nobody_out_though_they_hold_every_descriptor() {
    let mut viewer = Viewer::start_with_descriptors(64, &["--json"]);
    let began = Instant::now();
    let silent: Vec<(TcpStream, TcpStream)> = (0..200).map(|_| (viewer.connect(), viewer.connect_grpc())).collect();
    assert_eq!(viewer.post("/v1/traces", &[PROTOBUF], &stalled(1).encode_to_vec()).status, 200);
    viewer.next_line();
    viewer.trace_client().await.export(stalled(2)).await.unwrap();
    viewer.next_line();
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    drop(silent);
}

#[test]
fn who_asks_for_nothing_is_closed_and_who_does_not_go_on_is_told() {
    let viewer = Viewer::start(&[]);
    let began = Instant::now();
    let mut silent = [viewer.connect(), viewer.connect_grpc()];
    silent[1].write_all(b"PRI * HT").unwrap();
    let mut slow = viewer.connect();
    write!(slow, "POST /v1/traces HTTP/1.1\r\nHost: x\r\n{PROTOBUF}\r\nContent-Length: 100\r\n\r\nx").unwrap();
    for stream in &mut silent {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // The end, or a reset.
        assert!(stream.read(&mut [0; 64]).is_ok_and(|read| read == 0) || began.elapsed() < Duration::from_secs(60));
    }
    assert!((8..40).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    slow.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut answer = [0; 12];
    slow.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
}

#[test]
fn json_holds_no_character_that_steers_a_terminal_or_is_not_seen() {
    let mut viewer = Viewer::start(&["--json"]);
    let text = "\u{1b}[2J\u{9b}31m\u{7f}\u{202e}\u{2066}\u{200b}\u{feff}\u{2028}é\u{1f600}";
    let mut request = stalled(1);
    let span = &mut request.resource_spans[0].scope_spans[0].spans[0];
    span.name = text.to_owned();
    span.attributes[0].key = format!("key{text}");
    span.attributes[1].value.as_mut().unwrap().value = Some(AnyValue::StringValue(text.to_owned()));
    assert_eq!(viewer.post("/v1/traces", &[PROTOBUF], &request.encode_to_vec()).status, 200);
    let line = viewer.next_raw_line();
    let unsafe_ones: Vec<char> = line
        .trim_end()
        .chars()
        .filter(|character| character.is_control() || "\u{202e}\u{2066}\u{200b}\u{feff}\u{2028}".contains(*character))
        .collect();
    assert_eq!(unsafe_ones, Vec::<char>::new());
    assert!(line.contains("\\u009b31m\\u007f\\u202e\\u2066\\u200b\\ufeff\\u2028é\u{1f600}"), "{line}");
    let read: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(read["spans"][0]["name"], text);
}
