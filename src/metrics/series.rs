//! The series of one instrument, bounded in number.

use std::cmp::Ordering;

use crate::model::attribute::Attributes;
use crate::semconv::metric::OVERFLOW;

/// What tells the series of one instrument apart: names and values.
pub type Labels<'a> = [(&'static str, &'a str)];

/// A value for each set of labels, which are copied only for a new one: a storm counts each event in three of them.
#[derive(Debug)]
pub struct Series<T> {
    /// Sorted by the labels.
    known: Vec<(Vec<(&'static str, String)>, T)>,
    overflow: Option<T>,
}

impl<T> Default for Series<T> {
    fn default() -> Self {
        Series { known: Vec::new(), overflow: None }
    }
}

impl<T: Default + Clone> Series<T> {
    /// Enough for every kernel of a model; the specification's default of 2,000 is more than a small Prometheus
    /// wants from each rank.
    pub const LIMIT: usize = 256;

    /// The value under these labels. Beyond the limit it is the one that stands for all others.
    pub fn of(&mut self, labels: &Labels<'_>) -> &mut T {
        match self.known.binary_search_by(|(known, _)| compare(known, labels)) {
            Ok(at) => &mut self.known[at].1,
            Err(_) if self.known.len() >= Self::LIMIT => self.overflow.get_or_insert_with(T::default),
            Err(at) => {
                let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
                self.known.insert(at, (labels, T::default()));
                &mut self.known[at].1
            }
        }
    }

    /// All of them.
    pub fn all(&self) -> Vec<(Attributes, T)> {
        let known = self.known.iter().map(|(labels, value)| {
            let mut attributes = Attributes::with_capacity(labels.len());
            labels.iter().for_each(|(name, text)| attributes.add(*name, &**text));
            (attributes, value.clone())
        });
        let overflow = self.overflow.iter().map(|value| {
            let mut attributes = Attributes::new();
            attributes.bool(OVERFLOW, true);
            (attributes, value.clone())
        });
        known.chain(overflow).collect()
    }

    /// Changes each value.
    pub fn each(&mut self, change: impl Fn(&mut T)) {
        self.known.iter_mut().map(|(_, value)| value).chain(&mut self.overflow).for_each(change);
    }
}

/// The last value first: it is the one that differs, as a rule, and the names are the same in all series.
fn compare(known: &[(&'static str, String)], labels: &Labels<'_>) -> Ordering {
    let known = known.iter().rev().map(|(name, value)| (&**value, *name));
    known.cmp(labels.iter().rev().map(|(name, value)| (*value, *name)))
}
