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
    tuner_misses: i64,
    launchers: i64,
    peers: i64,
    /// Whether one of them was long enough.
    stalled: bool,
    /// Apart from each other and sorted: nested and parallel stalls must not count the same second twice.
    stalls: Vec<Busy>,
    longest: Duration,
    /// Sorted, each name once.
    runtimes: Vec<String>,
    kernels: Vec<String>,
}

/// A time in which stalls were going on, all of it or, where several have been put together, a part.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Busy {
    began: UnixNanos,
    ended: UnixNanos,
    nanoseconds: u64,
}

impl Summary {
    /// Enough for every stall of a sane request; beyond it those that are nearest to each other are put together.
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
            Kind::TunerMiss => self.tuner_misses += 1,
            Kind::Launcher => self.launchers += 1,
            Kind::Peer => self.peers += 1,
        }
        self.stalled |= event.stalls;
        self.longest = self.longest.max(event.duration);
        remember(&mut self.runtimes, &event.runtime);
        remember(&mut self.kernels, &event.kernel.name);
        self.stall(event.began(), event.ended());
    }

    pub(crate) fn stall(&mut self, began: UnixNanos, ended: UnixNanos) {
        let mut all = Busy { began, ended, nanoseconds: ended.saturating_sub(began) };
        self.stalls.retain(|other| {
            let apart = other.ended < began || ended < other.began;
            if !apart {
                all.began = all.began.min(other.began);
                all.ended = all.ended.max(other.ended);
                all.nanoseconds += other.outside(began, ended);
            }
            apart
        });
        let place = self.stalls.partition_point(|other| other.began < all.began);
        self.stalls.insert(place, all);
        if self.stalls.len() > Self::STALLS_KEPT {
            self.put_nearest_together();
        }
    }

    /// The compiles of an autotune are nearer to each other than to what came before them: so the autotune, which comes
    /// last, still covers just what is its own.
    fn put_nearest_together(&mut self) {
        let gaps = self.stalls.windows(2).map(|pair| match pair {
            [one, other] => other.began.saturating_sub(one.ended),
            _ => UnixNanos::MAX,
        });
        let Some((place, _)) = gaps.enumerate().min_by_key(|(_, gap)| *gap) else { return };
        let other = self.stalls.remove(place + 1);
        if let Some(one) = self.stalls.get_mut(place) {
            one.ended = other.ended;
            one.nanoseconds += other.nanoseconds;
        }
    }

    /// How many stalls were counted.
    pub fn count(&self) -> i64 {
        self.compiles + self.autotunes + self.loads + self.launchers + self.tuner_misses + self.peers
    }

    /// Time in which at least one stall was going on.
    pub fn stall_time(&self) -> Duration {
        Duration::from_nanos(self.stalls.iter().map(|busy| busy.nanoseconds).sum())
    }

    /// As span attributes.
    pub fn attributes(&self) -> Attributes {
        let mut to = Attributes::with_capacity(16);
        to.add(key::STALLED, self.stalled);
        to.add(key::COMPILE_COUNT, self.compiles);
        to.add(key::AUTOTUNE_COUNT, self.autotunes);
        to.add(key::LOAD_COUNT, self.loads);
        // Nearly nobody has one, so nearly nobody pays for the attribute.
        if self.tuner_misses > 0 {
            to.add(key::TUNER_MISS_COUNT, self.tuner_misses);
        }
        to.add(key::STALL_TIME, self.stall_time().as_secs_f64());
        to.add(key::STALL_LONGEST, self.longest.as_secs_f64());
        to.add(key::RUNTIMES, self.runtimes.join(","));
        to.add(key::KERNELS, self.kernels.join(","));
        to
    }
}

impl Busy {
    /// How much of it lies outside of a time that begins or ends within it, or covers it. Where several were put
    /// together, their parts are taken as spread evenly.
    fn outside(&self, began: UnixNanos, ended: UnixNanos) -> u64 {
        let length = self.ended.saturating_sub(self.began);
        let outside = began.saturating_sub(self.began) + self.ended.saturating_sub(ended);
        let share = u128::from(self.nanoseconds) * u128::from(outside) / u128::from(length.max(1));
        u64::try_from(share).unwrap_or(self.nanoseconds)
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
        (event.started, event.duration) = (Some(started), Duration::from_nanos(nanoseconds));
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
    fn more_compiles_than_are_kept_count_once_with_the_autotune_that_they_nest_in() {
        let mut summary = Summary::default();
        // Before the autotune, and apart from it: all of that counts as well.
        for at in 0..300 {
            summary.add(&event(Kind::Compile, at * 1_000_000, 1_000));
        }
        let began = 400_000_000;
        for at in 0..1_000 {
            summary.add(&event(Kind::Compile, began + at * 1_000, 900));
        }
        summary.add(&event(Kind::Autotune, began, 1_000_000));
        assert_eq!(summary.stall_time(), Duration::from_nanos(300 * 1_000 + 1_000_000));
        assert!(summary.stalls.len() <= Summary::STALLS_KEPT);
    }

    #[test]
    fn a_launcher_is_time_and_no_compile() {
        let mut summary = Summary::default();
        let compile = event(Kind::Compile, 10, 30);
        summary.add(&compile);
        summary.add(&compile.launcher(50, Duration::from_nanos(60)));
        assert_eq!((summary.compiles, summary.count()), (1, 2));
        assert_eq!((summary.stall_time(), summary.longest), (Duration::from_nanos(90), Duration::from_nanos(60)));
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
