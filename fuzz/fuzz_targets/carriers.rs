//! Headers of strangers: each line is `name: value`. Whatever they hold, reading them ends, and what is read is valid.

#![no_main]

use jitspan::propagation::{Format, extract};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let headers: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once(": ")).collect();
    let header = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
    let each = [Format::TraceContext, Format::B3, Format::Jaeger];
    for formats in [&each[..1], &each[1..2], &each[2..], &each] {
        if let Ok(Some(context)) = extract(formats, &header) {
            assert!(context.is_valid() && context.is_remote());
        }
    }
});
