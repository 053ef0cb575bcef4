//! Every variable, with the specification's meaning: what a value comes to, which of two wins, what is refused.

use std::collections::HashMap;

use jitspan::config::{ConfigError, Described};
use jitspan::{Config, Settings};

fn resolve(environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let table: HashMap<&str, &str> = environment.iter().copied().collect();
    Config::resolve(&Settings::default(), &|variable| table.get(variable).map(|value| value.to_string()))
}

fn described(environment: &[(&str, &str)], variable: &str) -> Described {
    let config = resolve(environment).unwrap_or_else(|error| panic!("{environment:?}: {error}"));
    let row = config.describe().into_iter().find(|row| row.variable == variable);
    row.unwrap_or_else(|| panic!("{environment:?}: {variable} is not described"))
}

type Environment<'a> = &'a [(&'a str, &'a str)];

/// The environment, the variable that is asked for, what it comes to, and who said so.
const MEANINGS: &[(Environment<'_>, &str, &str, &str)] = &[
    (&[], "OTEL_SDK_DISABLED", "false", "default"),
    (&[("OTEL_SDK_DISABLED", "TRUE")], "OTEL_SDK_DISABLED", "true", "environment"),
    (&[("OTEL_SDK_DISABLED", "")], "OTEL_SDK_DISABLED", "false", "default"),
    (&[("JITSPAN", "0")], "OTEL_SDK_DISABLED", "true", "JITSPAN"),
    // Who we are.
    (&[("OTEL_SERVICE_NAME", "a b")], "OTEL_SERVICE_NAME", "a b", "environment"),
    (&[("OTEL_RESOURCE_ATTRIBUTES", "service.name=b%20c")], "OTEL_SERVICE_NAME", "b c", "OTEL_RESOURCE_ATTRIBUTES"),
    (
        &[("OTEL_SERVICE_NAME", "wins"), ("OTEL_RESOURCE_ATTRIBUTES", "service.name=loses,k=a%2Cb")],
        "OTEL_RESOURCE_ATTRIBUTES",
        "k=a,b,service.name=wins",
        "environment",
    ),
    // Where to.
    (&[], "OTEL_TRACES_EXPORTER", "otlp", "default"),
    (&[("OTEL_TRACES_EXPORTER", "console,otlp")], "OTEL_TRACES_EXPORTER", "otlp,console", "environment"),
    (&[("OTEL_TRACES_EXPORTER", " , ")], "OTEL_TRACES_EXPORTER", "otlp", "environment"),
    (&[("OTEL_METRICS_EXPORTER", "prometheus")], "OTEL_METRICS_EXPORTER", "none", "environment"),
    (&[("OTEL_TRACES_EXPORTER", "none")], "OTEL_TRACES_EXPORTER", "none", "environment"),
    (&[("OTEL_LOGS_EXPORTER", "console")], "OTEL_LOGS_EXPORTER", "console", "environment"),
    (&[("OTEL_METRICS_EXPORTER", "none")], "OTEL_METRICS_EXPORTER", "none", "environment"),
    (&[("OTEL_METRICS_EXPORTER", "otlp")], "OTEL_METRICS_EXPORTER", "otlp", "environment"),
    // Ours: metrics are sent without a compile having happened, so somebody must have asked for them.
    (&[], "OTEL_METRICS_EXPORTER", "none", "default"),
    (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318")], "OTEL_METRICS_EXPORTER", "otlp", "default"),
    (&[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://c:4318/m")], "OTEL_METRICS_EXPORTER", "otlp", "default"),
    (&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:4318/t")], "OTEL_METRICS_EXPORTER", "none", "default"),
    // Endpoints.
    (&[], "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://localhost:4318/v1/traces", "default"),
    (
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/base/")],
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "http://c:4318/base/v1/traces",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    ),
    (
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318")],
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        "http://c:4318/v1/metrics",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    ),
    (
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318")],
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
        "http://c:4318/v1/logs",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    ),
    (
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"), ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t:1/as/is")],
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "http://t:1/as/is",
        "environment",
    ),
    (
        &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://user:secret@t:1/as/is?key=secret")],
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "http://t:1/as/is",
        "environment",
    ),
    // Protocol: port 4317 and grpc:// mean gRPC where none is set.
    (&[], "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf", "default"),
    (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317")], "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc", "default"),
    (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://c:9")], "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc", "default"),
    (
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")],
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        "http/protobuf",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
    ),
    (
        &[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"), ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "grpc")],
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
        "http://localhost:4317/",
        "default",
    ),
    // Security of an address without a scheme.
    (
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4317")],
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "https://c:4317/",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    ),
    (
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4317"), ("OTEL_EXPORTER_OTLP_INSECURE", "true")],
        "OTEL_EXPORTER_OTLP_TRACES_INSECURE",
        "true",
        "OTEL_EXPORTER_OTLP_INSECURE",
    ),
    (
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c:4317"), ("OTEL_EXPORTER_OTLP_INSECURE", "true")],
        "OTEL_EXPORTER_OTLP_TRACES_INSECURE",
        "false",
        "OTEL_EXPORTER_OTLP_INSECURE",
    ),
    // Headers, time-outs in milliseconds, compression.
    (
        &[("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20secret,x-tenant=7")],
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        "authorization=<hidden>,x-tenant=<hidden>",
        "OTEL_EXPORTER_OTLP_HEADERS",
    ),
    (
        &[("OTEL_EXPORTER_OTLP_HEADERS", " A = b , Content-Type=text/plain,content-length=1,te=x,")],
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        "a=<hidden>",
        "OTEL_EXPORTER_OTLP_HEADERS",
    ),
    (&[], "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "10000 ms", "default"),
    (
        &[("OTEL_EXPORTER_OTLP_TIMEOUT", "10"), ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "20")],
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
        "20 ms",
        "environment",
    ),
    (
        &[("OTEL_EXPORTER_OTLP_TIMEOUT", "0")],
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
        "no limit",
        "OTEL_EXPORTER_OTLP_TIMEOUT",
    ),
    (&[("OTEL_BSP_EXPORT_TIMEOUT", "0")], "OTEL_BSP_EXPORT_TIMEOUT", "no limit", "environment"),
    (&[("OTEL_METRIC_EXPORT_TIMEOUT", "0")], "OTEL_METRIC_EXPORT_TIMEOUT", "no limit", "environment"),
    (&[], "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "none", "default"),
    (
        &[("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"), ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "none")],
        "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
        "none",
        "environment",
    ),
    (
        &[("OTEL_EXPORTER_OTLP_CERTIFICATE", "/dev/null"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c")],
        "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
        "/dev/null",
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
    ),
    (
        &[("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/dev/null"), ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/dev/null")],
        "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
        "/dev/null",
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    ),
    // How spans wait.
    (&[], "OTEL_BSP_SCHEDULE_DELAY", "5000 ms", "default"),
    (&[("OTEL_BSP_SCHEDULE_DELAY", "0")], "OTEL_BSP_SCHEDULE_DELAY", "0 ms", "environment"),
    (&[], "OTEL_BSP_MAX_QUEUE_SIZE", "2048", "default"),
    (&[("OTEL_BSP_MAX_QUEUE_SIZE", "100")], "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "100", "default"),
    (&[("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "7")], "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "7", "environment"),
    (&[], "OTEL_BSP_EXPORT_TIMEOUT", "30000 ms", "default"),
    (&[], "OTEL_METRIC_EXPORT_INTERVAL", "60000 ms", "default"),
    (&[("OTEL_METRIC_EXPORT_INTERVAL", "5000")], "OTEL_METRIC_EXPORT_INTERVAL", "5000 ms", "environment"),
    (&[("OTEL_METRIC_EXPORT_TIMEOUT", "50")], "OTEL_METRIC_EXPORT_TIMEOUT", "50 ms", "environment"),
    // What a span holds.
    (&[], "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "128", "default"),
    (
        &[("OTEL_ATTRIBUTE_COUNT_LIMIT", "9"), ("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "3")],
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
        "9",
        "OTEL_ATTRIBUTE_COUNT_LIMIT",
    ),
    (
        &[("OTEL_ATTRIBUTE_COUNT_LIMIT", "9"), ("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "3")],
        "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
        "3",
        "environment",
    ),
    (&[("OTEL_SPAN_EVENT_COUNT_LIMIT", "0")], "OTEL_SPAN_EVENT_COUNT_LIMIT", "0", "environment"),
    (&[("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "12")], "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "12", "environment"),
    (
        &[("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "12"), ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "20")],
        "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        "20",
        "environment",
    ),
    // Which traces, and out of which headers.
    (&[], "OTEL_TRACES_SAMPLER", "parentbased_always_on", "default"),
    (&[("OTEL_TRACES_SAMPLER", "always_off")], "OTEL_TRACES_SAMPLER", "always_off", "environment"),
    (
        &[("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0.25")],
        "OTEL_TRACES_SAMPLER",
        "parentbased_traceidratio(0.25)",
        "environment",
    ),
    (&[], "OTEL_PROPAGATORS", "tracecontext", "default"),
    (&[("OTEL_PROPAGATORS", "none")], "OTEL_PROPAGATORS", "none", "environment"),
    (
        &[("OTEL_PROPAGATORS", "tracecontext, baggage,b3multi,jaeger")],
        "OTEL_PROPAGATORS",
        "tracecontext,b3,jaeger",
        "environment",
    ),
    // Our own.
    (&[("JITSPAN_EVENTS", "both")], "JITSPAN_EVENTS", "both", "environment"),
    (&[("JITSPAN_FLUSH_TIMEOUT", "0.5")], "JITSPAN_FLUSH_TIMEOUT", "0.5 s", "environment"),
    (&[("JITSPAN_ERROR_ON", "compile,load")], "JITSPAN_ERROR_ON", "compile,load", "environment"),
];

#[test]
fn each_variable_means_what_the_specification_says() {
    for (environment, variable, value, origin) in MEANINGS {
        let row = described(environment, variable);
        assert_eq!((&*row.value, &*row.origin), (*value, *origin), "{variable} with {environment:?}");
    }
}

#[test]
fn what_cannot_be_used_is_named_with_what_is_accepted() {
    let refused: &[(Environment<'_>, &str)] = &[
        (&[("OTEL_SDK_DISABLED", "maybe")], r#"OTEL_SDK_DISABLED="maybe": expected true or false"#),
        (&[("OTEL_TRACES_EXPORTER", "zipkin")], r#"OTEL_TRACES_EXPORTER="zipkin": expected otlp, console or none"#),
        (
            &[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")],
            r#"OTEL_EXPORTER_OTLP_PROTOCOL="http/json": expected grpc or http/protobuf"#,
        ),
        (
            &[("OTEL_EXPORTER_OTLP_TIMEOUT", "10s")],
            r#"OTEL_EXPORTER_OTLP_TIMEOUT="10s": expected a time in whole milliseconds"#,
        ),
        (
            &[("OTEL_EXPORTER_OTLP_HEADERS", "authorization: Bearer secret")],
            "OTEL_EXPORTER_OTLP_HEADERS=<hidden>: expected key=value pairs with commas between them, percent-encoded",
        ),
        (
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:secret@")],
            "OTEL_EXPORTER_OTLP_ENDPOINT=<hidden>: expected an address such as http://host:4318",
        ),
        (
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[::1]:99999")],
            r#"OTEL_EXPORTER_OTLP_ENDPOINT="http://[::1]:99999": expected an address such as http://host:4318"#,
        ),
        (
            &[("OTEL_EXPORTER_OTLP_CERTIFICATE", "/")],
            r#"OTEL_EXPORTER_OTLP_CERTIFICATE="/": expected a PEM file, not a folder"#,
        ),
        (
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "htp://c:4318/?token=secret")],
            "OTEL_EXPORTER_OTLP_ENDPOINT=<hidden>: expected an address such as http://host:4318",
        ),
        (
            &[("OTEL_PROPAGATORS", "xray")],
            r#"OTEL_PROPAGATORS="xray": expected tracecontext, baggage, b3, b3multi, jaeger, none, or several with commas"#,
        ),
        (
            &[("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")],
            r#"OTEL_TRACES_SAMPLER_ARG="2": expected a number from 0 to 1"#,
        ),
        (
            &[("OTEL_BSP_MAX_QUEUE_SIZE", "10"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "11")],
            r#"OTEL_BSP_MAX_EXPORT_BATCH_SIZE="11": expected at most OTEL_BSP_MAX_QUEUE_SIZE, which is 10"#,
        ),
        (
            &[("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/dev/null")],
            r#"OTEL_EXPORTER_OTLP_CLIENT_KEY="/dev/null": expected a client key and a client certificate together"#,
        ),
    ];
    for (environment, message) in refused {
        let error = resolve(environment).err().unwrap_or_else(|| panic!("{environment:?} was accepted"));
        assert_eq!(error.to_string(), *message);
    }
}

#[test]
fn no_credential_is_in_anything_that_is_shown() {
    let environment = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20s3cret"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:s3cret@collector:4318/?token=s3cret"),
    ];
    let config = resolve(&environment).unwrap();
    let shown = format!("{config:?} {:?}", config.describe());
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[test]
fn every_variable_of_the_specification_that_we_know_is_described() {
    let everything = [("OTEL_METRICS_EXPORTER", "otlp")];
    let known: Vec<String> = resolve(&everything).unwrap().describe().into_iter().map(|row| row.variable).collect();
    for signal in ["TRACES", "METRICS", "LOGS"] {
        assert!(known.contains(&format!("OTEL_{signal}_EXPORTER")), "{signal}");
        for setting in [
            "ENDPOINT",
            "PROTOCOL",
            "HEADERS",
            "TIMEOUT",
            "COMPRESSION",
            "CERTIFICATE",
            "CLIENT_KEY",
            "CLIENT_CERTIFICATE",
            "INSECURE",
        ] {
            let variable = format!("OTEL_EXPORTER_OTLP_{signal}_{setting}");
            assert!(known.contains(&variable), "{variable}");
        }
    }
    for variable in MEANINGS.iter().map(|(_, variable, ..)| variable.to_string()) {
        assert!(known.contains(&variable), "{variable}");
    }
}
