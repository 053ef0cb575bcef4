//! The rules of the layers (ARCHITECTURE.md), held against the source.

mod circles;
mod dropped;
mod modules;
mod rooms;

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

fn read() -> modules::Modules {
    modules::Modules::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let uses = read().uses();
    if std::env::var_os("LAYERS_SHOW").is_some() {
        for u in &uses {
            println!("{} {} {} {} {}", if u.of_parent { "PARENT" } else { "EDGE" }, u.by, u.of, u.line, u.path);
        }
    }
    let lines = |circle: &Vec<modules::Use>| circle.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  ");
    let found: Vec<String> = circles::circles(&uses).iter().map(lines).collect();
    assert!(found.is_empty(), "circles:\n{}", found.join("\n\n"));
}

#[test]
fn a_room_uses_lower_ones_only() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let read = read();
    assert_eq!(rooms::missing(&source), Vec::<&str>::new(), "named in tests/layers/rooms.rs, and not there");
    assert_eq!(rooms::homeless(&read.files()), Vec::<&str>::new(), "in no room of tests/layers/rooms.rs");
    let climbs = rooms::climbs(&read.uses());
    assert!(climbs.is_empty(), "a lower room uses a higher one:\n{}", climbs.join("\n"));
}

#[test]
fn what_is_not_used_elsewhere_is_still_read() {
    // Every file under src/ is declared by another one: what is not would be looked at by nobody, compiler included.
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let read = read();
    let known = read.files();
    let under = |path: &PathBuf| path.strip_prefix(&source).unwrap().to_str().unwrap().to_owned();
    let tests = |file: &String| file.ends_with("model.rs") || file.ends_with("tests.rs") || file.contains("/tests/");
    let unknown: Vec<String> =
        sources(&source).iter().map(under).filter(|file| !tests(file) && !known.contains(file.as_str())).collect();
    assert_eq!(unknown, Vec::<String>::new());
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
fn the_environment_is_read_in_the_configuration_alone() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    // `model.rs` are loom's tests.
    let outside: Vec<PathBuf> = sources(&source)
        .into_iter()
        .filter(|path| !path.starts_with(source.join("config")) && !path.ends_with("model.rs"))
        .collect();
    let read = ["env::var", "var_os", "vars_os", "getenv", "\"environ\""];
    // Triton's switch is set there for the time that we are active, as vLLM's monitor sets it; and doctor gives a Python
    // of its own what this one has. Neither reads it there.
    let written = ["python/hooks/triton/mod.rs", "python/surface/doctor.rs"].map(|file| source.join(file));
    let reading: Vec<_> = outside
        .iter()
        .filter(|path| {
            let code = code_of(path);
            read.iter().any(|word| code.contains(word) && !(written.contains(path) && *word == "\"environ\""))
        })
        .collect();
    assert_eq!(reading, Vec::<&PathBuf>::new());
    // Nor is a variable named elsewhere, by which it could be read through a function of the configuration. The report
    // advises people to set some.
    let advises = source.join("findings");
    let naming: Vec<_> =
        outside.iter().filter(|path| !path.starts_with(&advises) && names_a_variable(&code_of(path))).collect();
    assert_eq!(naming, Vec::<&PathBuf>::new());
}

/// `"JITSPAN_MODE"`: a text of nothing but capitals that begins like a variable.
fn names_a_variable(code: &str) -> bool {
    let is_name = |text: &str| {
        let known = ["JITSPAN", "OTEL_", "VLLM_", "SGLANG_", "TRITON_", "XDG_", "PYTHON"];
        known.iter().any(|begin| text.starts_with(begin))
            && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    };
    code.split('"').any(is_name)
}

#[test]
fn every_setting_of_ours_stands_in_the_readmes_table() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let rows: Vec<&str> = readme.lines().filter(|line| line.starts_with("| `JITSPAN")).collect();
    let written = |name: &String| rows.iter().any(|row| row.split('|').nth(1).unwrap().contains(&format!("`{name}`")));
    let ours = jitspan::config::variables().into_iter().filter(|name| name.starts_with("JITSPAN"));
    let missing: Vec<String> = ours.filter(|name| !written(name)).collect();
    assert_eq!(missing, Vec::<String>::new());
}

/// `Engine::new("vllm", ("0.20.0", "0.33.0"), "0.26.0", ...)`: what status() and doctor say.
#[test]
fn the_readme_names_the_same_releases_of_engines_as_the_tables() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    for (title, file) in [("vLLM", "vllm/mod.rs"), ("SGLang", "sglang.rs")] {
        let code = code_of(&root.join("src/python/engines").join(file));
        let row = code.split_once("Engine::new(").expect(file).1;
        let [_, oldest, newest, ran] = [1, 3, 5, 7].map(|part| row.split('"').nth(part).unwrap());
        for said in [format!("{title} {ran}"), format!("{title} {oldest} to {newest}")] {
            assert!(readme.contains(&said), "README.md does not say {said:?}");
        }
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
        // When the module is imported, before there is anything else of ours.
        "python/entry.rs",
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

#[test]
fn no_file_drops_the_error_of_the_hosts_python() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    // What it reads is ours, made for that: it lets PyO3 prepare what events need.
    let ours = source.join("python/host/once.rs");
    assert!(ours.is_file(), "{} is not there: which file is it now?", ours.display());
    let found: Vec<String> = sources(&source.join("python"))
        .iter()
        .filter(|path| **path != ours)
        .flat_map(|path| {
            let file = path.strip_prefix(&source).unwrap().to_str().unwrap().to_owned();
            let dropped = dropped::dropped(&fs::read_to_string(path).unwrap());
            dropped.into_iter().map(move |(line, text)| format!("{file}:{line}: {text}"))
        })
        .collect();
    assert_eq!(found, Vec::<String>::new());
}
