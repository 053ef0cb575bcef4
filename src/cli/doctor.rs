//! `jitspan doctor`: what the user says.

use clap::Args;

/// What the user said to `jitspan doctor`.
#[derive(Args, Clone, Debug)]
pub struct DoctorArguments {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}
