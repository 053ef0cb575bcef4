//! Runs what is somebody else's on our thread, within our runtime.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::Notify;

/// Runs what does not wait for a future: a factory (a client of tonic's asks for the runtime around it), an end.
pub fn within<T>(runtime: &Runtime, body: impl FnOnce() -> T) -> T {
    let _here = runtime.enter();
    body()
}

/// Runs a future to its end. None: not within `timeout`; it has been dropped.
///
/// It is polled beside the runtime, not in it, so that it may block. opentelemetry-otlp's default HTTP client does
/// (reqwest's blocking one panics where a runtime is running), and a client of tonic's or hyper's needs a runtime that
/// goes on meanwhile: this does for both, on one thread.
pub fn to_end<T>(runtime: &Runtime, timeout: Duration, future: impl Future<Output = T>) -> Option<T> {
    within(runtime, || {
        let mut future = pin!(future);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            if let Poll::Ready(answer) = future.as_mut().poll(&mut context) {
                return Some(answer);
            }
            let goes_on = runtime.block_on(async { tokio::time::timeout_at(deadline, woken.0.notified()).await });
            if goes_on.is_err() {
                return None;
            }
        }
    })
}

#[derive(Default)]
struct Woken(Notify);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn runtime() -> Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn a_future_may_wait_for_tasks_and_time_of_our_runtime() {
        let answer = to_end(&runtime(), Duration::from_secs(10), async {
            let task = tokio::spawn(async {
                tokio::time::sleep(Duration::from_millis(5)).await;
                7
            });
            tokio::time::sleep(Duration::from_millis(5)).await;
            task.await.unwrap()
        });
        assert_eq!(answer, Some(7));
    }

    #[test]
    fn a_future_may_block_and_may_run_a_runtime_of_its_own() {
        assert_eq!(to_end(&runtime(), Duration::from_secs(10), async { runtime().block_on(async { 7 }) }), Some(7));
    }

    #[test]
    fn a_future_that_never_ends_is_dropped_in_time() {
        let began = Instant::now();
        assert_eq!(to_end(&runtime(), Duration::from_millis(50), std::future::pending::<()>()), None);
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}
