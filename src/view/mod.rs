//! `jitspan view`: receives OTLP and prints each trace in which a request waited for a compile. No Collector and no
//! Jaeger needed to see the point.
//!
//! The way of a span: [`receive`] takes it off the network, [`decode`] makes a [`record`] of it, [`store`] keeps it
//! until its trace is quiet, [`mod@print`] writes the trace as [`json`] or as a [`waterfall`], whose rows [`tree`] lays
//! out. [`viewer`] runs all of that.

pub mod bar;
pub mod decode;
pub mod json;
pub mod options;
pub mod print;
pub mod receive;
pub mod record;
pub mod stall;
pub mod store;
pub mod text;
pub mod tree;
pub mod viewer;
pub mod waterfall;

#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::io::{self, Write};

use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

pub use options::{Format, Options};
use store::Counts;
pub use store::Limits;
use viewer::{ViewError, Viewer};
pub use waterfall::MIN_WIDTH;

/// Runs `jitspan view` on standard output until it gets SIGINT or SIGTERM, or its reader is gone. A second signal ends
/// it at once. Returns the exit status.
#[must_use]
pub fn run(options: &Options) -> u8 {
    match receive_and_print(options) {
        Ok(Some(counts)) => {
            say(counts);
            0
        }
        Ok(None) => {
            say("ended by a second signal, before everything was printed");
            0
        }
        Err(error) => {
            say(error);
            1
        }
    }
}

/// What was counted, unless a second signal came before that was settled.
fn receive_and_print(options: &Options) -> Result<Option<Counts>, ViewError> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(ViewError::Start)?;
    let ended = runtime.block_on(async {
        let stop = signals(1).map_err(ViewError::Start)?;
        let give_up = signals(2).map_err(ViewError::Start)?;
        let viewer = Viewer::bind(options).await?;
        let (grpc, http) = viewer.addresses().map_err(ViewError::Start)?;
        say(format_args!("listening on grpc {grpc}, http {http}"));
        tokio::select! {
            ended = viewer.run(io::stdout(), stop) => ended.map(Some),
            () = give_up => Ok(None),
        }
    });
    // A reader who stopped reading would hold up the printing thread, and with it the end.
    runtime.shutdown_background();
    ended
}

/// Ready once the process has got SIGINT or SIGTERM so many times.
fn signals(times: usize) -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        for _ in 0..times {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
    })
}

/// One line on standard error, which a closed terminal may refuse.
fn say(message: impl Display) {
    let _ = writeln!(io::stderr(), "jitspan view: {message}");
}
