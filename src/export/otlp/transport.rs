//! Sends one message, once, over gRPC or HTTP, and says what the collector answered.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use prost::Message;

use super::answer::{ANSWER_BYTES, taken, with_causes};
use super::connection::{HttpClient, client};
use super::grpc;
use super::packing::pack;
use super::status::Status;
use crate::config::{Endpoint, Protocol, Signal};
use crate::export::answer::Answer;

const AGENT: &str = concat!("jitspan/", env!("CARGO_PKG_VERSION"));

/// A connection to one endpoint, for one signal.
pub struct Transport {
    endpoint: Endpoint,
    signal: Signal,
    /// Longest time of one attempt.
    timeout: Duration,
    client: Option<HttpClient>,
}

impl Transport {
    /// To this endpoint. Nothing is opened yet.
    pub fn new(endpoint: Endpoint, signal: Signal, timeout: Duration) -> Self {
        let timeout = endpoint.timeout.min(timeout);
        Transport { endpoint, signal, timeout, client: None }
    }

    /// Forgets the connection.
    pub fn reset(&mut self) {
        self.client = None;
    }

    /// Sends an encoded message. Takes no longer than the time-out.
    pub async fn send(&mut self, message: &Bytes) -> Answer {
        let timeout = self.timeout;
        let client = self.client.take();
        let answer = match tokio::time::timeout(timeout, self.attempt(client, message)).await {
            Ok(answer) => answer,
            Err(_) => Answer::Later { after: None, message: format!("no answer within {timeout:?}") },
        };
        // A new client reads the files for TLS again, so that certificates that were rotated are used.
        if matches!(answer, Answer::Later { .. }) {
            self.client = None;
        }
        answer.without(&self.endpoint.headers)
    }

    /// What is no answer of the server, but the failure of the connection or of a file, may be well in a moment: the
    /// certificates that are being replaced, the collector that restarts.
    async fn attempt(&mut self, client: Option<HttpClient>, message: &Bytes) -> Answer {
        let connected = client.map_or_else(|| self::client(&self.endpoint), Ok);
        let client = match connected {
            Ok(client) => client,
            Err(error) => return Answer::Later { after: None, message: error.to_string() },
        };
        let request = match self.request(message) {
            Ok(request) => request,
            Err(error) => return Answer::Refused { message: error.to_string() },
        };
        let answer = match client.request(request).await {
            Err(error) => Answer::Later { after: None, message: with_causes(&error) },
            Ok(response) => match self.endpoint.protocol {
                Protocol::Grpc => grpc::answer(response).await,
                Protocol::HttpProtobuf => http_answer(response).await,
            },
        };
        self.client = Some(client);
        answer
    }

    fn request(&self, message: &Bytes) -> Result<Request<Full<Bytes>>, Box<dyn std::error::Error>> {
        let Endpoint { uri, compression, .. } = &self.endpoint;
        match self.endpoint.protocol {
            Protocol::Grpc => grpc::request(uri, self.signal.grpc_path(), self.headers(), *compression, message),
            Protocol::HttpProtobuf => self.post(message),
        }
    }

    fn post(&self, message: &Bytes) -> Result<Request<Full<Bytes>>, Box<dyn std::error::Error>> {
        let mut request = Request::post(self.endpoint.uri.clone());
        let mut body = message.clone();
        if let Some(to) = request.headers_mut() {
            *to = self.headers();
            to.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
            if let Some(compression) = self.endpoint.compression {
                to.insert(CONTENT_ENCODING, HeaderValue::from_static(compression.word()));
                body = pack(compression, message)?;
            }
        }
        Ok(request.body(Full::new(body))?)
    }

    /// Who we are, and the user's headers; each name once, the last one counts.
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::from_iter([(USER_AGENT, HeaderValue::from_static(AGENT))]);
        for (name, value) in &self.endpoint.headers {
            headers.insert(name, value.clone());
        }
        headers
    }
}

async fn http_answer(response: Response<hyper::body::Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    // The body is read even where it says nothing to us: only then can the connection be used again.
    let body = Limited::new(body, ANSWER_BYTES).collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    if !head.status.is_success() {
        return Answer::from_http(head.status, &head.headers, &reason(body));
    }
    // What cannot be read was taken all the same: sending it again would double it.
    taken(body)
}

/// A refusal is a `google.rpc.Status` with a text. What is none, a proxy's page, says nothing.
fn reason(refusal: Bytes) -> String {
    Status::decode(refusal).map(|status| status.message).unwrap_or_default()
}
