//! One HTTP client for both protocols, with TLS. Made anew after a failure, so that rotated certificates are used.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::config::{Endpoint, Protocol, TlsFiles};

/// An HTTP client.
pub type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client for this endpoint. Connects when it is first used.
///
/// # Errors
/// A file for TLS cannot be read.
pub fn client(endpoint: &Endpoint) -> io::Result<HttpClient> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(endpoint.timeout));
    tcp.set_keepalive(Some(Duration::from_secs(30)));
    let builder = HttpsConnectorBuilder::new().with_tls_config(tls(endpoint)?).https_or_http();
    let grpc = endpoint.protocol == Protocol::Grpc;
    let connector = if grpc {
        builder.enable_http2().wrap_connector(tcp)
    } else {
        builder.enable_all_versions().wrap_connector(tcp)
    };
    Ok(Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        // A collector behind a load balancer that forgot us is found out between two exports, not by the next one.
        .pool_idle_timeout(Duration::from_secs(60))
        .http2_only(grpc)
        .build(connector))
}

fn tls(endpoint: &Endpoint) -> io::Result<ClientConfig> {
    let files = &endpoint.tls;
    // Reading the system's hundred and more authorities takes milliseconds and memory that plain text does not need.
    let roots = if endpoint.uri.scheme_str() == Some("https") { roots(files)? } else { RootCertStore::empty() };
    // The provider is named: a program that links another one as well would make rustls' default ambiguous.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots);
    match (&files.client_certificate, &files.client_key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| named(key, error))?;
            builder.with_client_auth_cert(chain, key).map_err(io::Error::other)
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

fn roots(files: &TlsFiles) -> io::Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    match &files.certificate {
        Some(file) => {
            for certificate in certificates(file)? {
                store.add(certificate).map_err(|error| named(file, error))?;
            }
        }
        None => {
            // One unreadable certificate among the system's must not take the others away.
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() {
                return Err(io::Error::other(
                    "the system has no certificates of authorities; set OTEL_EXPORTER_OTLP_CERTIFICATE",
                ));
            }
        }
    }
    Ok(store)
}

fn certificates(file: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| named(file, error))?;
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(|error| named(file, error))?;
    if certificates.is_empty() { Err(named(file, "no certificate in it")) } else { Ok(certificates) }
}

fn named(file: &Path, error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", file.display()))
}
