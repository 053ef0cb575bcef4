//! Which specializations of a kernel this process has, and what is new about another.

use std::collections::{BTreeMap, VecDeque};

use crate::model::event::Cause;
use crate::process::lock::Mutex;

/// What a kernel was compiled for: parameters, and then options, each with its type or its value.
pub type Specialization = Vec<(String, String)>;

/// Kernels remembered, and specializations of each; of more the oldest are forgotten.
const KERNELS: usize = 1024;
const OF_EACH: usize = 64;

static KNOWN: Mutex<BTreeMap<String, VecDeque<Specialization>>> = Mutex::new(BTreeMap::new());

/// Why `new` was compiled, and what differs from the nearest one known.
pub fn explain(kernel: &str, new: &Specialization) -> (Cause, Vec<String>) {
    let known = KNOWN.lock();
    let Some(known) = known.get(kernel) else { return (Cause::FirstUse, Vec::new()) };
    let nearest = known.iter().rev().map(|known| differences(known, new)).min_by_key(Vec::len);
    match nearest {
        None => (Cause::FirstUse, Vec::new()),
        Some(changes) if changes.is_empty() => (Cause::Recompile, changes),
        Some(changes) => (Cause::NewSpecialization, changes),
    }
}

/// The process has it now.
pub fn remember(kernel: &str, new: Specialization) {
    let mut known = KNOWN.lock();
    if known.len() >= KERNELS && !known.contains_key(kernel) {
        known.pop_first();
    }
    let of_kernel = known.entry(kernel.to_owned()).or_default();
    of_kernel.retain(|known| *known != new);
    if of_kernel.len() >= OF_EACH {
        of_kernel.pop_front();
    }
    of_kernel.push_back(new);
}

/// Forgets all of it: what compiles while nobody watches would be taken for what is known.
pub fn forget() {
    KNOWN.lock().clear();
}

fn differences(from: &Specialization, to: &Specialization) -> Vec<String> {
    let value = |side: &Specialization, name: &str| {
        side.iter().find(|(known, _)| known == name).map_or("absent".to_owned(), |(_, value)| value.clone())
    };
    let gone = from.iter().filter(|(name, _)| to.iter().all(|(kept, _)| kept != name));
    let names = to.iter().chain(gone).map(|(name, _)| name);
    names
        .filter_map(|name| {
            let (was, is) = (value(from, name), value(to, name));
            (was != is).then(|| format!("{name}: {was} -> {is}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Specialization {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_nearest_specialization_explains() {
        let kernel = "explained";
        assert_eq!(explain(kernel, &of(&[("n", "3")])), (Cause::FirstUse, vec![]));
        remember(kernel, of(&[("n", "3"), ("k", "Int32")]));
        remember(kernel, of(&[("n", "7"), ("k", "Int64")]));
        assert_eq!(explain(kernel, &of(&[("n", "3"), ("k", "Int32")])), (Cause::Recompile, vec![]));
        let (cause, changes) = explain(kernel, &of(&[("n", "4"), ("k", "Int32")]));
        assert_eq!((cause, changes), (Cause::NewSpecialization, vec!["n: 3 -> 4".to_owned()]));
        let (_, changes) = explain(kernel, &of(&[("n", "3")]));
        assert_eq!(changes, ["k: Int32 -> absent"]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        for number in 0..OF_EACH * 2 {
            remember("bounded", of(&[("n", &number.to_string())]));
        }
        assert_eq!(KNOWN.lock()["bounded"].len(), OF_EACH);
    }
}
