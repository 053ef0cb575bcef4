//! What of the compiles of peer engines an engine waited for. One wait is told once: when several peers compile the same
//! kernel at the same time, the longest is told; and what the engine compiled itself meanwhile, its own step tells.

use std::cmp::Reverse;
use std::collections::VecDeque;

use crate::board::peers::Peer;
use crate::board::waits::{LONG, Span, length, remaining};
use crate::stats::Counter;

/// Times that are told already and that a later peer's may overlap.
const KEPT: usize = 256;

/// A peer, and when the engine waited for it and for nothing else.
pub type Wait = (Peer, Vec<Span>);

/// What has been told.
#[derive(Debug, Default)]
pub struct Told(VecDeque<Span>);

impl Told {
    /// What is new of what the board says: what has ended, and what goes on. `own`: when the engine itself stalled.
    pub fn waits(&mut self, peers: &[Peer], own: &[Span]) -> (Vec<Wait>, Vec<Wait>) {
        for ours in peers.iter().filter(|peer| !peer.is_other) {
            self.keep(ours.span);
        }
        let mut others: Vec<&Peer> = peers.iter().filter(|peer| peer.is_other).collect();
        // What has ended before what goes on, and the longest first.
        others.sort_by_key(|peer| (peer.goes_on, Reverse(length(&[peer.span])), peer.span.0));
        let (mut ended, mut going_on): (Vec<Wait>, Vec<Wait>) = (Vec::new(), Vec::new());
        let mut now: Vec<Span> = own.to_vec();
        for peer in others {
            let told: Vec<Span> = self.0.iter().chain(&now).copied().collect();
            let waited = remaining(peer.span, &told);
            if length(&waited) < LONG {
                continue;
            }
            now.push(peer.span);
            if peer.goes_on {
                // It is told once more, to all who wait, when it has ended.
                going_on.push((peer.clone(), waited));
            } else {
                self.keep(peer.span);
                crate::monitor().into_iter().for_each(|monitor| monitor.stats().add(Counter::Peers, 1));
                ended.push((peer.clone(), waited));
            }
        }
        (ended, going_on)
    }

    fn keep(&mut self, span: Span) {
        // What goes on is heard of again and again, and grows.
        self.0.retain(|known| known.0 != span.0);
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back(span);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn peer(rank: i64, from: u64, to: u64) -> Peer {
        Peer {
            is_other: rank > 0,
            rank: Some(0),
            data_parallel_rank: Some(rank),
            runtime: "triton".to_owned(),
            kernel: format!("kernel of {rank}"),
            span: (from * MS, to * MS),
            goes_on: false,
        }
    }

    fn told(waits: &[Wait]) -> Vec<(i64, u64)> {
        let milliseconds =
            |(peer, waited): &Wait| (peer.data_parallel_rank.unwrap(), length(waited).as_millis() as u64);
        waits.iter().map(milliseconds).collect()
    }

    #[test]
    fn of_peers_that_compile_at_the_same_time_the_longest_is_told() {
        let mut known = Told::default();
        let (ended, _) = known.waits(&[peer(1, 0, 900), peer(2, 10, 1000), peer(3, 20, 950)], &[]);
        assert_eq!(told(&ended), [(2, 990)]);
        // One that is heard of later, and was longer, adds what is new.
        assert_eq!(told(&known.waits(&[peer(4, 500, 2000)], &[]).0), [(4, 1000)]);
        assert_eq!(told(&known.waits(&[peer(5, 500, 1900)], &[]).0), []);
    }

    #[test]
    fn what_the_engine_compiled_itself_is_not_a_peers() {
        let mut known = Told::default();
        assert_eq!(told(&known.waits(&[peer(1, 0, 900)], &[(0, 880 * MS)]).0), []);
        assert_eq!(told(&known.waits(&[peer(0, 1000, 1600), peer(1, 1000, 2000)], &[]).0), [(1, 400)]);
    }

    #[test]
    fn what_is_short_is_not_told_and_what_goes_on_is_told_again_at_its_end() {
        let mut known = Told::default();
        assert_eq!(told(&known.waits(&[peer(1, 0, 49)], &[]).0), []);
        let going_on = Peer { goes_on: true, ..peer(1, 100, 700) };
        let (ended, now) = known.waits(&[going_on], &[]);
        assert_eq!((told(&ended), told(&now)), (vec![], vec![(1, 600)]));
        assert_eq!(told(&known.waits(&[peer(1, 100, 1100)], &[]).0), [(1, 1000)]);
    }
}
