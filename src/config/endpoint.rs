//! Where one signal goes, by what the variables say.

#[cfg(feature = "view")]
use super::environment::variable;
use super::otlp::{Draft, Endpoint, Signal};
use super::read::{ConfigError, Variables};
use super::settings::ENDPOINT_SETTINGS;

impl Endpoint {
    /// What the variables say for one signal.
    ///
    /// Where no protocol is set, port 4317 means gRPC: an address copied from a server's gRPC set-up then works as
    /// it stands. Otherwise the default is the specification's, `http/protobuf`.
    ///
    /// # Errors
    /// The first variable that cannot be used: an address, headers, a file. Of the others the default is used.
    pub fn resolve(signal: Signal, variables: &Variables<'_>) -> Result<Self, ConfigError> {
        let mut draft = Draft::default();
        for setting in ENDPOINT_SETTINGS {
            setting.read(signal, variables, &mut draft)?;
        }
        draft.finish(signal)
    }
}

/// Another address that is asked over HTTP, with the certificates that the exporter's variables name.
///
/// # Errors
/// It is no address, or a file is not there.
#[cfg(feature = "view")]
pub fn endpoint_at(address: &str) -> Result<Endpoint, ConfigError> {
    let lookup = |variable: &str| match variable {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(address.to_owned()),
        "OTEL_EXPORTER_OTLP_PROTOCOL" => Some("http/protobuf".to_owned()),
        "OTEL_EXPORTER_OTLP_CERTIFICATE" => self::variable(variable),
        _ => None,
    };
    Endpoint::resolve(Signal::Traces, &Variables::new(&lookup))
}
