//! Bars on a time axis, half a column fine. Knows times and columns only.

/// The time that a picture covers, and the columns it has for it.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    /// The time at the left edge.
    pub start: u64,
    /// The time at the right edge.
    pub end: u64,
    /// Columns between them.
    pub columns: usize,
}

/// The characters of a bar: a full column, its left half, its right half.
#[derive(Clone, Copy, Debug)]
pub struct Stroke(char, char, char);

/// For ordinary work.
pub const THIN: Stroke = Stroke('━', '╸', '╺');
/// For stalls, which are what the picture is about.
pub const THICK: Stroke = Stroke('█', '▌', '▐');

/// Ticks at a round distance, no closer than this to each other.
const COLUMNS_PER_TICK: u64 = 12;

impl Axis {
    /// A bar from start to end, at least half a column long, with the blanks before it but not behind it.
    #[must_use]
    pub fn bar(&self, (start, end): (u64, u64), stroke: Stroke) -> String {
        let halves = 2 * self.columns;
        if halves == 0 {
            return String::new();
        }
        let first = self.halves_at(start).min(halves - 1);
        let last = self.halves_at_or_after(end).clamp(first + 1, halves);
        (0..last.div_ceil(2))
            .map(|column| {
                match (first <= 2 * column && 2 * column < last, first <= 2 * column + 1 && 2 * column + 1 < last) {
                    (true, true) => stroke.0,
                    (true, false) => stroke.1,
                    (false, true) => stroke.2,
                    (false, false) => ' ',
                }
            })
            .collect()
    }

    /// The columns of the ticks with the nanoseconds since the start that each stands for.
    #[must_use]
    pub fn ticks(&self) -> Vec<(usize, u64)> {
        let length = self.end.saturating_sub(self.start);
        let most = (self.columns as u64 / COLUMNS_PER_TICK).max(1);
        let step = round_up(length.div_ceil(most).max(1));
        (0..=length / step).map(|tick| tick * step).map(|time| (self.halves_at(self.start + time) / 2, time)).collect()
    }

    fn halves_at(&self, time: u64) -> usize {
        let scaled = self.scaled(time);
        usize::try_from(scaled / self.length()).unwrap_or(usize::MAX)
    }

    fn halves_at_or_after(&self, time: u64) -> usize {
        let scaled = self.scaled(time);
        usize::try_from(scaled.div_ceil(self.length())).unwrap_or(usize::MAX)
    }

    fn scaled(&self, time: u64) -> u128 {
        u128::from(time.saturating_sub(self.start)) * 2 * self.columns as u128
    }

    fn length(&self) -> u128 {
        u128::from(self.end.saturating_sub(self.start)).max(1)
    }
}

/// The next number that is 1, 2 or 5 and zeros.
fn round_up(number: u64) -> u64 {
    let mut power: u64 = 1;
    loop {
        for factor in [1, 2, 5] {
            let candidate = power.saturating_mul(factor);
            if candidate >= number {
                return candidate;
            }
        }
        power = power.saturating_mul(10);
    }
}
