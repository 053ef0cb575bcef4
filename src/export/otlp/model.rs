//! Every order in which threads can offer, flush, shut down and send (`make test-model`): the real pipe and the real
//! thread behind it, on loom's locks and atomics. Only the wire is not there: [`transport`] answers what the endpoint's
//! host says. Neither is time: a message holds one record, so that nobody waits for another one.

use std::io;

use loom::sync::Mutex;
use loom::thread::{self, JoinHandle};

loom::lazy_static! {
    static ref STARTED: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());
}

/// Runs futures on one of loom's threads.
pub struct Runtime;

impl Runtime {
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        loom::future::block_on(future)
    }
}

pub fn spawn(_name: &str, body: impl FnOnce(&Runtime) + Send + 'static) -> io::Result<()> {
    STARTED.lock().unwrap().push(thread::spawn(move || body(&Runtime)));
    Ok(())
}

pub mod transport {
    use std::time::Duration;

    use bytes::Bytes;

    use super::super::answer::Answer;
    use crate::config::{Endpoint, Signal};

    pub struct Transport(Endpoint);

    impl Transport {
        pub fn new(endpoint: Endpoint, _signal: Signal, _timeout: Duration) -> Self {
            Transport(endpoint)
        }

        pub async fn send(&mut self, _message: &Bytes) -> Answer {
            let message = String::new();
            match self.0.uri.host() {
                Some("refuses") => Answer::Refused { message },
                Some("unsupported") => Answer::Unsupported { message },
                _ => Answer::Taken { rejected: 0, message },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use loom::model::Builder;

    use super::super::pipe::{Pipe, Plan};
    use super::*;
    use crate::config::{Batch, Endpoint, Resource, Signal, Variables};
    use crate::export::resource::SharedResource;
    use crate::stats::{Counter, Ledger, Stats};

    /// Of more than so many switches away from a thread that could go on, nearly none finds what fewer do not.
    const PREEMPTIONS: usize = 2;

    fn model(body: impl Fn() + Sync + Send + 'static) {
        let mut builder = Builder::new();
        builder.preemption_bound = Some(PREEMPTIONS);
        builder.check(body);
    }

    fn pipe(host: &str, queue: usize) -> (Arc<Pipe>, Arc<Stats>) {
        let address = format!("http://{host}");
        let lookup = |name: &str| (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| address.clone());
        let endpoint = Endpoint::resolve(Signal::Traces, &Variables::new(&lookup)).unwrap();
        let timeout = Duration::from_secs(30);
        let batch = Batch { delay: Duration::ZERO, queue, queue_bytes: 100, size: 1, timeout };
        let (resource, stats) = (Arc::new(SharedResource::new(Resource::default(), &[])), Arc::new(Stats::default()));
        let (signal, ledger) = (Signal::Traces, &Ledger::SPANS);
        let plan = Plan { endpoint, signal, batch, resource, stats: Arc::clone(&stats), ledger };
        (Arc::new(Pipe::new(plan)), stats)
    }

    fn offer(pipe: &Pipe) {
        pipe.offer(|| vec![0; 10]);
    }

    fn offering(pipe: &Arc<Pipe>) -> JoinHandle<()> {
        let pipe = Arc::clone(pipe);
        thread::spawn(move || offer(&pipe))
    }

    /// The pipe's threads have ended, and how many there were.
    fn ended() -> usize {
        let started = std::mem::take(&mut *STARTED.lock().unwrap());
        started.into_iter().map(|thread| thread.join().unwrap()).count()
    }

    fn wait(flushing: crate::export::Flushing) {
        assert!(flushing.wait(Instant::now()));
    }

    fn check_books(stats: &Stats, queued: usize) {
        let dropped: u64 = Ledger::SPANS.dropped().iter().map(|(_, counter)| stats.get(*counter)).sum();
        let (recorded, exported) = (stats.get(Counter::SpansRecorded), stats.get(Counter::SpansExported));
        assert_eq!(recorded, exported + dropped + queued as u64, "{:?}", stats.snapshot());
    }

    #[test]
    fn a_record_that_races_with_the_shutdown_is_exported_or_counted() {
        model(|| {
            let (pipe, stats) = pipe("takes", 2);
            let other = offering(&pipe);
            offer(&pipe);
            wait(pipe.shutdown());
            // What was offered before is dealt with when the shutdown says so.
            assert!(stats.get(Counter::SpansExported) >= 1);
            other.join().unwrap();
            offer(&pipe);
            assert!(ended() <= 1);
            check_books(&stats, 0);
            assert_eq!(pipe.queued(), 0);
        });
    }

    #[test]
    fn a_shutdown_that_gives_up_counts_each_record_once() {
        model(|| {
            let (pipe, stats) = pipe("takes", 2);
            let other = offering(&pipe);
            offer(&pipe);
            drop(pipe.shutdown());
            pipe.abandon();
            other.join().unwrap();
            ended();
            check_books(&stats, pipe.queued());
            assert_eq!(pipe.queued(), 0);
        });
    }

    #[test]
    fn a_flush_returns_when_what_came_before_it_is_settled() {
        model(|| {
            let (pipe, stats) = pipe("takes", 2);
            let other = offering(&pipe);
            offer(&pipe);
            wait(pipe.flush());
            assert!(stats.get(Counter::SpansExported) >= 1);
            other.join().unwrap();
            drop(pipe);
            assert_eq!((ended(), stats.get(Counter::SpansExported)), (1, 2));
        });
    }

    #[test]
    fn two_flushes_and_a_shutdown_at_once_all_return() {
        model(|| {
            let (pipe, stats) = pipe("takes", 2);
            offer(&pipe);
            let flushing = Arc::clone(&pipe);
            // It may come when the thread is gone: it is answered all the same, or told that nobody is there.
            let other = thread::spawn(move || flushing.flush().wait(Instant::now()));
            wait(pipe.shutdown());
            wait(pipe.shutdown());
            other.join().unwrap();
            assert_eq!(ended(), 1);
            check_books(&stats, 0);
        });
    }

    #[test]
    fn a_full_queue_keeps_its_bound_and_counts_the_rest() {
        model(|| {
            let (pipe, stats) = pipe("takes", 1);
            let other = offering(&pipe);
            offer(&pipe);
            assert!(pipe.queued() <= 1);
            other.join().unwrap();
            wait(pipe.flush());
            check_books(&stats, 0);
            assert!(stats.get(Counter::SpansExported) >= 1);
            drop(pipe);
            assert_eq!(ended(), 1);
        });
    }

    #[test]
    fn a_refused_message_is_counted_whoever_offers_meanwhile() {
        for host in ["refuses", "unsupported"] {
            model(move || {
                let (pipe, stats) = pipe(host, 2);
                let other = offering(&pipe);
                offer(&pipe);
                other.join().unwrap();
                wait(pipe.shutdown());
                ended();
                assert_eq!(stats.get(Counter::DroppedRefused), 2);
                check_books(&stats, 0);
            });
        }
    }

    #[test]
    fn a_pipe_that_is_dropped_takes_its_thread_along() {
        model(|| {
            let (pipe, stats) = pipe("takes", 2);
            offer(&pipe);
            drop(pipe);
            assert_eq!(ended(), 1);
            check_books(&stats, 0);
        });
    }
}
