//! Whether collectors take what is sent to them, for the log. The exporter's threads note it here and never take the
//! interpreter's lock; whoever passes by with it writes the line: the next stall, a flush, `status()`, the exit.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::model::attribute::bounded;
use crate::process::lock::Mutex;

/// What became of the last attempts to send to each collector.
#[derive(Debug, Default)]
pub struct Reach {
    collectors: Mutex<Vec<Collector>>,
    /// There may be something to say.
    stirred: AtomicBool,
}

#[derive(Debug)]
struct Collector {
    address: String,
    failing: Vec<Failing>,
    /// When the log was last told that something fails, and whether that still stands there.
    warned: Option<Instant>,
    stands: bool,
}

/// One signal that does not arrive.
#[derive(Debug)]
struct Failing {
    signal: &'static str,
    since: Instant,
    reason: String,
}

/// A line for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Something does not arrive.
    Failing(String),
    /// It arrives again.
    Well(String),
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Somebody who passes by.
    Running,
    /// The process ends: what has failed by now has failed.
    Exit,
}

impl Reach {
    /// What is over sooner is a restart.
    const PATIENCE: Duration = Duration::from_secs(5);
    /// Between two lines on one collector.
    const PAUSE: Duration = Duration::from_secs(300);
    /// More collectors than one process sends to.
    const KEPT: usize = 16;

    /// A message of this signal did not arrive.
    pub fn failed(&self, address: &str, signal: &'static str, reason: &str) {
        let mut collectors = self.collectors.lock();
        let at = match collectors.iter().position(|known| known.address == address) {
            Some(at) => at,
            None if collectors.len() >= Self::KEPT => return,
            None => {
                let address = address.to_owned();
                collectors.push(Collector { address, failing: Vec::new(), warned: None, stands: false });
                collectors.len() - 1
            }
        };
        let Some(collector) = collectors.get_mut(at) else { return };
        let reason = printable(reason);
        match collector.failing.iter_mut().find(|failing| failing.signal == signal) {
            Some(failing) => failing.reason = reason,
            None => collector.failing.push(Failing { signal, since: Instant::now(), reason }),
        }
        self.stirred.store(true, Ordering::Release);
    }

    /// A message of this signal arrived.
    pub fn arrived(&self, address: &str, signal: &'static str) {
        if self.stirred.load(Ordering::Acquire)
            && let Some(known) = self.collectors.lock().iter_mut().find(|known| known.address == address)
        {
            known.failing.retain(|failing| failing.signal != signal);
        }
    }

    /// What the log should be told now. `waiting` records have not arrived yet, `lost` never will.
    pub fn notices(&self, moment: Moment, waiting: usize, lost: u64) -> Vec<Notice> {
        if !self.stirred.load(Ordering::Acquire) {
            return Vec::new();
        }
        let now = Instant::now();
        let mut collectors = self.collectors.lock();
        let notices = collectors.iter_mut().filter_map(|known| known.notice(now, moment, waiting, lost)).collect();
        let quiet = collectors.iter().all(|known| known.failing.is_empty() && !known.stands);
        self.stirred.store(!quiet, Ordering::Release);
        notices
    }
}

impl Collector {
    fn notice(&mut self, now: Instant, moment: Moment, waiting: usize, lost: u64) -> Option<Notice> {
        let since = |failing: &Failing| now.saturating_duration_since(failing.since);
        let Some(oldest) = self.failing.iter().max_by_key(|failing| since(failing)) else {
            return std::mem::take(&mut self.stands).then(|| Notice::Well(format!("{} takes all again", self.address)));
        };
        let due = match moment {
            Moment::Running => {
                let rested = self.warned.is_none_or(|warned| now.saturating_duration_since(warned) >= Reach::PAUSE);
                since(oldest) >= Reach::PATIENCE && rested
            }
            Moment::Exit => !self.stands,
        };
        if !due {
            return None;
        }
        (self.warned, self.stands) = (Some(now), true);
        let signals: Vec<_> = self.failing.iter().map(|failing| failing.signal).collect();
        Some(Notice::Failing(format!(
            "{} takes no {} since {:.0?}: {}. {waiting} records wait for it, {lost} were lost (see stats())",
            self.address,
            signals.join(" and no "),
            since(oldest),
            oldest.reason,
        )))
    }
}

/// On one line, and without what a terminal would obey: a collector's text comes from outside.
pub fn printable(text: &str) -> String {
    const LONGEST: usize = 400;
    bounded(text, LONGEST).chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "http://collector:4317";

    fn ago(reach: &Reach, time: Duration) {
        for known in reach.collectors.lock().iter_mut() {
            for failing in &mut known.failing {
                failing.since -= time;
            }
            known.warned = known.warned.map(|warned| warned - time);
        }
    }

    fn running(reach: &Reach) -> Vec<Notice> {
        reach.notices(Moment::Running, 12, 3)
    }

    #[test]
    fn a_failure_that_lasts_is_told_once_in_a_while_and_its_end_once() {
        let reach = Reach::default();
        assert_eq!(running(&reach), []);
        reach.failed(ADDRESS, "spans", "connection\x1b[31m refused");
        assert_eq!(running(&reach), [], "it may be a restart");
        ago(&reach, Duration::from_secs(7));
        reach.failed(ADDRESS, "metrics", "connection refused");
        let expected = "http://collector:4317 takes no spans and no metrics since 7s: connection [31m refused. \
                        12 records wait for it, 3 were lost (see stats())";
        assert_eq!(running(&reach), [Notice::Failing(expected.to_owned())]);
        assert_eq!(running(&reach), []);
        ago(&reach, Duration::from_secs(299));
        assert_eq!(running(&reach), []);
        ago(&reach, Duration::from_secs(1));
        assert_eq!(running(&reach).len(), 1);
        reach.arrived(ADDRESS, "spans");
        assert_eq!(running(&reach), []);
        reach.arrived(ADDRESS, "metrics");
        assert_eq!(running(&reach), [Notice::Well(format!("{ADDRESS} takes all again"))]);
        assert_eq!(running(&reach), []);
        assert!(!reach.stirred.load(Ordering::Relaxed));
    }

    #[test]
    fn what_was_over_soon_is_not_told() {
        let reach = Reach::default();
        reach.failed(ADDRESS, "spans", "connection refused");
        reach.arrived(ADDRESS, "spans");
        assert_eq!(running(&reach), []);
        assert_eq!(reach.notices(Moment::Exit, 0, 0), []);
    }

    #[test]
    fn at_the_end_there_is_nothing_to_wait_for() {
        let reach = Reach::default();
        reach.failed(ADDRESS, "spans", "connection refused");
        assert_eq!(reach.notices(Moment::Exit, 0, 5).len(), 1);
        assert_eq!(reach.notices(Moment::Exit, 0, 5), []);
    }
}
