//! Circles between files, by Tarjan's algorithm.
//!
//! A file and the files that it declares (`mod.rs` and its folder) are one thing in parts: these may use what is theirs
//! together, which is in the first one, and that is no circle. Two of the parts that use each other are one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::modules::Use;

/// One circle of each group of files that reach each other: the shortest through its first file, use by use.
pub fn circles(uses: &BTreeSet<Use>) -> Vec<Vec<Use>> {
    let mut by: BTreeMap<&str, Vec<&Use>> = BTreeMap::new();
    for one in uses.iter().filter(|one| !one.of_parent) {
        by.entry(&one.by).or_default().push(one);
    }
    let mut search =
        Search { by: &by, index: BTreeMap::new(), low: BTreeMap::new(), stack: Vec::new(), groups: Vec::new() };
    for file in by.keys() {
        if !search.index.contains_key(file) {
            search.visit(file);
        }
    }
    search.groups.iter().map(|group| shortest(&by, group)).collect()
}

struct Search<'a> {
    by: &'a BTreeMap<&'a str, Vec<&'a Use>>,
    index: BTreeMap<&'a str, usize>,
    low: BTreeMap<&'a str, usize>,
    stack: Vec<&'a str>,
    groups: Vec<BTreeSet<&'a str>>,
}

impl<'a> Search<'a> {
    fn visit(&mut self, file: &'a str) {
        let index = self.index.len();
        self.index.insert(file, index);
        self.low.insert(file, index);
        self.stack.push(file);
        for one in self.by.get(file).into_iter().flatten() {
            let of = one.of.as_str();
            let reached = match self.index.get(of) {
                None => {
                    self.visit(of);
                    self.low[of]
                }
                Some(index) if self.stack.contains(&of) => *index,
                Some(_) => continue,
            };
            let low = self.low.get_mut(file).unwrap();
            *low = reached.min(*low);
        }
        if self.low[file] == index {
            let begin = self.stack.iter().position(|other| *other == file).unwrap();
            let group: BTreeSet<&str> = self.stack.drain(begin..).collect();
            if group.len() > 1 {
                self.groups.push(group);
            }
        }
    }
}

fn shortest(by: &BTreeMap<&str, Vec<&Use>>, group: &BTreeSet<&str>) -> Vec<Use> {
    let goal = *group.first().unwrap();
    let mut seen = BTreeSet::new();
    let mut queue = VecDeque::from([(goal, Vec::new())]);
    while let Some((file, way)) = queue.pop_front() {
        for one in by.get(file).into_iter().flatten().filter(|one| group.contains(one.of.as_str())) {
            let further: Vec<Use> = way.iter().cloned().chain([(*one).clone()]).collect();
            if one.of == goal {
                return further;
            }
            if seen.insert(one.of.as_str()) {
                queue.push_back((&one.of, further));
            }
        }
    }
    unreachable!("a group of files that reach each other has a circle through each");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(pairs: &[(&str, &str)]) -> BTreeSet<Use> {
        let one = |(by, of): &(&str, &str)| Use {
            by: (*by).to_owned(),
            of_parent: of.ends_with("mod.rs"),
            of: (*of).to_owned(),
            line: 1,
            path: String::new(),
        };
        pairs.iter().map(one).collect()
    }

    #[test]
    fn a_circle_is_told_use_by_use_and_the_shortest_first() {
        let uses = uses(&[("d", "a"), ("a", "b"), ("b", "c"), ("c", "a"), ("c", "b"), ("x", "y"), ("b", "d")]);
        let found = circles(&uses);
        let told: Vec<_> = found.iter().flatten().map(|one| (one.by.as_str(), one.of.as_str())).collect();
        assert_eq!(told, [("a", "b"), ("b", "c"), ("c", "a")]);
    }

    #[test]
    fn a_file_and_what_it_declares_are_no_circle_and_two_of_these_are() {
        let family = [("f/mod.rs", "f/a.rs"), ("f/a.rs", "f/mod.rs"), ("f/mod.rs", "f/b.rs"), ("f/a.rs", "f/b.rs")];
        assert_eq!(circles(&uses(&family)).len(), 0);
        let both = [family.as_slice(), &[("f/b.rs", "f/a.rs")]].concat();
        assert_eq!(circles(&uses(&both)).len(), 1);
    }
}
