//! The lines of one kernel, added up.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

use crate::manifest::line::Line;
use crate::model::event::CacheResult;
use crate::model::recipe::{Recipe, What};

impl Varied {
    /// In one line.
    pub fn sentence(&self) -> String {
        let had =
            if self.had.is_empty() { String::new() } else { format!("; the warm-up had {}", self.had.join(", ")) };
        format!("{}: {} came{had}", self.parameter, self.came.join(", "))
    }
}

/// Classes, and reasons, that are named.
const NAMED: usize = 12;

/// One kernel.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Finding {
    /// What compiled it.
    pub runtime: String,
    /// Module that defines it.
    pub module: String,
    /// Its name.
    pub kernel: String,
    /// Seconds lost. A compile within a tuning is in the tuning's.
    pub seconds: f64,
    /// Of these, in loads from a cache on disk.
    pub load_seconds: f64,
    /// Of these, in tunings.
    pub tuning_seconds: f64,
    /// Specializations that compiled late, but for those of a tuning.
    pub specializations: usize,
    /// Tunings.
    pub tunings: usize,
    /// How often that was seen.
    pub times: u64,
    /// Requests that waited.
    pub requests: u64,
    /// Things that the baseline does not have.
    pub new: usize,
    /// Of all, those that a replay brings back.
    pub replayable: usize,
    /// Why others are not.
    pub unsupported: Vec<String>,
    /// Whether the warm-up had the kernel at all.
    pub in_warm_up: bool,
    /// Parameters of which a class came that the warm-up did not have.
    pub varied: Vec<Varied>,
    /// What differed, as it was told when it compiled.
    pub changes: Vec<String>,
    /// What it was tuned for.
    pub tuned_for: Vec<String>,
    /// What to do, in one sentence.
    pub advice: String,
}

/// One parameter.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Varied {
    /// Its name.
    pub parameter: String,
    /// Classes that the warm-up had.
    pub had: Vec<String>,
    /// Classes that came.
    pub came: Vec<String>,
}

impl Finding {
    /// None: there is nothing but what a tuning has compiled.
    pub fn new(lines: &[&Line], known: Option<&HashSet<String>>) -> Option<Self> {
        let first = lines.first()?;
        let mut finding = Finding {
            runtime: first.recipe.runtime.clone(),
            module: first.recipe.kernel.module.clone(),
            kernel: first.recipe.kernel.shown().to_owned(),
            ..Finding::default()
        };
        // What was compiled to be benchmarked is in the tuning's own time. Where that is missing, it counts itself.
        let tuned = lines.iter().any(|line| line.recipe.kind == What::Tuning);
        let told: Vec<&Line> = lines.iter().copied().filter(|line| !(tuned && line.recipe.tuned)).collect();
        for line in &told {
            finding.add(line, known);
        }
        finding.vary(&told);
        (finding.times > 0).then_some(finding)
    }

    fn add(&mut self, line: &Line, known: Option<&HashSet<String>>) {
        let recipe = &line.recipe;
        self.seconds += line.duration;
        if recipe.kind == What::Tuning {
            self.tunings += 1;
            self.tuning_seconds += line.duration;
        } else {
            self.specializations += 1;
            if line.cache == CacheResult::Hit.as_str() {
                self.load_seconds += line.duration;
            }
        }
        self.times += line.times;
        self.requests += line.requests;
        self.new += usize::from(known.is_some_and(|known| !known.contains(&line.call())));
        match &recipe.unsupported {
            Some(reason) if self.unsupported.len() < NAMED => add_once(&mut self.unsupported, reason),
            Some(_) => {}
            None => self.replayable += 1,
        }
        self.in_warm_up |= !recipe.had.is_empty();
        for change in line.changes.iter().filter(|_| recipe.kind == What::Specialization) {
            if self.changes.len() < NAMED {
                add_once(&mut self.changes, change);
            }
        }
        if let Some(tuning) = recipe.tuning.as_ref().filter(|_| self.tuned_for.len() < NAMED) {
            let key: Vec<String> = tuning.key.iter().map(crate::model::recipe::shown).collect();
            add_once(&mut self.tuned_for, &format!("({})", key.join(", ")));
        }
    }

    fn vary(&mut self, lines: &[&Line]) {
        let mut had: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (parameter, classes) in lines.iter().flat_map(|line| &line.recipe.had) {
            let known = had.entry(parameter).or_default();
            classes.iter().for_each(|class| add_once(known, class));
        }
        let specializations: Vec<&Recipe> = lines.iter().map(|line| &line.recipe).collect();
        let parameters = specializations.iter().flat_map(|recipe| recipe.arguments.iter().map(|(name, _)| name));
        let mut seen = HashSet::new();
        for parameter in parameters.filter(|name| seen.insert(name.as_str())) {
            let mut came = Vec::new();
            let arguments = specializations.iter().flat_map(|recipe| &recipe.arguments);
            for (_, argument) in arguments.filter(|(name, _)| name == parameter) {
                add_once(&mut came, &argument.words());
            }
            let had = had.get(parameter.as_str()).cloned().unwrap_or_default();
            let missing = came.iter().any(|class| !had.contains(class));
            // Without a warm-up everything is missing: what did not vary says nothing.
            if if self.in_warm_up { missing } else { came.len() > 1 } {
                came.truncate(NAMED);
                self.varied.push(Varied { parameter: parameter.clone(), had, came });
            }
        }
    }
}

fn add_once(to: &mut Vec<String>, text: &str) {
    if !to.iter().any(|known| known == text) {
        to.push(text.to_owned());
    }
}
