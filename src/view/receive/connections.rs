//! Accepts connections, no more than can be served. One that asks for nothing is closed after a while, and at once
//! where a new one needs its place: a silent client must not keep a server's spans out.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::Shared;

/// Connections to one port at a time.
const MAX_CONNECTIONS: usize = 128;

/// How long a new connection may take to its first request.
const FIRST_REQUEST: Duration = Duration::from_secs(10);

/// How long a connection may ask for nothing: longer than the minute between two exports of metrics.
const IDLE: Duration = Duration::from_secs(120);

/// How often each connection looks whether it has been idle for too long.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Bytes that one connection may have sent before anybody reads them.
const WINDOW: u32 = 256 * 1024;

/// After the system had no descriptor left, and no connection could be closed for it.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves until the task is dropped.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(listener: TcpListener, shared: Shared) -> io::Result<()> {
    let open = Arc::new(Open::default());
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) if is_out_of_descriptors(&error) => {
                open.close_idlest();
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        // Where all of them are busy the new one has to come again: it is closed.
        if open.count() >= MAX_CONNECTIONS && !open.close_idlest() {
            continue;
        }
        tasks.spawn(serve_one(stream, Arc::clone(&open), shared.clone()));
    }
}

async fn serve_one(stream: TcpStream, open: Arc<Open>, shared: Shared) {
    let connection = open.enter();
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let (connection, shared) = (Arc::clone(&connection), shared.clone());
        async move {
            let _busy = connection.busy();
            Ok::<_, Infallible>(shared.answer(request).await)
        }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    // How long headers may take is watched below, for both protocols and their preface.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(64 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(32)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .keep_alive_interval(Duration::from_secs(60))
        .keep_alive_timeout(Duration::from_secs(10));
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            // What goes wrong on a connection is its client's business.
            _ = &mut served => break,
            () = connection.close.notified() => break,
            _ = look.tick() => if connection.is_stale() { break },
        }
    }
    open.leave(&connection);
}

/// The connections that are open.
#[derive(Debug, Default)]
struct Open(Mutex<Vec<Arc<Connection>>>);

#[derive(Debug)]
struct Connection {
    state: Mutex<Activity>,
    close: Notify,
}

#[derive(Debug, Clone, Copy)]
struct Activity {
    /// Requests that are being answered.
    requests: usize,
    /// When the last of them began or ended; before the first: when it was opened.
    since: Instant,
    is_new: bool,
}

impl Open {
    fn count(&self) -> usize {
        self.list(|list| list.len())
    }

    fn enter(&self) -> Arc<Connection> {
        let state = Activity { requests: 0, since: Instant::now(), is_new: true };
        let connection = Arc::new(Connection { state: Mutex::new(state), close: Notify::new() });
        self.list(|list| list.push(Arc::clone(&connection)));
        connection
    }

    fn leave(&self, connection: &Arc<Connection>) {
        self.list(|list| list.retain(|other| !Arc::ptr_eq(other, connection)));
    }

    /// Closes the connection that has asked for nothing for the longest time. False: all are busy.
    fn close_idlest(&self) -> bool {
        self.list(|list| {
            let idle = list.iter().enumerate().filter_map(|(index, connection)| {
                let activity = connection.activity();
                (activity.requests == 0).then_some((activity.since, index))
            });
            let Some((_, index)) = idle.min() else { return false };
            // Out of the list at once, so that the next one to go is another one.
            list.swap_remove(index).close.notify_one();
            true
        })
    }

    fn list<T>(&self, action: impl FnOnce(&mut Vec<Arc<Connection>>) -> T) -> T {
        action(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Connection {
    fn activity(&self) -> Activity {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, requests: impl FnOnce(usize) -> usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = Activity { requests: requests(state.requests), since: Instant::now(), is_new: false };
    }

    fn is_stale(&self) -> bool {
        let activity = self.activity();
        let patience = if activity.is_new { FIRST_REQUEST } else { IDLE };
        activity.requests == 0 && activity.since.elapsed() >= patience
    }

    fn busy(self: &Arc<Self>) -> Busy {
        self.change(|requests| requests + 1);
        Busy(Arc::clone(self))
    }
}

/// A request that is being answered.
struct Busy(Arc<Connection>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.change(|requests| requests.saturating_sub(1));
    }
}

/// What `accept` says of a connection that was gone before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}
