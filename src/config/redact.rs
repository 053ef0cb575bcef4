//! What of a setting may be shown, in an error, in a log or by `jitspan doctor`. The only place that decides it.
//!
//! Shown is what is known to be harmless, never what is not known to be a secret: vendors put keys into headers, into an
//! address's path, query, user or host, and operators put the text of a key where its file should be named.

use std::path::Path;

use http::uri::Uri;

/// In place of what is not shown.
pub const HIDDEN: &str = "<hidden>";

/// Parts of an address's path that say where, and to nobody who.
const KNOWN_SEGMENTS: [&str; 16] = [
    "",
    "api",
    "base",
    "collector",
    "ingest",
    "insert",
    "intake",
    "logs",
    "metrics",
    "opentelemetry",
    "otel",
    "otlp",
    "public",
    "traces",
    "v1",
    "v2",
];

/// Namespaces of OpenTelemetry's attributes for who and where a service is.
const KNOWN_NAMESPACES: [&str; 10] =
    ["service", "deployment", "host", "k8s", "cloud", "container", "process", "telemetry", "os", "faas"];

/// A variable's value, for an error: quoted, bounded, or hidden.
pub fn value(variable: &str, value: &str) -> String {
    let is = |end: &str| variable.ends_with(end);
    let hidden = is("HEADERS")
        || is("RESOURCE_ATTRIBUTES")
        || is("ENDPOINT") && !is_plain_address(value)
        || (is("CLIENT_KEY") || is("CERTIFICATE")) && !is_plain_path(value)
        || is_key_text(value);
    if hidden { HIDDEN.to_owned() } else { format!("{:?}", crate::model::attribute::bounded(value, 200)) }
}

/// An address without user, password and query; of its path only what is known to be no key.
pub fn uri(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let segments = uri.path().split('/').map(|segment| if is_known_segment(segment) { segment } else { HIDDEN });
    format!("{}://{host}{}", uri.scheme_str().unwrap_or("http"), segments.collect::<Vec<_>>().join("/"))
}

/// The path of a file. Only of one that was found: then it is a path, and not the text of a key.
pub fn file(path: &Path) -> String {
    path.display().to_string()
}

/// Headers, without their values.
pub fn headers<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("{name}={HIDDEN}")).collect::<Vec<_>>().join(",")
}

/// Attributes of the resource: with their values where OpenTelemetry gives the name a meaning.
pub fn attributes<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let known = |key: &str| key.split_once('.').is_some_and(|(namespace, _)| KNOWN_NAMESPACES.contains(&namespace));
    let shown = |(key, value): (&str, &str)| {
        let value = if known(key) && !is_key_text(value) { value } else { HIDDEN };
        format!("{key}={value}")
    };
    pairs.map(shown).collect::<Vec<_>>().join(",")
}

/// What could not be read as an address: shown only if nothing in it can be a credential.
fn is_plain_address(value: &str) -> bool {
    let rest = value.split_once("://").map_or(value, |(_, rest)| rest);
    !value.contains(['@', '?', '#', '%']) && rest.split('/').skip(1).all(is_known_segment)
}

fn is_known_segment(segment: &str) -> bool {
    KNOWN_SEGMENTS.contains(&segment)
}

/// A key's text in Base64 begins with a letter, and has no line that is short.
fn is_plain_path(value: &str) -> bool {
    value.starts_with(['/', '.', '~']) && value.len() <= 255 && !value.chars().any(char::is_control)
}

fn is_key_text(value: &str) -> bool {
    value.contains("-----BEGIN") || value.contains("PRIVATE KEY") || value.contains(['\n', '\r'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_as_far_as_it_holds_no_credential() {
        let shown = |text: &str| uri(&text.parse().unwrap());
        assert_eq!(shown("https://user:s3cret@c:4318/otlp/v1/traces?key=s3cret"), "https://c:4318/otlp/v1/traces");
        assert_eq!(shown("https://c/ingest/s3cret/v1/traces"), "https://c/ingest/<hidden>/v1/traces");
        assert_eq!(shown("http://c:4317"), "http://c:4317/");
    }

    #[test]
    fn a_value_that_may_hold_a_credential_is_hidden() {
        let endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT";
        for secret in ["htp://u:s3cret@c", "htp://c/?k=s3cret", "htp://c/s3cret", "htp://c/v1/s3cret/traces"] {
            assert_eq!(value(endpoint, secret), HIDDEN, "{secret}");
        }
        assert_eq!(value(endpoint, "htp://c:4318/v1"), "\"htp://c:4318/v1\"");
        let key = "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY";
        for secret in ["-----BEGIN PRIVATE KEY-----", "MIIEvQIBADANBgkqhkiG9w0BAQEF/AASCBKcwggSjAgEAAoIBAQ", "/a\nMII"]
        {
            assert_eq!(value(key, secret), HIDDEN, "{secret}");
        }
        assert_eq!(value(key, "/etc/tls/key.pem"), "\"/etc/tls/key.pem\"");
        assert_eq!(value("OTEL_EXPORTER_OTLP_PROTOCOL", "a\n-----BEGIN RSA PRIVATE KEY-----"), HIDDEN);
        assert_eq!(value("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"), "\"http/json\"");
    }

    #[test]
    fn of_the_resource_only_what_opentelemetry_names_is_shown() {
        let pairs = [("service.name", "chat"), ("api_key", "s3cret"), ("deployment.environment.name", "prod")];
        assert_eq!(
            attributes(pairs.into_iter()),
            "service.name=chat,api_key=<hidden>,deployment.environment.name=prod"
        );
    }
}
