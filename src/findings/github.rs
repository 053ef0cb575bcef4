//! GitHub's annotations: lines that a job prints, and that its page then shows.

use super::Report;

/// One warning for each kernel; with a baseline, for each that has something new.
pub fn write(report: &Report) -> String {
    let told = report.kernels.iter().filter(|kernel| report.new.is_none() || kernel.new > 0);
    let lines = told.map(|kernel| {
        format!(
            "::warning title={}::{}",
            property(&format!("{} compiled late, {:.3} s", kernel.kernel, kernel.seconds)),
            data(&kernel.advice)
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// As GitHub's runner takes it apart.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
