//! A kernel's name and source, as another process finds it again.

use pyo3::prelude::*;
use pyo3::types::PyString;
use ring::digest::{SHA256, digest};

use crate::model::recipe::KernelName;
use crate::python::host::convert::{get, text};

/// A kernel, as another process finds it.
pub fn kernel(function: &Bound<'_, PyAny>) -> KernelName {
    let python = get(function, "fn").unwrap_or_else(|| function.clone());
    let of = |name: &str| get(&python, name).map(|text| self::text(&text)).unwrap_or_default();
    let (name, own) = (of("__qualname__"), of("__name__"));
    KernelName {
        module: of("__module__"),
        function: (name.rsplit('.').next() != Some(&own)).then_some(own),
        name,
        source: source(function),
        // It has been asked for by now: the compile needs it.
        hash: get(function, "cache_key").map(|hash| text(&hash).chars().take(16).collect()).unwrap_or_default(),
    }
}

/// The hash of a kernel's own source.
pub fn source(function: &Bound<'_, PyAny>) -> String {
    whole_text(get(function, "src")).map(|source| short_hash(&source)).unwrap_or_default()
}

/// Not cut, as those of a span are.
pub fn whole_text(any: Option<Bound<'_, PyAny>>) -> Option<String> {
    Some(any?.cast::<PyString>().ok()?.to_string_lossy().into_owned())
}

/// Sixteen characters that say whether two texts are the same.
pub fn short_hash(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
