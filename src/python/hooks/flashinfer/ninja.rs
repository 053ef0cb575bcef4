//! `run_ninja(workdir, ninja_file, verbose)`. It runs for every module that is asked for; with nothing to do it takes some
//! milliseconds and compiles nothing. Whether it built something says the module's library, by its age: ninja's log is
//! one for all modules in old versions, and other processes write to it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use pyo3::prelude::*;

use super::RUNTIME;
use crate::board::record::About;
use crate::model::event::{Kernel, Kind};
use crate::python::hooks::build::{self, Asked, Did};
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::text;
use crate::python::patch::{After, Call};
use crate::python::stall;

/// See above.
pub fn runs(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let path = |index: usize, name: &str| {
        let path = call.arg(index).or_else(|| call.keyword(name))?;
        Some(PathBuf::from(text(&path.call_method0("__fspath__").or_none()?)))
    };
    let (Some(folder), Some(file)) = (path(0, "workdir"), path(1, "ninja_file")) else { return Ok(None) };
    let Some(target) = target(&folder, &file) else { return Ok(None) };
    let before = age(&target);
    // Several modules at once (`build_jit_specs`): nobody has asked for one of them.
    let alone = if build::is_asked(&RUNTIME) { None } else { stall::begin_holding(py) };
    let name = file.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_else(|| Kernel::UNKNOWN.to_owned());
    let about = About { runtime: RUNTIME.name, kind: Kind::Compile, kernel: &name };
    if let Some(alone) = &alone {
        stall::enter(alone);
        alone.shows(about);
    }
    Ok(Some(Box::new(move |py, outcome| {
        alone.iter().for_each(stall::leave);
        let built = outcome.is_err() || age(&target) != before;
        if !built {
            return Ok(None);
        }
        let Some(pending) = alone else {
            build::note(&RUNTIME, Did::Built);
            return Ok(None);
        };
        let asked = Asked { runtime: &RUNTIME, kernel: Kernel::named(name), specialization: Vec::new() };
        Ok(build::finish(py, &pending, asked, Did::Built, outcome))
    })))
}

/// What is built: `<folder>/<name>/<name>.so` for `<folder>/<name>/build.ninja`, else ninja's own log.
fn target(folder: &Path, file: &Path) -> Option<PathBuf> {
    let parent = file.parent()?;
    let mut library = parent.join(parent.file_name()?).into_os_string();
    library.push(".so");
    let library = PathBuf::from(library);
    let one = file.file_name().is_some_and(|name| name == "build.ninja");
    Some(if one { library } else { folder.join(".ninja_log") })
}

fn age(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
