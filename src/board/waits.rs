//! One wait is told once: of the time in which a peer compiled, what somebody waited for it and for nothing else.

use std::time::Duration;

use crate::model::event::UnixNanos;

/// From here on it is worth telling that somebody waited for a peer.
pub const LONG: Duration = Duration::from_millis(50);

/// A time, from and to.
pub type Span = (UnixNanos, UnixNanos);

/// What is left of a time without those that are told already, in order.
pub fn remaining(whole: Span, told: &[Span]) -> Vec<Span> {
    let mut left = if whole.0 < whole.1 { vec![whole] } else { Vec::new() };
    for (began, ended) in told.iter().copied().filter(|(began, ended)| began < ended) {
        left = left
            .into_iter()
            .flat_map(|(from, to)| [(from, to.min(began)), (from.max(ended), to)])
            .filter(|(from, to)| from < to)
            .collect();
    }
    left
}

/// How long all of them are.
pub fn length(spans: &[Span]) -> Duration {
    Duration::from_nanos(spans.iter().map(|(from, to)| to.saturating_sub(*from)).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_already_is_not_told_again() {
        assert_eq!(remaining((10, 100), &[]), [(10, 100)]);
        assert_eq!(remaining((10, 100), &[(0, 20), (50, 60), (90, 200)]), [(20, 50), (60, 90)]);
        assert_eq!(remaining((10, 100), &[(0, 200)]), []);
        assert_eq!(remaining((10, 100), &[(100, 200), (0, 10), (70, 30)]), [(10, 100)]);
        assert_eq!(remaining((100, 10), &[]), []);
        assert_eq!(length(&[(20, 50), (60, 90)]), Duration::from_nanos(60));
    }
}
