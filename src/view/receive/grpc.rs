//! OTLP over gRPC: the generated services, with our three methods in them.

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use tokio::net::TcpListener;
use tonic::codec::CompressionEncoding::{Gzip, Zstd};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, async_trait};

use super::{MAX_MESSAGE_BYTES, Shared};

/// Serves until the task is dropped.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(listener: TcpListener, store: Shared) -> Result<(), tonic::transport::Error> {
    macro_rules! accepting_compression {
        ($service:ident) => {
            $service::new(store.clone())
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .accept_compressed(Gzip)
                .accept_compressed(Zstd)
        };
    }
    tonic::transport::Server::builder()
        .add_service(accepting_compression!(TraceServiceServer))
        .add_service(accepting_compression!(LogsServiceServer))
        .add_service(accepting_compression!(MetricsServiceServer))
        .serve_with_incoming(TcpIncoming::from(listener))
        .await
}

#[async_trait]
impl TraceService for Shared {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let partial_success = self.take_spans(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse { partial_success }))
    }
}

#[async_trait]
impl LogsService for Shared {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.take_logs(request.into_inner());
        Ok(Response::new(ExportLogsServiceResponse { partial_success: None }))
    }
}

/// Metrics are welcome and ignored: a sender with one endpoint for everything must not retry them for ever.
#[async_trait]
impl MetricsService for Shared {
    async fn export(
        &self,
        _request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        Ok(Response::new(ExportMetricsServiceResponse { partial_success: None }))
    }
}
