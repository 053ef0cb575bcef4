//! `jitspan run -- COMMAND`: vLLM's flags for any program. The command takes our place, with variables that say how we
//! run, and a `sitecustomize` on its `PYTHONPATH` that starts us in each Python of it, children too.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::{fs, io};

use crate::cli::run::RunArguments;
use crate::config;
use crate::config::environment::Shell;

/// Python imports it at its own start. One that is there already still runs.
const SITECUSTOMIZE: &str = r#"# Written by `jitspan run`: starts jitspan in each Python that it runs.
import os
import sys

ours, path = sys.modules.pop("sitecustomize"), sys.path[:]
sys.path[:] = [entry for entry in path if os.path.abspath(entry) != os.path.dirname(os.path.abspath(__file__))]
try:
    import sitecustomize
except ImportError:
    sys.modules["sitecustomize"] = ours
sys.path[:] = path
try:
    import jitspan
except ImportError as error:
    print(f"jitspan run: {sys.executable} has no jitspan: {error}", file=sys.stderr)
else:
    jitspan._start()
"#;

/// Runs the command in the place of this process. Returns only where that fails: the exit code.
pub fn run(arguments: RunArguments) -> u8 {
    let Some((program, rest)) = arguments.command.split_first() else { return 2 };
    let folder = match write_sitecustomize() {
        Ok(folder) => folder,
        Err(error) => {
            eprintln!("jitspan run: cannot write sitecustomize.py: {error}");
            return 1;
        }
    };
    let mut command = Command::new(program);
    command.args(rest).env(config::environment::PYTHONPATH, python_path(folder.into_os_string()));
    if let Some(mode) = arguments.jit_monitor_mode {
        command.env(config::MODE, mode);
    }
    if arguments.jit_monitor_verbose {
        command.env(config::VERBOSE, "1");
    }
    if let Some(when) = arguments.arm {
        command.env(config::ARM, when);
    }
    let error = command.exec();
    eprintln!("jitspan run: {}: {error}", program.to_string_lossy());
    // What a shell says.
    if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 }
}

fn python_path(folder: OsString) -> OsString {
    match Shell::from_environment().python_path {
        None => folder,
        Some(path) => [folder, path].join(&OsString::from(":")),
    }
}

/// Stays there: the command outlives us, and starts Pythons as it likes. A folder of each version's own.
fn write_sitecustomize() -> io::Result<PathBuf> {
    let Shell { cache_home, home, .. } = Shell::from_environment();
    let cache = cache_home.or_else(|| Some(home?.join(".cache")));
    let cache = cache.ok_or_else(|| io::Error::other("neither HOME nor XDG_CACHE_HOME is set"))?;
    let folder = cache.join("jitspan").join(env!("CARGO_PKG_VERSION"));
    let file = folder.join("sitecustomize.py");
    if fs::read_to_string(&file).is_ok_and(|there| there == SITECUSTOMIZE) {
        return Ok(folder);
    }
    fs::create_dir_all(&folder)?;
    // Renamed into place: another program may be starting with it now.
    let partial = folder.join(format!("sitecustomize.{}", std::process::id()));
    fs::write(&partial, SITECUSTOMIZE)?;
    fs::rename(partial, file)?;
    Ok(folder)
}
