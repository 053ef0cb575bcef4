//! The report of `jitspan doctor`, for people.

use super::doctor_report::{Found, Level, Report};
use crate::view::text::{Palette, Role};

/// Renders it.
pub fn render(report: &Report, color: bool) -> String {
    let palette = Palette { color };
    let mut lines = vec![format!("{} {}", palette.paint(Role::Title, "jitspan"), report.version)];
    lines.push(format!("Python {}, {}", report.python.version, report.python.executable));
    lines.push(String::new());

    let head = ["runtime", "version", "tested with", "state"].map(str::to_owned);
    let mut rows = table(std::iter::once(head).chain(report.runtimes.iter().map(cells)).collect()).into_iter();
    lines.extend(rows.next().map(|head| palette.paint(Role::Aside, head)));
    for (row, found) in rows.zip(&report.runtimes) {
        let is_watched = found.status.state == "hooked" || found.status.state == "not yet imported";
        let role = match found.status.state {
            "refused" => Role::Failure,
            "absent" => Role::Aside,
            _ => Role::Work,
        };
        lines.push(if is_watched { row } else { palette.paint(role, row) });
        for (what, places) in [("hook points", &found.status.standing), ("not there", &found.status.missing)] {
            // One point can stand in several places.
            let mut names: Vec<&str> = places.iter().map(String::as_str).collect();
            names.sort_unstable();
            names.dedup();
            if !names.is_empty() {
                lines.push(palette.paint(Role::Aside, format!("  {what}: {}", names.join(", "))));
            }
        }
    }
    lines.push(String::new());

    let head = ["setting", "value", "from"].map(str::to_owned);
    let settings = report.settings.iter();
    let settings = settings.map(|row| [row.variable.clone(), row.shown.clone(), row.origin.clone()]);
    let mut rows = table(std::iter::once(head).chain(settings).collect()).into_iter();
    lines.extend(rows.next().map(|head| palette.paint(Role::Aside, head)));
    for (row, setting) in rows.zip(&report.settings) {
        lines.push(if setting.origin == "default" { palette.paint(Role::Aside, row) } else { row });
    }
    for foreign in &report.server_variables {
        lines.push(format!("{}={}: {}", foreign.variable, foreign.value, foreign.about));
    }
    lines.push(String::new());

    match &report.collector {
        None => lines.push("collector: no span was sent".to_owned()),
        Some(found) => {
            let place = format!("collector: {} over {}", found.address, found.protocol);
            lines.push(match &found.detail {
                None => format!("{place}: took a span in {} ms", found.took_ms),
                Some(detail) => format!("{place}: {} ({detail})", palette.paint(Role::Failure, "did not take a span")),
            });
        }
    }
    lines.push(String::new());
    if report.problems.is_empty() {
        lines.push("No problem found.".to_owned());
    }
    for problem in &report.problems {
        let (word, role) = match problem.level {
            Level::Error => ("error", Role::Failure),
            Level::Warning => ("warning", Role::Stall),
            Level::Advice => ("advice", Role::Aside),
        };
        lines.push(format!("{}: {}", palette.paint(role, word), problem.text));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn cells(found: &Found) -> [String; 4] {
    let status = &found.status;
    let version = status.version.clone().unwrap_or_else(|| "-".to_owned());
    let (oldest, newest) = status.tested;
    let tested = match found.ran {
        None => format!("{oldest} to {newest}"),
        Some(ran) => format!("{ran}; read: {oldest} to {newest}"),
    };
    let untested = if status.untested { ", untested" } else { "" };
    let reason = status.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    [status.runtime.to_owned(), version, tested, format!("{}{untested}{reason}", status.state)]
}

/// Columns as wide as they must be, the last one as it comes.
fn table<const N: usize>(rows: Vec<[String; N]>) -> Vec<String> {
    let widths: [usize; N] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default());
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}
