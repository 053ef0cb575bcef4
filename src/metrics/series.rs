//! The series of one instrument, bounded in number.

use crate::attribute::Attributes;
use crate::semconv::metric::OVERFLOW;

/// A value for each set of attributes.
#[derive(Debug)]
pub struct Series<T> {
    known: Vec<(Attributes, T)>,
    overflow: Option<T>,
}

impl<T> Default for Series<T> {
    fn default() -> Self {
        Series { known: Vec::new(), overflow: None }
    }
}

impl<T: Default + Clone> Series<T> {
    /// Enough for every kernel of a model; the specification's default of 2,000 is more than a small Prometheus
    /// wants from each rank, and what is searched is a list.
    pub const LIMIT: usize = 256;

    /// The value under these attributes. Beyond the limit it is the one that stands for all others.
    pub fn of(&mut self, attributes: Attributes) -> &mut T {
        let at = match self.known.iter().position(|(known, _)| *known == attributes) {
            None if self.known.len() < Self::LIMIT => {
                self.known.push((attributes, T::default()));
                self.known.len() - 1
            }
            known => known.unwrap_or(usize::MAX),
        };
        match self.known.get_mut(at) {
            Some((_, value)) => value,
            None => self.overflow.get_or_insert_with(T::default),
        }
    }

    /// All of them.
    pub fn all(&self) -> Vec<(Attributes, T)> {
        let overflow = self.overflow.iter().map(|value| {
            let mut attributes = Attributes::new();
            attributes.bool(OVERFLOW, true);
            (attributes, value.clone())
        });
        self.known.iter().cloned().chain(overflow).collect()
    }

    /// Changes each value.
    pub fn each(&mut self, change: impl Fn(&mut T)) {
        self.known.iter_mut().map(|(_, value)| value).chain(&mut self.overflow).for_each(change);
    }
}
