//! The parsers, fed with the corpus of the fuzzer and with mutations of it, and nothing breaks.
//!
//! libFuzzer finds more, because it sees which code an input reaches, but it needs a nightly compiler: `make fuzz`. This
//! one runs wherever the other tests do. `JITSPAN_FUZZ_SECONDS` (1) for each parser; a failure is written to
//! `fuzz/artifacts`, to be kept in `fuzz/corpus` as a regression. `JITSPAN_FUZZ_SEED` tries other mutations.

#[path = "support/random.rs"]
mod random;
#[path = "../fuzz/targets.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use random::{Random, variable};

/// Pieces that the parsers look for.
const WORDS: [&[u8]; 22] = [
    b"traceparent: ",
    b"tracestate: ",
    b"b3: ",
    b"uber-trace-id: ",
    b"-01",
    b"%3a",
    b"%00",
    b"%",
    b"=",
    b",",
    b"\n",
    b"://",
    b"@",
    b"[::1]",
    b"OTEL_BSP_SCHEDULE_DELAY=",
    b"JITSPAN_FLUSH_TIMEOUT=",
    b"OTEL_EXPORTER_OTLP_ENDPOINT=",
    b"18446744073709551615",
    b"1e300",
    b"-0",
    "\u{130}".as_bytes(),
    "\u{2028}".as_bytes(),
];

/// One to eight changes: bytes and pieces put in, taken out, doubled, or taken from another input.
fn mutate(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let some = |random: &mut Random| corpus[random.index(corpus.len())].clone();
    let mut input = some(random);
    for _ in 0..=random.below(8) {
        let at = random.index(input.len() + 1);
        let to = at + random.index(input.len() - at + 1).min(32);
        match random.below(6) {
            0 => input.insert(at, random.below(256) as u8),
            1 => drop(input.drain(at..to)),
            2 => drop(input.splice(at..at, WORDS[random.index(WORDS.len())].iter().copied())),
            3 => drop(input.splice(at..at, input[at..to].to_vec())),
            4 if at < input.len() => input[at] ^= 1 << random.below(8),
            _ => {
                let other = some(random);
                input.truncate(at);
                input.extend(&other[random.index(other.len() + 1)..]);
            }
        }
    }
    input.truncate(4096);
    input
}

fn run(target: &str, body: fn(&[u8])) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let files = std::fs::read_dir(fuzz.join("corpus").join(target)).unwrap();
    let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let corpus: Vec<Vec<u8>> = files.iter().map(|path| std::fs::read(path).unwrap()).collect();
    assert!(!corpus.is_empty());
    let check = |input: &[u8]| {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(input))) {
            let folder = fuzz.join("artifacts").join(target);
            let _ = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(folder.join("nonsense"), input));
            eprintln!("{target}: {:?}", String::from_utf8_lossy(input));
            std::panic::resume_unwind(panic);
        }
    };
    corpus.iter().for_each(|input| check(input));
    let mut random = Random::new(variable("JITSPAN_FUZZ_SEED", 1));
    let until = Instant::now() + Duration::from_secs(variable("JITSPAN_FUZZ_SECONDS", 1));
    let mut inputs = 0_u64;
    while Instant::now() < until {
        check(&mutate(&corpus, &mut random));
        inputs += 1;
    }
    println!("{target}: {} of the corpus, {inputs} mutations", corpus.len());
}

#[test]
fn no_header_breaks_the_propagators() {
    run("carriers", targets::carriers);
}

#[test]
fn no_environment_breaks_the_configuration_or_shows_a_credential() {
    run("configuration", targets::configuration);
}

#[test]
fn no_text_breaks_the_encoding_of_attributes() {
    run("attributes", targets::attributes);
}
