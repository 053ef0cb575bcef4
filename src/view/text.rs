//! Words for a terminal: times, counts, colours, and text of strangers made safe to print.

const NS_PER_US: f64 = 1e3;
const NS_PER_MS: f64 = 1e6;
const NS_PER_S: f64 = 1e9;

/// A duration with three significant digits: `7.60 ms`, `760 ms`, `1.31 s`, `2 min 11 s`.
#[must_use]
pub fn duration(nanoseconds: u64) -> String {
    let value = nanoseconds as f64;
    // Half a unit below the next one already rounds up to it.
    match nanoseconds {
        0..1_000 => format!("{nanoseconds} ns"),
        1_000..999_500 => significant(value / NS_PER_US, "µs"),
        999_500..999_500_000 => significant(value / NS_PER_MS, "ms"),
        999_500_000..119_500_000_000 => significant(value / NS_PER_S, "s"),
        _ => {
            let seconds = (value / NS_PER_S).round() as u64;
            format!("{} min {:02} s", seconds / 60, seconds % 60)
        }
    }
}

fn significant(value: f64, unit: &str) -> String {
    let decimals = match value {
        _ if value < 9.995 => 2,
        _ if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {unit}")
}

/// A round duration without needless zeros: `0`, `250 ms`, `1.5 s`.
#[must_use]
pub fn round_duration(nanoseconds: u64) -> String {
    let value = nanoseconds as f64;
    match nanoseconds {
        0 => "0".to_owned(),
        1..1_000 => format!("{nanoseconds} ns"),
        1_000..1_000_000 => format!("{} µs", value / NS_PER_US),
        1_000_000..1_000_000_000 => format!("{} ms", value / NS_PER_MS),
        _ => format!("{} s", value / NS_PER_S),
    }
}

/// Time of day of nanoseconds since 1970: `13:40:01.123 UTC`.
#[must_use]
pub fn time_of_day(unix_nano: u64) -> String {
    let milliseconds = unix_nano / 1_000_000;
    let seconds = milliseconds / 1_000;
    let (hours, minutes) = (seconds / 3_600 % 24, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{:03} UTC", seconds % 60, milliseconds % 1_000)
}

/// `1 compile`, `2 compiles`.
#[must_use]
pub fn number_of(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// `a`, `a and b`, `a, b and c`.
#[must_use]
pub fn enumerate(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// One line that a terminal cannot mistake for a command: line breaks and tabs become spaces, other characters that
/// steer a terminal or turn the direction of writing become their escapes.
#[must_use]
pub fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\r' | '\t' => cleaned.push(' '),
            _ if is_unsafe(character) => cleaned.extend(character.escape_unicode()),
            _ => cleaned.push(character),
        }
    }
    cleaned
}

/// Whether a character steers a terminal, turns the direction of writing, or is there without being seen. A joiner is
/// not among them: words of some languages need it.
#[must_use]
pub fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}'
                | '\u{200b}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
        )
}

/// At most `width` characters, the last of them `…` where something was cut off.
#[must_use]
pub fn shorten(text: &str, width: usize) -> String {
    match text.char_indices().nth(width) {
        None => text.to_owned(),
        Some(_) => text.chars().take(width.saturating_sub(1)).chain((width > 0).then_some('…')).collect(),
    }
}

/// Characters, each counted as one column.
#[must_use]
pub fn width(text: &str) -> usize {
    text.chars().count()
}

/// What a piece of text means, from which follows how it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The request itself.
    Title,
    /// Ordinary work.
    Work,
    /// Time that went to a compile.
    Stall,
    /// Something failed.
    Failure,
    /// Of less interest.
    Aside,
}

/// Paints text, or leaves it plain.
#[derive(Clone, Copy, Debug)]
pub struct Palette {
    /// Escape sequences may be used.
    pub color: bool,
}

impl Palette {
    /// The text, dressed for its role.
    #[must_use]
    pub fn paint(&self, role: Role, text: impl AsRef<str>) -> String {
        let text = text.as_ref();
        let code = match role {
            Role::Title => "1",
            Role::Work => "36",
            Role::Stall => "33",
            Role::Failure => "31",
            Role::Aside => "2",
        };
        if self.color && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits_and_never_a_thousand_of_a_unit() {
        let said: Vec<String> = [
            0,
            999,
            1_000,
            7_604_000,
            76_040_000,
            760_400_000,
            999_499_999,
            999_500_000,
            1_310_000_000,
            119_499_999_999,
            119_500_000_000,
            3_725_000_000_000,
        ]
        .map(duration)
        .to_vec();
        let expected = [
            "0 ns",
            "999 ns",
            "1.00 µs",
            "7.60 ms",
            "76.0 ms",
            "760 ms",
            "999 ms",
            "1.00 s",
            "1.31 s",
            "119 s",
            "2 min 00 s",
            "62 min 05 s",
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn what_steers_a_terminal_is_made_visible() {
        assert_eq!(clean("\x1b[2Ja\nb\u{9b}c\u{202e}d\0"), "\\u{1b}[2Ja b\\u{9b}c\\u{202e}d\\u{0}");
    }

    #[test]
    fn shortening_counts_characters_not_bytes() {
        assert_eq!(shorten("größe", 5), "größe");
        assert_eq!(shorten("größer", 5), "größ…");
        assert_eq!(shorten("a", 0), "");
    }
}
