//! `jitspan run`: what the user says.

use std::ffi::OsString;

use clap::Args;

use crate::config::Arm;

const EXAMPLES: &str = "\
Examples:
  jitspan run --arm after=60 -- python serve.py     from a minute on a compile is unexpected
  jitspan run --arm now --jit-monitor-mode error -- pytest tests/warm
                                                    a compile fails the test that it happens in
  jitspan run -- torchrun --nproc-per-node 2 serve.py

The program's own options come behind `--`, or behind its name.

Exit status: that of the program; 127 there is no such program; 126 it cannot be started;
1 nothing was started; 2 called wrongly.";

/// What the user said to `jitspan run`. The flags are vLLM's.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct RunArguments {
    /// What a compile after warm-up does: it is reported, or it fails as well
    #[arg(long, value_name = "MODE", value_parser = ["warn", "error"])]
    pub jit_monitor_mode: Option<String>,

    /// Log every compile, with everything known
    #[arg(long)]
    pub jit_monitor_verbose: bool,

    /// When warm-up is over: now, after=SECONDS, or manual: the program calls jitspan.activate(), or is a server that
    /// jitspan knows [default: JITSPAN_ARM, or manual]
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    pub arm: Option<String>,

    /// The program and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

fn moment(text: &str) -> Result<String, String> {
    match Arm::from_text(text) {
        Some(arm) => Ok(arm.to_string()),
        None => Err(format!("expected {}", Arm::accepted())),
    }
}
