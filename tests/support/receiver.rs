//! A real OTLP receiver over a socket.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use prost::Message;
use tonic::{Request, Response, Status};

/// Receives over gRPC and HTTP, on a thread of its own, until the test ends.
pub struct Receiver {
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    received: Kept,
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

impl Receiver {
    pub fn start() -> Self {
        let received = Kept::default();
        let (tell, told) = std::sync::mpsc::channel();
        let kept = received.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let grpc = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let http = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send((grpc.local_addr().unwrap(), http.local_addr().unwrap())).unwrap();
                let posts = axum::Router::new().route("/v1/traces", axum::routing::post(post)).with_state(kept.clone());
                tokio::spawn(async move { axum::serve(http, posts).await });
                let incoming = tonic::transport::server::TcpIncoming::from(grpc);
                let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(kept));
                server.serve_with_incoming(incoming).await.unwrap();
            });
        });
        let (grpc, http) = told.recv().unwrap();
        Receiver { grpc, http, received }
    }

    /// What has come so far.
    pub fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        self.received.0.lock().unwrap().clone()
    }
}

async fn post(State(kept): State<Kept>, body: Bytes) -> Vec<u8> {
    kept.0.lock().unwrap().push(ExportTraceServiceRequest::decode(body).unwrap());
    ExportTraceServiceResponse::default().encode_to_vec()
}

#[tonic::async_trait]
impl TraceService for Kept {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
