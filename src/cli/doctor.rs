//! `jitspan doctor`: what the user says.

use clap::Args;

use super::view::When;

const EXAMPLES: &str = "\
Examples:
  jitspan doctor                       with the variables that the server will have
  jitspan doctor --offline             nothing is sent
  jitspan doctor --json | jq .problems

What is sent is one span `jitspan.doctor`, to where the variables send spans, with their headers.

Exit status: 0 there is no error, warnings at most; 1 there is an error: activate() would fail,
the collector did not take the span, ...; 2 called wrongly.
The schema of --json is in docs/doctor.md.";

/// What the user said to `jitspan doctor`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArguments {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,

    /// Send nothing, and ask no name server
    #[arg(long)]
    pub offline: bool,

    /// Use colors; auto: when the output is a terminal and NO_COLOR is not set, or when CLICOLOR_FORCE is
    #[arg(long, value_enum, default_value_t = When::Auto)]
    pub color: When,
}
