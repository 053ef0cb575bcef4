//! `jitspan run -- COMMAND`: vLLM's flags for any program. The command takes our place, with variables that say how we
//! run, and a `sitecustomize` on its `PYTHONPATH` that starts us in each Python of it, children too.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use super::private_folder;
use crate::cli::run::RunArguments;
use crate::config;
use crate::config::environment::{PYTHONPATH, Shell};

/// Python imports it at its own start. One that is there already still runs, and where that fails, fails as it would
/// without us: `site` says so, and Python goes on.
const SITECUSTOMIZE: &str = r#"# Written by `jitspan run`: starts jitspan in each Python that it runs.
import os
import sys

failed = None
ours, path = sys.modules.pop("sitecustomize"), sys.path[:]
sys.path[:] = [entry for entry in path if os.path.abspath(entry) != os.path.dirname(os.path.abspath(__file__))]
try:
    import sitecustomize
except Exception as error:
    sys.modules.setdefault("sitecustomize", ours)
    if not isinstance(error, ImportError) or error.name != "sitecustomize":
        failed = error
finally:
    sys.path[:] = path
try:
    import jitspan
except ImportError as error:
    print(f"jitspan run: {sys.executable} has no jitspan: {error}", file=sys.stderr)
else:
    jitspan._start()
if failed is not None:
    raise failed
"#;

/// Runs the command in the place of this process. Returns only where that fails: the exit status.
pub fn run(arguments: RunArguments) -> u8 {
    let Some((program, rest)) = arguments.command.split_first() else { return 2 };
    let shell = Shell::from_environment();
    let folder = match private_folder::with("sitecustomize.py", SITECUSTOMIZE, &shell) {
        Ok(folder) => folder,
        Err(error) => {
            eprintln!(
                "jitspan run: cannot write sitecustomize.py: {error}; set XDG_CACHE_HOME to a folder of your own"
            );
            return 1;
        }
    };
    let mut command = Command::new(program);
    command.args(rest).env(PYTHONPATH, python_path(folder, shell.python_path));
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

fn python_path(folder: PathBuf, before: Option<OsString>) -> OsString {
    match before {
        None => folder.into_os_string(),
        Some(path) => [folder.into_os_string(), path].join(&OsString::from(":")),
    }
}
