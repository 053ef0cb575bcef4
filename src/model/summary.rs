//! What all the stalls of one request come to: the `jit.*` attributes that a search or a dashboard asks for.

use std::time::Duration;

use crate::model::attribute::{Attributes, bounded};
use crate::model::event::{CompileEvent, Kind, UnixNanos};
use crate::semconv::span as key;

/// Counts and times of the stalls seen so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    compiles: i64,
    autotunes: i64,
    loads: i64,
    /// Whether one of them was long enough.
    stalled: bool,
    /// Disjoint and sorted: nested and parallel stalls must not count the same second twice.
    stalls: Vec<(UnixNanos, UnixNanos)>,
    /// Stalls already taken out of `stalls` to keep it short.
    settled: Duration,
    longest: Duration,
    /// Sorted, each name once.
    runtimes: Vec<String>,
    kernels: Vec<String>,
}

impl Summary {
    /// Enough for every stall of a sane request; beyond it the oldest are added up and forgotten.
    const STALLS_KEPT: usize = 256;
    /// A label, not a list for reading: the events have all names.
    const NAMES_KEPT: usize = 32;
    const NAME_LENGTH: usize = 100;

    /// Counts one more.
    pub fn add(&mut self, event: &CompileEvent) {
        match event.kind {
            Kind::Compile => self.compiles += 1,
            Kind::Autotune => self.autotunes += 1,
            Kind::Load => self.loads += 1,
        }
        self.stalled |= event.stalls;
        self.longest = self.longest.max(event.duration);
        remember(&mut self.runtimes, &event.runtime);
        remember(&mut self.kernels, &event.kernel.name);
        self.stall(event.started, event.ended());
    }

    /// Adds time to a stall that turned out longer (a launcher built after its compile).
    pub fn stall(&mut self, began: UnixNanos, ended: UnixNanos) {
        let (mut began, mut ended) = (began, ended.max(began));
        self.stalls.retain(|&(other_began, other_ended)| {
            let apart = other_ended < began || ended < other_began;
            if !apart {
                began = began.min(other_began);
                ended = ended.max(other_ended);
            }
            apart
        });
        let place = self.stalls.partition_point(|&(other, _)| other < began);
        self.stalls.insert(place, (began, ended));
        if self.stalls.len() > Self::STALLS_KEPT {
            let (began, ended) = self.stalls.remove(0);
            self.settled += Duration::from_nanos(ended - began);
        }
    }

    /// What was counted as a short load turned out to be a stall.
    pub fn lengthened(&mut self) {
        self.stalled = true;
    }

    /// How many compiles, autotunes and loads were counted.
    pub fn count(&self) -> i64 {
        self.compiles + self.autotunes + self.loads
    }

    /// Time in which at least one stall was going on.
    pub fn stall_time(&self) -> Duration {
        self.settled + Duration::from_nanos(self.stalls.iter().map(|(began, ended)| ended - began).sum())
    }

    /// As span attributes.
    pub fn attributes(&self) -> Attributes {
        let mut to = Attributes::with_capacity(16);
        to.add(key::STALLED, self.stalled);
        to.add(key::COMPILE_COUNT, self.compiles);
        to.add(key::AUTOTUNE_COUNT, self.autotunes);
        to.add(key::LOAD_COUNT, self.loads);
        to.add(key::STALL_TIME, self.stall_time().as_secs_f64());
        to.add(key::STALL_LONGEST, self.longest.as_secs_f64());
        to.add(key::RUNTIMES, self.runtimes.join(","));
        to.add(key::KERNELS, self.kernels.join(","));
        to
    }
}

fn remember(names: &mut Vec<String>, name: &str) {
    let label = bounded(name, Summary::NAME_LENGTH);
    if let Err(place) = names.binary_search_by(|known| (**known).cmp(&*label))
        && names.len() < Summary::NAMES_KEPT
    {
        names.insert(place, label.into_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::Kernel;

    fn event(kind: Kind, started: u64, nanoseconds: u64) -> CompileEvent {
        let mut event = CompileEvent::new(kind, "triton", Kernel::named("k"));
        (event.started, event.duration) = (started, Duration::from_nanos(nanoseconds));
        event
    }

    #[test]
    fn a_compile_nested_in_an_autotune_counts_its_time_once() {
        let mut summary = Summary::default();
        summary.add(&event(Kind::Compile, 10, 30));
        summary.add(&event(Kind::Compile, 50, 40));
        summary.add(&event(Kind::Autotune, 0, 100));
        assert_eq!(summary.stall_time(), Duration::from_nanos(100));
        assert_eq!((summary.compiles, summary.autotunes), (2, 1));
    }

    #[test]
    fn stalls_apart_from_each_other_add_up_beyond_the_number_kept() {
        let mut summary = Summary::default();
        for at in 0..1_000 {
            summary.add(&event(Kind::Compile, at * 10, 3));
        }
        assert_eq!(summary.stall_time(), Duration::from_nanos(3_000));
        assert!(summary.stalls.len() <= Summary::STALLS_KEPT);
    }

    #[test]
    fn names_are_bounded() {
        let mut summary = Summary::default();
        for at in 0..1_000 {
            summary.add(&CompileEvent::new(Kind::Compile, "triton", Kernel::named(format!("{at}{}", "x".repeat(999)))));
        }
        assert!(summary.kernels.join(",").len() < 33 * 110);
    }
}
