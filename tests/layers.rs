//! The rules of the layers (ARCHITECTURE.md), held against the source.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn code_of(path: &Path) -> String {
    let source = fs::read_to_string(path).unwrap();
    let code = source.split("#[cfg(test)]").next().unwrap();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn only_the_python_folder_names_pyo3() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let outside = sources(&source).into_iter().filter(|path| !path.starts_with(source.join("python")));
    let named: Vec<_> = outside.filter(|path| code_of(path).contains("pyo3")).collect();
    assert_eq!(named, Vec::<PathBuf>::new());
}

#[test]
fn the_model_does_no_io_reads_no_clock_and_knows_no_sdk() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let forbidden = [
        "std::fs",
        "std::net",
        "std::io",
        "std::thread",
        "tokio",
        "hyper",
        "tonic",
        "Instant",
        "SystemTime",
        "opentelemetry_sdk",
        "opentelemetry_proto",
        "tracing",
        "pyo3",
        "println",
        "std::env",
    ];
    for file in [
        "model/attribute.rs",
        "model/event.rs",
        "model/explain.rs",
        "model/limits.rs",
        "model/log_event.rs",
        "model/span.rs",
        "model/summary.rs",
        "scope.rs",
        "scope/ending.rs",
        "semconv.rs",
    ] {
        let path = source.join(file);
        let code = code_of(&path);
        let found: Vec<_> = forbidden.iter().filter(|word| code.contains(**word)).collect();
        assert_eq!(found, Vec::<&&str>::new(), "{file}");
    }
}

#[test]
fn names_on_the_wire_stand_in_one_place() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let others = sources(&source)
        .into_iter()
        .filter(|path| !path.ends_with("semconv.rs") && !path.starts_with(source.join("view")));
    let named: Vec<_> = others.filter(|path| code_of(path).contains("\"jit.")).collect();
    assert_eq!(named, Vec::<PathBuf>::new());
}

#[test]
fn what_is_made_once_is_made_early_and_in_one_place() {
    // A child that is forked while another thread is in the middle of a `Once` waits for it for ever.
    let once = [
        "OnceLock",
        "OnceCell",
        "LazyLock",
        "LazyCell",
        "Once::",
        "intern!",
        "lazy_static",
        "GILOnceCell",
        "call_once",
    ];
    let allowed = [
        // Where it is kept, and set when the module is imported.
        "python/host/prepared.rs",
        // `pthread_atfork`, asked for when the module is imported.
        "process/mod.rs",
        // One for each stall, not for the process: a child has its own.
        "scope.rs",
    ];
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in allowed {
        assert!(source.join(file).is_file(), "{file} is not there: which file is it now?");
    }
    // The viewer and loom's model are programs of their own.
    let watched = sources(&source).into_iter().filter(|path| {
        let path = path.strip_prefix(&source).unwrap();
        !allowed.iter().any(|file| path == Path::new(file))
            && !path.starts_with("view")
            && !path.ends_with("model.rs")
            && path != Path::new("process/concurrency.rs")
    });
    let found: Vec<_> = watched
        .filter_map(|path| {
            let code = code_of(&path);
            let word = once.iter().find(|word| code.contains(*word))?;
            Some(format!("{}: {word}", path.display()))
        })
        .collect();
    assert_eq!(found, Vec::<String>::new());
}
