//! One unary gRPC call over HTTP/2, by hand (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
//!
//! tonic's client was used first. It panics on a `grpc-status-details-bin` that is not standard base64 (0.14.9,
//! `Status::from_header_map`), and it turns the failure of a connection into a status that looks like the server's own.
//! What the server said and what became of the connection are told apart here: only the first is final.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, TE};
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use percent_encoding::percent_decode;
use prost::Message;

use super::answer::{ANSWER_BYTES, taken, with_causes};
use super::packing::{pack, unpack};
use super::status::{Code, RetryInfo, Status};
use crate::config::Compression;
use crate::export::answer::Answer;

const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const STATUS: &str = "grpc-status";
const MESSAGE: &str = "grpc-message";
const DETAILS: &str = "grpc-status-details-bin";

/// A flag (1: packed) and the length stand before each message.
const PREFIX_BYTES: usize = 5;

/// The call. `headers` are the user's; those of the protocol are its own.
pub fn request(
    address: &Uri,
    path: &'static str,
    headers: HeaderMap,
    compression: Option<Compression>,
    message: &Bytes,
) -> Result<Request<Full<Bytes>>, Box<dyn std::error::Error>> {
    let mut parts = address.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::from_static(path));
    let mut request = Request::post(Uri::from_parts(parts)?).version(Version::HTTP_2);
    if let Some(to) = request.headers_mut() {
        *to = headers;
        to.insert(TE, HeaderValue::from_static("trailers"));
        to.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        if let Some(compression) = compression {
            // The Collector packs its answer as the message was, asked or not.
            let name = HeaderValue::from_static(compression.word());
            to.insert(ENCODING, name.clone());
            to.insert(ACCEPT_ENCODING, name);
        }
    }
    let packed = compression.map(|compression| pack(compression, message)).transpose()?;
    let payload = packed.as_ref().unwrap_or(message);
    let mut body = BytesMut::with_capacity(PREFIX_BYTES + payload.len());
    body.put_u8(u8::from(packed.is_some()));
    body.put_u32(u32::try_from(payload.len())?);
    body.put_slice(payload);
    Ok(request.body(Full::new(body.freeze()))?)
}

/// What the server answered.
pub async fn answer(response: Response<Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    // A refusal may come without a body: the trailers are the headers then.
    if let Some(answer) = answer_in(&head.headers, || taken(Bytes::new())) {
        return answer;
    }
    let is_grpc = head.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if head.status != StatusCode::OK || !is_grpc {
        return Answer::from_http(head.status, &head.headers, "no gRPC server answers here");
    }
    let body = match Limited::new(body, ANSWER_BYTES).collect().await {
        Ok(body) => body,
        Err(error) if error.is::<LengthLimitError>() => {
            return Answer::Refused { message: format!("no OTLP answer: larger than {ANSWER_BYTES} bytes") };
        }
        Err(error) => return Answer::Later { after: None, message: with_causes(&*error) },
    };
    let trailers = body.trailers().cloned().unwrap_or_default();
    let message = || taken(unframed(&body.to_bytes(), head.headers.get(ENCODING)).unwrap_or_default());
    // A stream that was reset looks to us like one that has ended: hyper hides RST_STREAM with NO_ERROR or CANCEL.
    answer_in(&trailers, message)
        .unwrap_or_else(|| Answer::Later { after: None, message: "the answer broke off before its status".to_owned() })
}

/// None: there is no status in these headers.
fn answer_in(headers: &HeaderMap, taken: impl FnOnce() -> Answer) -> Option<Answer> {
    let code = Code::from_bytes(headers.get(STATUS)?.as_bytes());
    if code == Code::OK {
        return Some(taken());
    }
    let message = headers.get(MESSAGE).map(|text| percent_decode(text.as_bytes()).decode_utf8_lossy().into_owned());
    let after = headers.get_all(DETAILS).iter().find_map(retry_info);
    Some(Answer::from_grpc(code, &message.unwrap_or_default(), after))
}

/// When the server wants to be asked again, from a `google.rpc.Status` in base64.
fn retry_info(header: &HeaderValue) -> Option<std::time::Duration> {
    // Values of one name may have been joined, and each is encoded by itself.
    let statuses = header.as_bytes().split(|byte| *byte == b',').filter_map(|value| {
        let value = value.trim_ascii();
        let bytes = BASE64.decode(value).or_else(|_| BASE64_URL.decode(value)).ok()?;
        Status::decode(&*bytes).ok()
    });
    statuses.flat_map(|status| status.details).find_map(|detail| RetryInfo::of(&detail)?.delay())
}

/// The specification asks for unpadded base64 and has servers accept both; other senders know neither rule.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// The one message of an answer. None: it cannot be read, which matters little once the status is OK.
fn unframed(body: &[u8], encoding: Option<&HeaderValue>) -> Option<Bytes> {
    let (prefix, rest) = body.split_at_checked(PREFIX_BYTES)?;
    let (flag, length) = prefix.split_first()?;
    let length = usize::try_from(u32::from_be_bytes(length.try_into().ok()?)).ok()?;
    let message = rest.get(..length)?;
    match flag {
        0 => Some(Bytes::copy_from_slice(message)),
        _ => unpack(encoding?.to_str().ok()?, message, ANSWER_BYTES),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn refusal(details: &str) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert(STATUS, HeaderValue::from_static("14"));
        headers.insert(MESSAGE, HeaderValue::from_static("busy%20now%ff"));
        headers.insert(DETAILS, HeaderValue::from_str(details).unwrap());
        answer_in(&headers, || unreachable!()).unwrap()
    }

    fn details(seconds: i64) -> String {
        let info = RetryInfo { retry_delay: Some(super::super::status::Delay { seconds, nanos: 0 }) };
        let detail = super::super::status::Detail { type_url: RetryInfo::URL.to_owned(), value: info.encode_to_vec() };
        // A message whose encoding differs between the two alphabets.
        let status = Status { code: 14, message: "\u{fbff}\u{fbff}??>>".to_owned(), details: vec![detail] };
        BASE64.encode(status.encode_to_vec())
    }

    #[test]
    fn details_are_read_in_each_form_that_senders_use() {
        let standard = details(3);
        let unpadded = standard.trim_end_matches('=').to_owned();
        let url_safe = standard.replace('+', "-").replace('/', "_");
        assert_ne!(standard, url_safe);
        let joined = format!("!!!,{standard},AAAA");
        for form in [&standard, &unpadded, &url_safe, &format!(" {standard} "), &joined] {
            let expected = Answer::Later {
                after: Some(Duration::from_secs(3)),
                message: "Unavailable: busy now\u{fffd}".to_owned(),
            };
            assert_eq!(refusal(form), expected, "{form}");
        }
    }

    #[test]
    fn details_that_are_none_say_nothing() {
        for form in ["!!!!notbase64", "A", ",,,", "=", "AAAA", &details(-5), &details(i64::MIN)] {
            assert!(matches!(refusal(form), Answer::Later { after: None, .. }), "{form}");
        }
    }

    #[test]
    fn an_answer_is_read_as_far_as_it_is_one() {
        let framed = |flag: u8, length: u32, message: &[u8]| [&[flag], &length.to_be_bytes()[..], message].concat();
        assert_eq!(unframed(&framed(0, 2, b"ab"), None), Some(Bytes::from_static(b"ab")));
        assert_eq!(unframed(&framed(0, u32::MAX, b"ab"), None), None);
        assert_eq!(unframed(&[0, 0], None), None);
        for compression in [Compression::Gzip, Compression::Zstd] {
            let name = HeaderValue::from_static(compression.word());
            let packed = pack(compression, b"text").unwrap();
            let answer = framed(1, packed.len() as u32, &packed);
            assert_eq!(unframed(&answer, Some(&name)), Some(Bytes::from_static(b"text")));
            assert_eq!(unframed(&answer, None), None);
            let bomb = pack(compression, &vec![0; 10 * ANSWER_BYTES]).unwrap();
            assert_eq!(unframed(&framed(1, bomb.len() as u32, &bomb), Some(&name)), None);
        }
    }
}
