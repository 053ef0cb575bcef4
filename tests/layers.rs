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
        "model/recipe.rs",
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
