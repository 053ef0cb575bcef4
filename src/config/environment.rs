//! The process's environment: nothing else in the program looks into it.

use std::ffi::OsString;
use std::path::PathBuf;

/// A variable of this process. What is not Unicode is read as well as it can be, so that it is refused by name.
pub fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// A variable of a server that changes what we do.
pub struct Foreign {
    /// Its name.
    pub name: &'static str,
    /// What it changes.
    pub about: &'static str,
}

/// vLLM loads only the plugins that are named in it.
pub const VLLM_PLUGINS: &str = "VLLM_PLUGINS";
/// SGLang loads only the plugins that are named in it.
pub const SGLANG_PLUGINS: &str = "SGLANG_PLUGINS";
/// Triton prints its tunings.
pub const TRITON_PRINT_AUTOTUNING: &str = "TRITON_PRINT_AUTOTUNING";
const SGLANG_CRASH: &str = "SGLANG_CRASH_ON_TRITON_LOAD_AFTER_READY";
const VLLM_RUST: &str = "VLLM_USE_RUST_FRONTEND";
const VLLM_PLAIN_IDS: &str = "VLLM_DISABLE_REQUEST_ID_RANDOMIZATION";

/// All of them.
pub const FOREIGN: &[Foreign] = &[
    Foreign { name: VLLM_PLUGINS, about: "vLLM loads only the plugins that are named in it" },
    Foreign { name: SGLANG_PLUGINS, about: "SGLang loads only the plugins that are named in it" },
    Foreign { name: SGLANG_CRASH, about: "error mode in SGLang" },
    Foreign { name: VLLM_RUST, about: "vLLM's front end in Rust hands no traceparent on" },
    Foreign { name: VLLM_PLAIN_IDS, about: "vLLM's request ids are the caller's" },
    Foreign { name: TRITON_PRINT_AUTOTUNING, about: "0: Triton's tunings are not printed" },
];

/// SGLang's switch for an error mode, as SGLang reads it.
pub fn sglang_crashes() -> bool {
    let crash = variable(SGLANG_CRASH).unwrap_or_default();
    matches!(&*crash.to_ascii_lowercase(), "1" | "true" | "yes" | "y" | "on")
}

/// Whether vLLM adds random characters to a request's id.
pub fn vllm_randomizes_ids() -> bool {
    variable(VLLM_PLAIN_IDS).is_none_or(|said| said == "0")
}

/// SGLang raises in the place of a kernel that it would build while it serves: its error says the name.
pub const SGLANG_CRASH_ON_JIT: &str = "SGLANG_CRASH_ON_JIT_COMPILE";

/// Where Triton keeps its kernels. Inductor sets it while the process runs.
pub fn triton_cache() -> Option<PathBuf> {
    std::env::var_os("TRITON_CACHE_DIR").map(PathBuf::from)
}

/// Where DeepGEMM keeps its kernels. Several with colons are looked through in this order.
pub fn deep_gemm_caches() -> Vec<PathBuf> {
    let said = std::env::var_os("DG_JIT_CACHE_DIR").filter(|said| !said.is_empty());
    match said {
        Some(said) => std::env::split_paths(&said).take(8).collect(),
        None => {
            let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
            [".deep_gemm", ".dj"].iter().map(|name| home.join(name)).collect()
        }
    }
}

/// What an engine's list of plugins says, if it leaves us out: the variable, and its value.
pub fn plugins_without_us(engine: &str) -> Option<(&'static str, String)> {
    let name = [VLLM_PLUGINS, SGLANG_PLUGINS]
        .into_iter()
        .find(|name| name.strip_suffix("_PLUGINS").is_some_and(|known| known.eq_ignore_ascii_case(engine)))?;
    let said = variable(name)?;
    (!said.split(',').any(|plugin| plugin.trim() == "jitspan")).then_some((name, said))
}

/// Whether vLLM serves with its front end in Rust.
pub fn vllm_serves_in_rust() -> bool {
    variable(VLLM_RUST).is_some_and(|said| !matches!(said.trim(), "" | "0"))
}

/// A service that nobody has named is called as its engine is.
pub fn service_of(engine: Option<&'static str>, name: &str, said: Option<String>) -> Option<String> {
    if name != "OTEL_SERVICE_NAME" || said.as_ref().is_some_and(|said| !said.trim().is_empty()) {
        return said;
    }
    let is_named = variable("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|said| said.contains("service.name"));
    engine.filter(|_| !is_named).map(str::to_owned)
}

/// A file system in memory, which all processes of a machine or a container share.
pub const SHARED_MEMORY: &str = "/dev/shm";

/// Where the board is by default, the best place first. All of them are the user's own.
pub fn board_folders(user: u32) -> Vec<PathBuf> {
    let name = format!("jitspan-{user}");
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let places = [Some(PathBuf::from(SHARED_MEMORY)), own, Some(std::env::temp_dir())];
    places.into_iter().flatten().map(|place| place.join(&name)).collect()
}

/// Where Python looks for modules.
pub const PYTHONPATH: &str = "PYTHONPATH";

/// What the command line takes from the terminal and the shell. An empty variable is an unset one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shell {
    /// `NO_COLOR` is set (<https://no-color.org>).
    pub no_color: bool,
    /// `CLICOLOR_FORCE` is set, and not `0` (<https://bixense.com/clicolors>).
    pub force_color: bool,
    /// `TERM=dumb`: no escape sequence is understood.
    pub is_dumb: bool,
    /// `COLUMNS`, as it was given.
    pub columns: Option<String>,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `XDG_CACHE_HOME`.
    pub cache_home: Option<PathBuf>,
    /// `PYTHONPATH`.
    pub python_path: Option<OsString>,
}

impl Shell {
    /// That of this process.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::read(|name| std::env::var_os(name))
    }

    /// What `lookup` says.
    pub fn read(lookup: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name| lookup(name).filter(|value| !value.is_empty());
        Shell {
            no_color: set("NO_COLOR").is_some(),
            force_color: set("CLICOLOR_FORCE").is_some_and(|value| value != "0"),
            is_dumb: set("TERM").is_some_and(|term| term == "dumb"),
            columns: set("COLUMNS").and_then(|columns| columns.into_string().ok()),
            home: set("HOME").map(PathBuf::from),
            cache_home: set("XDG_CACHE_HOME").map(PathBuf::from),
            python_path: set(PYTHONPATH),
        }
    }

    /// Whether output is to be coloured that goes to a terminal or not.
    #[must_use]
    pub fn colors(&self, is_terminal: bool) -> bool {
        !self.no_color && (self.force_color || is_terminal && !self.is_dumb)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn color_is_for_a_terminal_unless_it_is_forced_or_forbidden() {
        let shell = |set: &'static [(&str, &str)]| {
            Shell::read(move |name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
        };
        assert!(shell(&[]).colors(true) && !shell(&[]).colors(false));
        assert!(shell(&[("CLICOLOR_FORCE", "1")]).colors(false) && !shell(&[("CLICOLOR_FORCE", "0")]).colors(false));
        assert!(!shell(&[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")]).colors(true));
        assert!(shell(&[("NO_COLOR", "")]).colors(true) && !shell(&[("TERM", "dumb")]).colors(true));
    }
}
