//! For a pull request, or the summary of a CI job.

use super::Report;

/// The report as Markdown.
pub fn write(report: &Report) -> String {
    let mut text = format!("### {}\n\n", report.headline());
    if let Some(new) = report.new {
        text.push_str(&format!("{new} of them new since the baseline.\n\n"));
    }
    if !report.kernels.is_empty() {
        text.push_str(
            "| kernel | seconds | times | requests | what to add to the warm-up |\n|---|---:|---:|---:|---|\n",
        );
    }
    for kernel in &report.kernels {
        let new = if kernel.new > 0 { format!(" ({} new)", kernel.new) } else { String::new() };
        text.push_str(&format!(
            "| {}{new} | {:.3} | {} | {} | {} |\n",
            escaped(&format!("`{}`", kernel.kernel.replace('`', "'"))),
            kernel.seconds,
            kernel.times,
            kernel.requests,
            escaped(&kernel.advice),
        ));
    }
    for cache in &report.caches {
        text.push_str(&format!("\n{}\n", cache.sentence()));
    }
    text
}

/// A cell: a name from somebody else's source must not end it, nor become HTML.
fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}
