//! `jitspan warm`: what the user says.

use std::path::PathBuf;

use clap::Args;

const EXAMPLES: &str = "\
Examples:
  jitspan warm manifest.jsonl --import my.kernels --target cuda:90     while an image is built
  jitspan warm /srv/manifest --import my.server --target hip:gfx942

Exit status: 0 all is in the cache on disk; 1 something is not; 2 called wrongly.";

/// What the user said to `jitspan warm`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct WarmArguments {
    /// A manifest: its folder, or one of its files
    #[arg(value_name = "PATH")]
    pub path: PathBuf,

    /// A module that defines kernels, or imports those that do; may be given several times
    #[arg(long, value_name = "MODULE", required = true)]
    pub import: Vec<String>,

    /// The device to compile for: cuda:90, hip:gfx942
    #[arg(long, value_name = "TARGET")]
    pub target: String,

    /// Compiles at a time
    #[arg(long, value_name = "COUNT")]
    pub threads: Option<usize>,

    /// Longest time in all, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600.0)]
    pub timeout: f64,
}
