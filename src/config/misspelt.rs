//! Variables that look like ours and are none: a slip of the finger must not look like a setting that has no effect.

use super::settings;

/// A variable that looks like one of ours and is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misspelt {
    /// As it is set.
    pub variable: String,
    /// What was perhaps meant.
    pub closest: Option<&'static str>,
}

impl std::fmt::Display for Misspelt {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} is no setting of jitspan", self.variable)?;
        self.closest.map_or(Ok(()), |closest| write!(formatter, ": did you mean {closest}?"))
    }
}

/// The variables of this process that look like ours and are none.
pub fn misspelt() -> Vec<Misspelt> {
    misspelt_among(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()))
}

fn misspelt_among(names: impl Iterator<Item = String>) -> Vec<Misspelt> {
    let known: Vec<&'static str> = settings::ours().collect();
    let looks_like_ours = |name: &String| name.to_ascii_uppercase().starts_with("JITSPAN");
    let mut unknown: Vec<String> =
        names.filter(looks_like_ours).filter(|name| !known.contains(&name.as_str())).collect();
    unknown.sort();
    let closest = |name: &str| {
        let upper = name.to_ascii_uppercase();
        let nearest = known.iter().map(|known| (distance(&upper, known), *known)).min()?;
        // Of `JITSPAN_` and another word nothing can be said.
        (nearest.0 <= 3.max((upper.len() - "JITSPAN".len()) / 3)).then_some(nearest.1)
    };
    unknown.into_iter().map(|variable| Misspelt { closest: closest(&variable), variable }).collect()
}

/// How many characters must be put in, taken out, replaced, or swapped with their neighbour.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    // The last three rows of the table; each begins with the characters taken out so far.
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=other.len()).collect();
    for (row, a) in one.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, b) in other.iter().enumerate() {
            let replaced = above[column] + usize::from(a != b);
            let mut best = replaced.min(above[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && *a == other[column - 1] && one[row - 1] == *b {
                best = best.min(before[column - 1] + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut above, current);
    }
    above.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_variable_is_told_with_the_closest_name() {
        let names = ["JITSPAN_VEBROSE", "JITSPAN_MODE", "JITSPAN", "jitspan_arm", "JITSPAN_COMPILESPANS", "PATH"];
        let told = misspelt_among(names.into_iter().map(str::to_owned));
        let told: Vec<(&str, Option<&str>)> = told.iter().map(|told| (&*told.variable, told.closest)).collect();
        assert_eq!(
            told,
            [
                ("JITSPAN_COMPILESPANS", Some("JITSPAN_COMPILE_SPANS")),
                ("JITSPAN_VEBROSE", Some("JITSPAN_VERBOSE")),
                ("jitspan_arm", Some("JITSPAN_ARM")),
            ]
        );
        let [told] = &misspelt_among(std::iter::once("JITSPAN_WHATEVER_IS_MEANT".to_owned()))[..] else { panic!() };
        assert_eq!(told.to_string(), "JITSPAN_WHATEVER_IS_MEANT is no setting of jitspan");
    }

    #[test]
    fn a_distance_counts_slips_of_the_finger() {
        assert_eq!(
            [("abc", "abc"), ("abc", "acb"), ("abc", "ab"), ("", "ab")].map(|(a, b)| distance(a, b)),
            [0, 1, 1, 2]
        );
    }
}
