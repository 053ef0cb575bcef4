#![no_main]

#[path = "../targets.rs"]
#[expect(dead_code, reason = "each binary runs one of them")]
mod targets;

libfuzzer_sys::fuzz_target!(|input: &[u8]| targets::attributes(input));
