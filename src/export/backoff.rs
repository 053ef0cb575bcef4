//! How long to wait before the next attempt: doubling, with jitter, and never against the collector's own word.

use std::time::Duration;

/// The waits between the attempts for one message.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(250);
    const LONGEST: Duration = Duration::from_secs(5);
    /// A collector that asks for longer is asked again after this: its word may be a mistake.
    const LONGEST_ASKED: Duration = Duration::from_secs(60);

    /// Before the first failure, for records that wait.
    pub fn new() -> Self {
        Self::up_to(Self::LONGEST)
    }

    /// One that goes on doubling up to `longest`, for what need not arrive soon.
    pub fn up_to(longest: Duration) -> Self {
        Backoff { next: Self::FIRST.min(longest), longest }
    }

    /// The next wait; `asked` is what the collector asked for.
    pub fn next(&mut self, asked: Option<Duration>) -> Duration {
        let own = self.next;
        self.next = (self.next * 2).min(self.longest);
        match asked {
            // To come back at once is no word on when to come back: a collector that says it each time is not hammered.
            Some(asked) if !asked.is_zero() => asked.min(Self::LONGEST_ASKED),
            _ => own.mul_f64(0.5 + jitter()),
        }
    }
}

/// 0 to 1. Many processes that lost the same collector must not come back in step.
fn jitter() -> f64 {
    let mut bytes = [0; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_are_spread() {
        let mut backoff = Backoff::new();
        let waits: Vec<Duration> = (0..10).map(|_| backoff.next(None)).collect();
        assert!(waits[0] >= Duration::from_millis(125) && waits[0] <= Duration::from_millis(375));
        assert!(waits[9] >= Duration::from_millis(2500) && waits[9] <= Duration::from_millis(7500));
    }

    #[test]
    fn the_collectors_word_is_kept_up_to_a_bound() {
        let mut backoff = Backoff::new();
        assert_eq!(backoff.next(Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(backoff.next(Some(Duration::from_secs(7000))), Backoff::LONGEST_ASKED);
    }
}
