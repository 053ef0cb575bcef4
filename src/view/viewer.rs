//! The running viewer: two listeners that fill the store, and one loop that prints what has settled. Printing has a
//! thread of its own, so that a reader who pauses the output does not stop the receivers.

use std::fs::File;
use std::future::Future;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::options::{Format, Options};
use super::print::print;
use super::receive::{Shared, serve};
use super::record::Trace;
use super::say;
use super::store::{Counts, Store};
use super::text::{clean, enumerate, shorten};

/// How often to look for traces that have settled: well below what a person notices.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Why the viewer could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// A port is taken, or the host is not ours.
    #[error("cannot listen on {host}:{port}: {source} (choose another port with {option}, 0 for any)")]
    Listen {
        /// As the user gave it.
        host: String,
        /// As the user gave it.
        port: u16,
        /// The option that sets the port.
        option: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// The file for JSON cannot be made.
    #[error("cannot write {path}: {source} (--json-file)")]
    JsonFile {
        /// As the user gave it.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// The system refuses what every server needs.
    #[error("cannot start: {0}")]
    Start(io::Error),
    /// The output cannot be written, for another reason than being closed.
    #[error("cannot print: {0}")]
    Print(io::Error),
    /// A listener failed for good.
    #[error("cannot receive any longer: {0}")]
    Receive(String),
}

/// A viewer that listens already.
#[derive(Debug)]
pub struct Viewer {
    grpc: TcpListener,
    http: TcpListener,
    store: Shared,
    format: Format,
    json_file: Option<File>,
    /// Traces without a stall are printed as well.
    tells_all: bool,
}

impl Viewer {
    /// Opens both ports, and the file if one is wanted.
    ///
    /// # Errors
    /// [`ViewError::Listen`] or [`ViewError::JsonFile`], naming the option that changes it.
    pub async fn bind(options: &Options) -> Result<Self, ViewError> {
        let create = |path: &PathBuf| {
            File::create(path).map_err(|source| ViewError::JsonFile { path: path.display().to_string(), source })
        };
        Ok(Self {
            json_file: options.json_file.as_ref().map(create).transpose()?,
            grpc: listen(&options.host, options.grpc_port, "--grpc-port").await?,
            http: listen(&options.host, options.http_port, "--http-port").await?,
            store: Shared::new(Store::new(options.limits, options.settle, options.all)),
            format: options.format,
            tells_all: options.all,
        })
    }

    /// The addresses it listens on, gRPC first.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn addresses(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.grpc.local_addr()?, self.http.local_addr()?))
    }

    /// Receives and prints until `stop` is ready, then prints what is still pending. A reader who closes the output
    /// ends it, too.
    ///
    /// # Errors
    /// When the output cannot be written, or a listener fails.
    pub async fn run(
        self,
        output: impl Write + Send + 'static,
        stop: impl Future<Output = ()>,
    ) -> Result<Counts, ViewError> {
        let Self { grpc, http, store, format, json_file, tells_all } = self;
        let mut receivers = JoinSet::new();
        let (grpc, http) = (serve(grpc, store.clone()), serve(http, store.clone()));
        receivers.spawn(async { grpc.await.map_err(|error| error.to_string()) });
        receivers.spawn(async { http.await.map_err(|error| error.to_string()) });

        let printer = Printer { outputs: Arc::new(Mutex::new((output, json_file))), format };
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(stop);
        loop {
            tokio::select! {
                _ = look.tick() => {}
                () = &mut stop => break,
                Some(ended) = receivers.join_next() => {
                    let reason = ended.map_err(|error| error.to_string()).and_then(|ended| ended);
                    return Err(ViewError::Receive(reason.err().unwrap_or_else(|| "a listener ended".to_owned())));
                }
            }
            if !tells_all {
                tell(store.take_strangers());
            }
            let settled = store.with(|store| store.settle(Instant::now()));
            if printer.print(settled).await? == Reader::Gone {
                return Ok(store.with(|store| store.counts()));
            }
        }
        receivers.shutdown().await;
        let (pending, counts) = store.with(|store| (store.drain(), store.counts()));
        printer.print(pending).await?;
        Ok(counts)
    }
}

/// Says whose spans are coming, for whoever wonders why nothing is printed, or whom else the ports serve.
fn tell(services: Vec<String>) {
    const MOST: usize = 60;
    let names = services.iter().map(|service| format!("\"{}\"", shorten(&clean(service), MOST)));
    let names: Vec<String> = names.collect();
    if !names.is_empty() {
        let names = enumerate(&names);
        say(format_args!("receiving spans of {names}; traces without a stall are not printed (--all prints them)"));
    }
}

async fn listen(host: &str, port: u16, option: &'static str) -> Result<TcpListener, ViewError> {
    let listener = TcpListener::bind((host, port)).await;
    listener.map_err(|source| ViewError::Listen { host: host.to_owned(), port, option, source })
}

struct Printer<W> {
    /// What is watched, and the file beside it.
    outputs: Arc<Mutex<(W, Option<File>)>>,
    format: Format,
}

#[derive(PartialEq)]
enum Reader {
    Listening,
    Gone,
}

impl<W: Write + Send + 'static> Printer<W> {
    async fn print(&self, traces: Vec<Arc<Trace>>) -> Result<Reader, ViewError> {
        if traces.is_empty() {
            return Ok(Reader::Listening);
        }
        let (outputs, format) = (Arc::clone(&self.outputs), self.format);
        let printing = tokio::task::spawn_blocking(move || {
            let mut outputs = outputs.lock().unwrap_or_else(PoisonError::into_inner);
            let (output, file) = &mut *outputs;
            traces.iter().try_for_each(|trace| {
                // The file first: a reader of the other who goes away takes nothing from it.
                file.as_mut().map_or(Ok(()), |file| print(trace, Format::Json, file))?;
                print(trace, format, output)
            })
        });
        match printing.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(()) => Ok(Reader::Listening),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
            Err(error) => Err(ViewError::Print(error)),
        }
    }
}
