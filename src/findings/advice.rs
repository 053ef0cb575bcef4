//! What to do about it: one sentence for each kernel, and for each runtime the variable that keeps its cache.

use serde::Serialize;

use super::finding::{Finding, Varied};
use crate::manifest::line::Line;
use crate::model::event::CacheResult;

/// Parameters, and classes of one, that a sentence names.
const NAMED: usize = 4;

/// What a runtime's own cache would spare the next start.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CacheAdvice {
    /// The runtime.
    pub runtime: String,
    /// Seconds of compiles and tunings that a kept cache would have spared one start.
    pub seconds: f64,
    /// What to set.
    pub variables: Vec<&'static str>,
    /// What that does not do.
    pub limits: &'static str,
}

/// What keeps a runtime's compiles, by the runtime's name.
const CACHES: [(&str, &[&str], &str); 8] = [
    (
        "triton",
        &["TRITON_CACHE_DIR", "TRITON_CACHE_AUTOTUNING=1"],
        "the same build at the same path; kernels are still loaded at their first launch; tunings are kept from Triton 3.4 on",
    ),
    ("cutedsl", &["CUTE_DSL_CACHE_DIR"], "what `cute.compile` returns is never cached: call it in the warm-up"),
    ("inductor", &["TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"], "a recompile still traces the model again"),
    ("dynamo", &["TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"], "a recompile still traces the model again"),
    ("flashinfer", &["FLASHINFER_WORKSPACE_BASE"], "or install its prebuilt modules, flashinfer-jit-cache"),
    ("deep_gemm", &["DG_JIT_CACHE_DIR"], "vLLM: VLLM_DEEP_GEMM_WARMUP=full compiles all shapes at the start"),
    ("tilelang", &["TILELANG_CACHE_DIR"], "kernels are still loaded at their first launch"),
    ("sglang", &["SGLANG_CACHE_DIR"], "all caches of SGLang's own kernels"),
];

/// What each runtime's cache would spare one start: what each compile took once, unless the disk had it already.
pub fn caches(lines: &[Line]) -> Vec<CacheAdvice> {
    let mut advice: Vec<CacheAdvice> = Vec::new();
    for line in lines.iter().filter(|line| !line.recipe.tuned && line.cache != CacheResult::Hit.as_str()) {
        let runtime = &line.recipe.runtime;
        let seconds = line.duration / line.times.max(1) as f64;
        match advice.iter_mut().find(|known| known.runtime == *runtime) {
            Some(known) => known.seconds += seconds,
            None => {
                let Some((_, variables, limits)) = CACHES.iter().find(|(name, ..)| name == runtime) else { continue };
                let variables = variables.to_vec();
                advice.push(CacheAdvice { runtime: runtime.clone(), seconds, variables, limits });
            }
        }
    }
    advice.sort_by(|one, other| other.seconds.total_cmp(&one.seconds));
    advice
}

impl CacheAdvice {
    /// For people.
    pub fn sentence(&self) -> String {
        format!(
            "{}: {} on a disk that outlives the process would have spared one start {:.1} s ({}).",
            self.runtime,
            self.variables.join(" and "),
            self.seconds,
            self.limits,
        )
    }
}

/// What to add to the warm-up, in one sentence.
pub fn sentence(finding: &Finding) -> String {
    let kernel = format!("`{}`", finding.kernel);
    if finding.runtime != "triton" {
        let cache = CACHES.iter().find(|(name, ..)| *name == finding.runtime);
        let kept = cache.map(|(_, variables, _)| format!(", or keep {}", variables.join(" and "))).unwrap_or_default();
        return format!("Call {kernel} in the warm-up with what it was called with{kept}.");
    }
    let launch = launch(finding, &kernel);
    let tune = (!finding.tuned_for.is_empty()).then(|| {
        let keys: Vec<&str> = finding.tuned_for.iter().take(NAMED).map(String::as_str).collect();
        let more = finding.tunings.saturating_sub(keys.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("tune {kernel} in the warm-up for {}{more}, or set TRITON_CACHE_AUTOTUNING=1", keys.join(", "))
    });
    let parts: Vec<String> = launch.into_iter().chain(tune).collect();
    let sentence = parts.join("; and ");
    let mut letters = sentence.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

fn launch(finding: &Finding, kernel: &str) -> Option<String> {
    if finding.specializations == 0 {
        return None;
    }
    let with: Vec<String> = finding.varied.iter().take(NAMED).filter_map(values).collect();
    let more = finding.varied.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more arguments") } else { String::new() };
    let launch = match finding.in_warm_up {
        true => format!("launch {kernel} in the warm-up"),
        false => format!("launch {kernel} in the warm-up, where it never was"),
    };
    Some(match (with.as_slice(), finding.in_warm_up) {
        ([], false) => launch,
        // Each class alone was there.
        ([], true) => match finding.changes.as_slice() {
            [] => format!("{launch} with the options it was launched with"),
            changes => format!("{launch} with these together: {}", changes.join("; ")),
        },
        (with, _) => {
            let mark = whole_numbers(finding).map(|names| format!(" (or mark {names} `do_not_specialize`)"));
            let comma = if finding.in_warm_up { "" } else { "," };
            format!("{launch}{comma} with {}{more}{}", with.join(", "), mark.unwrap_or_default())
        }
    })
}

/// `M = 1, 17`: a value of each class that the warm-up did not have.
fn values(varied: &Varied) -> Option<String> {
    let missing = varied.came.iter().filter(|class| !varied.had.contains(class));
    let values: Vec<String> = missing.map(|class| value(class)).take(NAMED).collect();
    let more = varied.came.iter().filter(|class| !varied.had.contains(class)).count().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!values.is_empty()).then(|| format!("{} = {}{more}", varied.parameter, values.join(", ")))
}

/// A value of a class.
fn value(class: &str) -> String {
    match class {
        "i32 multiple of 16" => "16".to_owned(),
        "i32 other" => "17".to_owned(),
        "i64 multiple of 16" => "2**40".to_owned(),
        "i64 other" => "2**40 + 1".to_owned(),
        other => other.to_owned(),
    }
}

/// Parameters that vary only in what a whole number is like: the kernel need not be compiled for each.
fn whole_numbers(finding: &Finding) -> Option<String> {
    let is_class = |class: &String| class == "1" || class.starts_with("i32 ") || class.starts_with("i64 ");
    let names: Vec<String> = finding
        .varied
        .iter()
        .filter(|varied| {
            varied.came.iter().chain(&varied.had).all(is_class) && varied.came.len() + varied.had.len() > 1
        })
        .map(|varied| format!("`{}`", varied.parameter))
        .take(NAMED)
        .collect();
    (!names.is_empty()).then(|| names.join(", "))
}
