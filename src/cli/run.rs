//! `jitspan run`: what the user says.

use std::ffi::OsString;

use clap::Args;

/// What the user said to `jitspan run`. The flags are vLLM's.
#[derive(Args, Clone, Debug)]
pub struct RunArguments {
    /// What a compile after warm-up does: it is reported, or it fails as well
    #[arg(long, value_name = "MODE", value_parser = ["warn", "error"])]
    pub jit_monitor_mode: Option<String>,

    /// Log every compile, with everything known
    #[arg(long)]
    pub jit_monitor_verbose: bool,

    /// When warm-up is over: now, after=SECONDS, or manual: the program calls jitspan.activate(), or is a server that
    /// jitspan knows [default: JITSPAN_ARM, or manual]
    #[arg(long, value_name = "WHEN")]
    pub arm: Option<String>,

    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}
