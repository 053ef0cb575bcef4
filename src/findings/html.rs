//! One file with a plot: no script, nothing from the network, so that it can be mailed, archived, and opened anywhere.

use super::Report;
use super::finding::Finding;

/// Kernels in the plot; all are in the table.
const PLOTTED: usize = 20;

const STYLE: &str = include_str!("report.css");

/// The report as a page.
pub fn write(report: &Report) -> String {
    let title = escaped(&report.headline());
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head><body><main>\n<h1>{title}</h1>\n"
    );
    let new = report.new.map(|new| format!(", {new} of them new since the baseline")).unwrap_or_default();
    page.push_str(&format!("<p>Seen {} times; {} requests waited{new}.</p>\n", report.times, report.requests));
    page.push_str(&plot(report));
    page.push_str("<h2>What to add to the warm-up</h2>\n<table><thead><tr><th>kernel</th><th>seconds</th><th>times</th><th>requests</th><th>add to the warm-up</th></tr></thead><tbody>\n");
    report.kernels.iter().for_each(|kernel| page.push_str(&row(kernel)));
    page.push_str("</tbody></table>\n");
    if !report.caches.is_empty() {
        page.push_str("<h2>What a cache on disk would have spared</h2>\n<ul>\n");
        for cache in &report.caches {
            page.push_str(&format!("<li>{}</li>\n", escaped(&cache.sentence())));
        }
        page.push_str("</ul>\n");
    }
    if report.malformed + report.dropped > 0 {
        let text = format!("{} lines could not be read, {} were beyond the bounds.", report.malformed, report.dropped);
        page.push_str(&format!("<p>{text}</p>\n"));
    }
    page.push_str("</main></body></html>\n");
    page
}

fn row(kernel: &Finding) -> String {
    let mut more = String::new();
    for varied in &kernel.varied {
        more.push_str(&format!("<li>{}</li>", escaped(&varied.sentence())));
    }
    for reason in &kernel.unsupported {
        more.push_str(&format!("<li class=\"no\">cannot be replayed: {}</li>", escaped(reason)));
    }
    let more = if more.is_empty() { more } else { format!("<ul>{more}</ul>") };
    let new = if kernel.new > 0 { format!(" <b>{} new</b>", kernel.new) } else { String::new() };
    format!(
        "<tr><td><code>{}</code>{new}<small>{}</small></td><td>{:.3}</td><td>{}</td><td>{}</td><td>{}{more}</td></tr>\n",
        escaped(&kernel.kernel),
        escaped(&kernel.module),
        kernel.seconds,
        kernel.times,
        kernel.requests,
        with_code(&kernel.advice),
    )
}

/// Names between backticks in a typewriter's letters.
fn with_code(sentence: &str) -> String {
    let parts = sentence.split('`').enumerate();
    parts
        .map(|(at, part)| if at % 2 == 1 { format!("<code>{}</code>", escaped(part)) } else { escaped(part) })
        .collect()
}

/// A bar for each kernel: compiles, tunings, and loads behind one another.
fn plot(report: &Report) -> String {
    const ROW: usize = 26;
    const LEFT: f64 = 300.0;
    const WIDTH: f64 = 560.0;
    let kernels: Vec<&Finding> = report.kernels.iter().take(PLOTTED).collect();
    let longest = kernels.iter().map(|kernel| kernel.seconds).fold(0.0, f64::max);
    if kernels.is_empty() || longest <= 0.0 {
        return String::new();
    }
    let height = kernels.len() * ROW + 34;
    let mut svg = format!(
        "<figure><svg viewBox=\"0 0 960 {height}\" role=\"img\" aria-label=\"Seconds lost by kernel\">\n<g class=\"key\">"
    );
    for (at, (class, text)) in
        [("compile", "compiles"), ("tune", "tunings"), ("load", "loads from disk")].iter().enumerate()
    {
        let x = LEFT + 130.0 * at as f64;
        svg.push_str(&format!("<rect class=\"{class}\" x=\"{x}\" y=\"4\" width=\"12\" height=\"12\"/>"));
        svg.push_str(&format!("<text x=\"{}\" y=\"14\">{text}</text>", x + 18.0));
    }
    svg.push_str("</g>\n");
    for (at, kernel) in kernels.iter().enumerate() {
        let y = 30 + at * ROW;
        let name: String = kernel.kernel.chars().take(40).collect();
        svg.push_str(&format!("<text class=\"name\" x=\"{}\" y=\"{}\">{}</text>", LEFT - 8.0, y + 14, escaped(&name)));
        let compiled = (kernel.seconds - kernel.tuning_seconds - kernel.load_seconds).max(0.0);
        let mut x = LEFT;
        for (class, seconds) in [("compile", compiled), ("tune", kernel.tuning_seconds), ("load", kernel.load_seconds)]
        {
            let width = seconds / longest * WIDTH;
            if width > 0.0 {
                svg.push_str(&format!(
                    "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y}\" width=\"{:.1}\" height=\"18\"/>",
                    width.max(1.0)
                ));
                x += width.max(1.0);
            }
        }
        svg.push_str(&format!("<text x=\"{:.1}\" y=\"{}\">{:.3} s</text>\n", x + 6.0, y + 14, kernel.seconds));
    }
    let more = report.kernels.len().saturating_sub(kernels.len());
    let more = if more > 0 { format!("; {more} more are in the table") } else { String::new() };
    svg.push_str(&format!("</svg><figcaption>Seconds lost, by kernel{more}.</figcaption></figure>\n"));
    svg
}

/// Text for HTML and XML, in content and in attributes. Names come from somebody else's source.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // XML has no way to say them.
            control if control.is_control() && !matches!(control, '\n' | '\t') => escaped.push('\u{fffd}'),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}
