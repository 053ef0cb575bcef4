//! Every order in which threads can offer, flush, shut down and send (`make test-model`): the real pipe and the real
//! thread behind it, on loom's locks and atomics. Only the wire is not there: an outlet answers at once. Neither is
//! time: a message holds one record, so that nobody waits for another one.

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

/// Time is not there.
pub fn pause(_time: std::time::Duration) {}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use bytes::Bytes;
    use loom::model::Builder;

    use super::super::{Outlet, Pipe, Plan};
    use super::*;
    use crate::config::Batch;
    use crate::export::answer::Answer;
    use crate::stats::{Counter, Ledger, Stats};

    /// Of more than so many switches away from a thread that could go on, nearly none finds what fewer do not.
    const PREEMPTIONS: usize = 2;

    fn model(body: impl Fn() + Sync + Send + 'static) {
        let mut builder = Builder::new();
        builder.preemption_bound = Some(PREEMPTIONS);
        builder.check(body);
    }

    /// What becomes of each message.
    #[derive(Clone, Copy)]
    enum End {
        Takes,
        Refuses,
        Unsupported,
        /// The first panics, the others are taken.
        Panics(bool),
    }

    impl Outlet for End {
        fn message(&self, records: &[Vec<u8>]) -> Bytes {
            records.concat().into()
        }

        async fn send(&mut self, _message: &Bytes) -> Answer {
            let message = String::new();
            match self {
                End::Refuses => Answer::Refused { message },
                End::Unsupported => Answer::Unsupported { message },
                End::Panics(true) => panic!("as a library may"),
                End::Takes | End::Panics(false) => Answer::Taken { rejected: 0, message },
            }
        }

        fn reset(&mut self) {
            if let End::Panics(panics) = self {
                *panics = false;
            }
        }
    }

    fn pipe(end: End, queue: usize) -> (Arc<Pipe<End>>, Arc<Stats>) {
        let timeout = Duration::from_secs(30);
        let batch = Batch { delay: Duration::ZERO, queue, queue_bytes: 100, size: 1, timeout };
        let stats = Arc::new(Stats::default());
        let plan = Plan { batch, stats: Arc::clone(&stats), ledger: &Ledger::SPANS };
        (Arc::new(Pipe::new(end, plan)), stats)
    }

    fn offer(pipe: &Pipe<End>) {
        pipe.offer(|| vec![0; 10]);
    }

    fn offering(pipe: &Arc<Pipe<End>>) -> JoinHandle<()> {
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
            let (pipe, stats) = pipe(End::Takes, 2);
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
            let (pipe, stats) = pipe(End::Takes, 2);
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
            let (pipe, stats) = pipe(End::Takes, 2);
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
            let (pipe, stats) = pipe(End::Takes, 2);
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
            let (pipe, stats) = pipe(End::Takes, 1);
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
        for end in [End::Refuses, End::Unsupported] {
            model(move || {
                let (pipe, stats) = pipe(end, 2);
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
            let (pipe, stats) = pipe(End::Takes, 2);
            offer(&pipe);
            drop(pipe);
            assert_eq!(ended(), 1);
            check_books(&stats, 0);
        });
    }

    #[test]
    fn a_message_whose_sending_panics_is_counted_and_the_next_one_is_sent() {
        model(|| {
            let (pipe, stats) = pipe(End::Panics(true), 2);
            let other = offering(&pipe);
            offer(&pipe);
            wait(pipe.flush());
            other.join().unwrap();
            wait(pipe.shutdown());
            ended();
            assert_eq!((stats.get(Counter::DroppedFault), stats.get(Counter::SpansExported)), (1, 1));
            assert_eq!(stats.faults("export.panic"), 1);
            check_books(&stats, pipe.queued());
        });
    }
}
