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
    // The specification: nothing but `true` is true.
    (&[("OTEL_SDK_DISABLED", "1")], "OTEL_SDK_DISABLED", "false", "environment"),
    (&[("JITSPAN", "0")], "OTEL_SDK_DISABLED", "true", "JITSPAN"),
    (&[("JITSPAN", "0")], "JITSPAN", "false", "environment"),
    (&[("JITSPAN", "0")], "OTEL_TRACES_EXPORTER", "none", "default"),
    // Who we are.
    (&[("OTEL_SERVICE_NAME", "a b")], "OTEL_SERVICE_NAME", "a b", "environment"),
    (&[("OTEL_RESOURCE_ATTRIBUTES", "service.name=b%20c")], "OTEL_SERVICE_NAME", "b c", "OTEL_RESOURCE_ATTRIBUTES"),
    (
        &[("OTEL_SERVICE_NAME", "wins"), ("OTEL_RESOURCE_ATTRIBUTES", "service.name=loses,k=a%2Cb")],
        "OTEL_RESOURCE_ATTRIBUTES",
        "k=<hidden>,service.name=wins",
        "environment",
    ),
    // The specification: what cannot be read is discarded, all of it.
    (&[("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,b")], "OTEL_RESOURCE_ATTRIBUTES", "", "default"),
    // Where to.
    (&[], "OTEL_TRACES_EXPORTER", "otlp", "default"),
    (&[("OTEL_TRACES_EXPORTER", "console,otlp")], "OTEL_TRACES_EXPORTER", "otlp,console", "environment"),
    (&[("OTEL_TRACES_EXPORTER", " , ")], "OTEL_TRACES_EXPORTER", "otlp", "default"),
    (&[("OTEL_METRICS_EXPORTER", "prometheus")], "OTEL_METRICS_EXPORTER", "none", "environment"),
    (&[("OTEL_TRACES_EXPORTER", "none")], "OTEL_TRACES_EXPORTER", "none", "environment"),
    (&[("OTEL_TRACES_EXPORTER", "zipkin,console")], "OTEL_TRACES_EXPORTER", "console", "environment"),
    (&[("OTEL_TRACES_EXPORTER", "zipkin")], "OTEL_TRACES_EXPORTER", "otlp", "default"),
    (&[("OTEL_LOGS_EXPORTER", "console"), ("JITSPAN_EVENTS", "log")], "OTEL_LOGS_EXPORTER", "console", "environment"),
    // They are not sent, whatever is said of them.
    (&[("OTEL_LOGS_EXPORTER", "console")], "OTEL_LOGS_EXPORTER", "none", "default"),
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
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"), ("JITSPAN_EVENTS", "log")],
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
        "http://c:4318/v1/logs",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    ),
    (
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t:1/otlp/api"),
        ],
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "http://t:1/otlp/api",
        "environment",
    ),
    (
        &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://user:secret@t:1/otlp/api?key=secret")],
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "http://t:1/otlp/api",
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
        &[
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "grpc"),
            ("JITSPAN_EVENTS", "log"),
        ],
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
        "http://localhost:4317/",
        "default",
    ),
    // The specification: what an enumeration does not know is ignored.
    (&[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")], "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf", "default"),
    (
        &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json")],
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        "grpc",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
    ),
    (&[("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd")], "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "none", "default"),
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
    (&[("OTEL_EXPORTER_OTLP_TIMEOUT", "10s")], "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "10000 ms", "default"),
    (&[("OTEL_EXPORTER_OTLP_TIMEOUT", "-1")], "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "10000 ms", "default"),
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
    (&[("OTEL_BSP_MAX_QUEUE_SIZE", "0")], "OTEL_BSP_MAX_QUEUE_SIZE", "2048", "default"),
    (
        &[("OTEL_BSP_MAX_QUEUE_SIZE", "10"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "11")],
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        "10",
        "default",
    ),
    (&[("OTEL_BSP_SCHEDULE_DELAY", "2147483648")], "OTEL_BSP_SCHEDULE_DELAY", "5000 ms", "default"),
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
    (
        &[("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")],
        "OTEL_TRACES_SAMPLER_ARG",
        "1",
        "default",
    ),
    (&[("OTEL_TRACES_SAMPLER_ARG", "2")], "OTEL_TRACES_SAMPLER_ARG", "(not used)", "default"),
    (&[("OTEL_TRACES_SAMPLER", "xray")], "OTEL_TRACES_SAMPLER", "parentbased_always_on", "default"),
    (&[], "OTEL_PROPAGATORS", "tracecontext", "default"),
    (&[("OTEL_PROPAGATORS", "xray")], "OTEL_PROPAGATORS", "tracecontext", "default"),
    (&[("OTEL_PROPAGATORS", "xray,b3")], "OTEL_PROPAGATORS", "b3", "environment"),
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
    (&[("JITSPAN_MODE", "error")], "JITSPAN_MODE", "error", "environment"),
    (&[("JITSPAN_VERBOSE", "on")], "JITSPAN_VERBOSE", "true", "environment"),
    (&[("JITSPAN_ARM", " after=2.5 ")], "JITSPAN_ARM", "after=2.5", "environment"),
    (&[], "JITSPAN_ARM", "manual", "default"),
    (&[("JITSPAN_VLLM_TRACEPARENT", "FALSE")], "JITSPAN_VLLM_TRACEPARENT", "false", "environment"),
];

#[test]
fn each_variable_means_what_the_specification_says() {
    for (environment, variable, value, origin) in MEANINGS {
        let row = described(environment, variable);
        assert_eq!((&*row.value.to_string(), &*row.origin), (*value, *origin), "{variable} with {environment:?}");
    }
}

#[test]
fn what_cannot_be_used_is_named_with_what_is_accepted() {
    let refused: &[(Environment<'_>, &str)] = &[
        (&[("JITSPAN", "maybe")], r#"JITSPAN="maybe": expected true or false"#),
        (&[("JITSPAN_MODE", "loud")], r#"JITSPAN_MODE="loud": expected warn or error"#),
        (
            &[("JITSPAN_ARM", "after=1e10")],
            r#"JITSPAN_ARM="after=1e10": expected now, manual, or after=<seconds> with at most 604800 seconds, a week"#,
        ),
        (
            &[("JITSPAN_ERROR_ON", "compile,launch")],
            r#"JITSPAN_ERROR_ON="compile,launch": expected compile, autotune, load, or several with commas"#,
        ),
        (
            &[("JITSPAN_FLUSH_TIMEOUT", "1e18")],
            r#"JITSPAN_FLUSH_TIMEOUT="1e18": expected a time in seconds, at most 3600"#,
        ),
        (&[("JITSPAN_MAX_REQUESTS", "0")], r#"JITSPAN_MAX_REQUESTS="0": expected a whole number from 1 to 65536"#),
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
            &[("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/dev/null")],
            "OTEL_EXPORTER_OTLP_CLIENT_KEY=\"/dev/null\": expected OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE as well: \
             a client key and its certificate go together",
        ),
    ];
    for (environment, message) in refused {
        let error = resolve(environment).err().unwrap_or_else(|| panic!("{environment:?} was accepted"));
        assert_eq!(error.to_string(), *message);
    }
}

/// Variables of which each alone stops `activate()`, or is ignored with a warning.
const BAD: &[(&str, &str)] = &[
    ("JITSPAN_MODE", "loud"),
    ("JITSPAN_VERBOSE", "very"),
    ("JITSPAN_ARM", "later"),
    ("JITSPAN_EVENTS", "morse"),
    ("JITSPAN_COMPILE_SPANS", "few"),
    ("JITSPAN_ERROR_ON", "launch"),
    ("JITSPAN_FLUSH_TIMEOUT", "soon"),
    ("JITSPAN_MAX_REQUESTS", "-1"),
    ("JITSPAN_VLLM_TRACEPARENT", "perhaps"),
    ("OTEL_TRACES_EXPORTER", "zipkin"),
    ("OTEL_METRICS_EXPORTER", "zipkin"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "htp://"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
    ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/json"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "none"),
    ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such/file"),
    ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/dev/null"),
    ("OTEL_RESOURCE_ATTRIBUTES", "none"),
    ("OTEL_PROPAGATORS", "xray"),
    ("OTEL_TRACES_SAMPLER", "xray"),
    ("OTEL_BSP_SCHEDULE_DELAY", "5s"),
    ("OTEL_SPAN_EVENT_COUNT_LIMIT", "many"),
];

#[test]
fn a_switch_that_is_off_is_off_whatever_else_is_wrong() {
    for switch in [("JITSPAN", "0"), ("OTEL_SDK_DISABLED", "true")] {
        for bad in BAD {
            let config = resolve(&[switch, *bad]).unwrap_or_else(|error| panic!("{switch:?} {bad:?}: {error}"));
            assert!(config.disabled, "{switch:?} {bad:?}");
        }
        let all: Vec<(&str, &str)> = BAD.iter().copied().chain([switch]).collect();
        assert!(resolve(&all).unwrap().disabled);
    }
    // One switch is misspelt, the other one is not.
    assert!(resolve(&[("JITSPAN", "maybe"), ("OTEL_SDK_DISABLED", "true")]).unwrap().disabled);
    assert!(resolve(&[("JITSPAN", "0"), ("OTEL_SDK_DISABLED", "maybe")]).unwrap().disabled);
}

#[test]
fn what_the_specification_wants_ignored_is_ignored_with_a_warning_and_ours_is_refused() {
    let strict = ["ENDPOINT", "HEADERS", "CERTIFICATE", "CLIENT_KEY"];
    for (name, value) in BAD {
        let resolved = resolve(&[(name, value)]);
        if name.starts_with("JITSPAN") || strict.iter().any(|end| name.ends_with(end)) {
            assert_eq!(resolved.unwrap_err().variable, *name);
            continue;
        }
        let config = resolved.unwrap_or_else(|error| panic!("{error}"));
        let ignored: Vec<&str> = config.ignored().iter().map(|error| &*error.variable).collect();
        // That of a signal which is not sent is not even looked at.
        assert_eq!(ignored, if name.contains("LOGS") { vec![] } else { vec![*name] });
    }
    assert_eq!(resolve(&[("OTEL_SDK_DISABLED", "1")]).unwrap().ignored().len(), 1);
    let config = resolve(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"), ("JITSPAN_EVENTS", "both")]).unwrap();
    assert_eq!(
        config.ignored().iter().map(ToString::to_string).collect::<Vec<_>>(),
        [r#"OTEL_EXPORTER_OTLP_PROTOCOL="http/json": expected grpc or http/protobuf"#]
    );
}

#[test]
fn the_variables_of_a_signal_that_is_not_sent_are_not_looked_at() {
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "htp://"),
        ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "none"),
        ("OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", "/no/such/file"),
    ] {
        assert!(resolve(&[(name, value)]).is_ok(), "{name}");
    }
    assert!(resolve(&[("OTEL_TRACES_EXPORTER", "none"), ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "htp://")]).is_ok());
    assert!(resolve(&[("OTEL_TRACES_EXPORTER", "console"), ("OTEL_EXPORTER_OTLP_HEADERS", "none")]).is_ok());
}

#[test]
fn no_credential_is_in_anything_that_is_shown() {
    let environment = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20s3cret"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:s3cret@collector:4318/s3cret/?token=s3cret"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=chat,api_key=s3cret"),
    ];
    let config = resolve(&environment).unwrap();
    let shown = format!("{config:?} {:?}", config.describe());
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[test]
fn the_text_of_a_key_is_in_no_error() {
    let pem = "-----BEGIN PRIVATE KEY-----\nMIIEs3cret\n-----END PRIVATE KEY-----";
    for secret in [pem, "MIIEs3cret/AbC", "s3cret"] {
        for setting in ["CLIENT_KEY", "CLIENT_CERTIFICATE", "CERTIFICATE"] {
            let variable = format!("OTEL_EXPORTER_OTLP_{setting}");
            let shown = resolve(&[(&variable, secret)]).unwrap_err().to_string();
            assert!(shown.starts_with(&format!("{variable}=<hidden>")) && !shown.contains("s3cret"), "{shown}");
        }
    }
}

const SETTINGS: [&str; 9] = [
    "ENDPOINT",
    "PROTOCOL",
    "HEADERS",
    "TIMEOUT",
    "COMPRESSION",
    "CERTIFICATE",
    "CLIENT_KEY",
    "CLIENT_CERTIFICATE",
    "INSECURE",
];

#[test]
fn every_variable_of_the_specification_that_we_know_is_described() {
    let everything = [("OTEL_METRICS_EXPORTER", "otlp"), ("JITSPAN_EVENTS", "both")];
    let known: Vec<String> = resolve(&everything).unwrap().describe().into_iter().map(|row| row.variable).collect();
    for signal in ["TRACES", "METRICS", "LOGS"] {
        assert!(known.contains(&format!("OTEL_{signal}_EXPORTER")), "{signal}");
        for setting in SETTINGS {
            let variable = format!("OTEL_EXPORTER_OTLP_{signal}_{setting}");
            assert!(known.contains(&variable), "{variable}");
        }
    }
    assert_eq!(jitspan::config::variables().into_iter().filter(|name| !known.contains(name)).collect::<Vec<_>>(), {
        // Those that stand for several others, each of which has a row.
        let mut general = vec!["OTEL_ATTRIBUTE_COUNT_LIMIT".to_owned()];
        general.extend(SETTINGS.map(|setting| format!("OTEL_EXPORTER_OTLP_{setting}")));
        general.sort();
        general
    });
    for variable in MEANINGS.iter().map(|(_, variable, ..)| variable.to_string()) {
        assert!(known.contains(&variable), "{variable}");
    }
}
