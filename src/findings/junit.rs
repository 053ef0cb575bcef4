//! JUnit's XML, which every CI shows: a test for each kernel, failed where it compiled late; with a baseline, where
//! something is new.

use super::{Report, html};

/// The report as XML.
pub fn write(report: &Report) -> String {
    let fails = |new: usize| report.new.is_none() || new > 0;
    let failures = report.kernels.iter().filter(|kernel| fails(kernel.new)).count();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"jitspan\" tests=\"{}\" failures=\"{failures}\" time=\"{:.3}\">\n",
        report.kernels.len(),
        report.seconds,
    );
    for kernel in &report.kernels {
        text.push_str(&format!(
            "  <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\">",
            html::escaped(&kernel.module),
            html::escaped(&kernel.kernel),
            kernel.seconds,
        ));
        if fails(kernel.new) {
            text.push_str(&format!("<failure message=\"{}\"/>", html::escaped(&kernel.advice)));
        }
        text.push_str("</testcase>\n");
    }
    text.push_str("</testsuite>");
    text
}
