//! For a terminal.

use super::{Report, count};

/// The report as lines.
pub fn write(report: &Report) -> String {
    let mut lines = vec![report.headline()];
    if let Some(new) = report.new {
        lines.push(format!("{new} of them new since the baseline"));
    }
    for kernel in &report.kernels {
        let mut parts = Vec::new();
        if kernel.specializations > 0 {
            parts.push(count(kernel.specializations, "specialization"));
        }
        if kernel.tunings > 0 {
            parts.push(count(kernel.tunings, "tuning"));
        }
        parts.push(format!("seen {}", count(usize::try_from(kernel.times).unwrap_or(usize::MAX), "time")));
        parts.push(format!("{} waited", count(usize::try_from(kernel.requests).unwrap_or(usize::MAX), "request")));
        if kernel.new > 0 {
            parts.push(format!("{} new", kernel.new));
        }
        lines.push(String::new());
        lines.push(format!("{:9.3} s  {}  {}   {}", kernel.seconds, kernel.kernel, parts.join(", "), kernel.module));
        for varied in &kernel.varied {
            lines.push(format!("             {}", varied.sentence()));
        }
        lines.push(format!("             -> {}", kernel.advice));
        for reason in &kernel.unsupported {
            lines.push(format!("             !  cannot be replayed: {reason}"));
        }
    }
    if !report.caches.is_empty() {
        lines.push(String::new());
        lines.extend(report.caches.iter().map(super::advice::CacheAdvice::sentence));
    }
    if report.malformed + report.dropped > 0 {
        lines.push(String::new());
        lines.push(format!(
            "{} could not be read, {} beyond the bounds",
            count(report.malformed, "line"),
            report.dropped
        ));
    }
    lines.join("\n")
}
