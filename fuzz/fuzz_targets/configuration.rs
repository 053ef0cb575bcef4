//! The environment: each line is `VARIABLE=value`. It is accepted or refused by name, and a secret stays one.

#![no_main]

use jitspan::{Config, Settings};
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "s3cr3t-t0ken";

fuzz_target!(|text: &str| {
    // A file that is named would be opened: none of the fuzzer's business.
    let variables: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| !name.contains("CERTIFICATE") && !name.contains("KEY"))
        .collect();
    let lookup = |name: &str| match name {
        "OTEL_EXPORTER_OTLP_HEADERS" => Some(format!("authorization=Bearer%20{SECRET}")),
        _ => variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string()),
    };
    match Config::resolve(&Settings::default(), &lookup) {
        Ok(config) => assert!(!format!("{config:?} {:?}", config.describe()).contains(SECRET)),
        Err(error) => assert!(!error.variable.is_empty() && !error.accepted.is_empty()),
    }
});
