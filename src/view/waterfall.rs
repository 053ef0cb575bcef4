//! A trace as a picture: what the request waited for in one sentence, then each span as a bar on the trace's time.

use super::bar::{Axis, THICK, THIN};
use super::record::{Trace, interval};
use super::text::{Palette, Role, clean, duration, enumerate, number_of, round_duration, shorten, time_of_day, width};
use super::tree::{Node, Row, Rows, rows};
use crate::semconv::span;

/// The narrowest picture that still says something.
pub const MIN_WIDTH: usize = 50;

/// Columns between the label, the bar and the duration.
const GAP: usize = 2;

/// A message longer than this many lines is cut: compilers quote their whole input.
const MAX_FAILURE_LINES: usize = 3;

/// Draws a trace, ending in an empty line.
#[must_use]
pub fn render(trace: &Trace, columns: usize, palette: Palette) -> String {
    let columns = columns.max(MIN_WIDTH);
    let Rows { rows, hidden } = rows(trace);
    let services = trace.services().len();

    let labels: Vec<String> = rows.iter().map(|row| label(row, services > 1)).collect();
    let label_width = labels.iter().map(|label| width(label)).max().unwrap_or_default().min(columns * 2 / 5);
    let times: Vec<String> = rows.iter().map(|row| took(&row.node)).collect();
    let time_width = times.iter().map(|time| width(time)).max().unwrap_or_default();
    let bar_width = columns.saturating_sub(label_width + time_width + 2 * GAP);
    let (start, end) = extent(&rows).unwrap_or_default();
    let axis = Axis { start, end, columns: bar_width };

    let mut lines = vec![headline(trace, &rows, end - start, palette)];
    lines.push(palette.paint(Role::Aside, shorten(&about(trace, start), columns)));
    lines.push(String::new());
    if end > start {
        lines.push(palette.paint(Role::Aside, format!("{:1$}{2}", "", label_width + GAP, scale(&axis))));
    }
    for ((row, label), time) in rows.iter().zip(&labels).zip(&times) {
        let label = shorten(label, label_width);
        let bar = bar_line(row, &label, label_width, &axis, palette);
        lines.push(format!("{bar}{:GAP$}{time:>time_width$}", ""));
        let notes = if row.inside_stall { Vec::new() } else { wrap(&row.node.details, " · ", columns, row) };
        lines.extend(notes.iter().map(|note| below(row, Role::Aside, note, palette)));
        for failure in &row.node.failures {
            let words: Vec<String> = failure.split_whitespace().map(str::to_owned).collect();
            let notes = wrap(&words, " ", columns, row);
            lines.extend(notes.iter().take(MAX_FAILURE_LINES).map(|note| below(row, Role::Failure, note, palette)));
        }
    }
    if hidden > 0 {
        lines.push(palette.paint(Role::Aside, format!("… and {} not drawn", number_of(hidden, "more span"))));
    }
    let mut picture = lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n");
    picture.push_str("\n\n");
    picture
}

/// `POST /generate waited 1.07 s of 1.31 s for 2 compiles and 1 autotune, and failed`
fn headline(trace: &Trace, rows: &[Row], total: u64, palette: Palette) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let title = palette.paint(Role::Title, &first.node.label);
    let failed = rows.iter().any(|row| row.is_root && row.node.failed);
    let failure = if failed { palette.paint(Role::Failure, ", and failed") } else { String::new() };

    let stalls: Vec<&Node> = rows.iter().filter(|row| !row.inside_stall).map(|row| &row.node).collect();
    let stalls: Vec<&Node> = stalls.into_iter().filter(|node| node.stall.is_some()).collect();
    let stalled = |time| palette.paint(Role::Stall, duration(time));
    if first.node.stall.is_some() {
        let whose =
            if first.node.has_parent { " for a request whose span has not come" } else { ", outside of any request" };
        return format!("{title} took {}{whose}{failure}", stalled(total));
    }
    let total = duration(total);
    if !stalls.is_empty() {
        let waited = stalled(covered(stalls.iter().filter_map(|node| node.interval).collect()));
        return format!("{title} waited {waited} of {total} for {}{failure}", causes(&stalls));
    }
    match trace.spans.iter().filter_map(|span| span.attributes.get(span::STALL_TIME)?.as_f64()).reduce(f64::max) {
        Some(seconds) => format!("{title} waited {} of {total}{failure}", stalled((seconds * 1e9) as u64)),
        None if trace.stalled => format!("{title} took {total} and waited for a compile{failure}"),
        None => format!("{title} took {total}{failure}"),
    }
}

/// `2 compiles and 1 load`, in the order in which they first happened.
fn causes(stalls: &[&Node]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for noun in stalls.iter().filter_map(|node| node.stall.as_deref()) {
        match counts.iter_mut().find(|(known, _)| *known == noun) {
            Some((_, count)) => *count += 1,
            None => counts.push((noun, 1)),
        }
    }
    enumerate(&counts.iter().map(|(noun, count)| number_of(*count, noun)).collect::<Vec<_>>())
}

fn about(trace: &Trace, start: u64) -> String {
    let mut about = vec![format!("trace {}", trace.id)];
    about.extend(trace.services().into_iter().map(clean));
    about.extend((start > 0).then(|| time_of_day(start)));
    about.extend(trace.updated.then(|| "updated: more spans came".to_owned()));
    let omitted = trace.omitted_spans;
    about.extend((omitted > 0).then(|| format!("{} did not fit", number_of(omitted, "span"))));
    about.join(" · ")
}

fn label(row: &Row, name_services: bool) -> String {
    let mark = if row.node.failed { "✗ " } else { "" };
    let service = Some(&row.node.service).filter(|service| name_services && row.enters_service && !service.is_empty());
    let service = service.map(|service| format!(" ({service})")).unwrap_or_default();
    format!("{}{mark}{}{service}", row.guide, row.node.label)
}

fn bar_line(row: &Row, label: &str, label_width: usize, axis: &Axis, palette: Palette) -> String {
    let role = match row.node {
        Node { failed: true, .. } => Role::Failure,
        Node { stall: Some(_), .. } => Role::Stall,
        _ => Role::Work,
    };
    let stroke = if row.node.stall.is_some() { THICK } else { THIN };
    let bar = row.node.interval.map(|interval| axis.bar(interval, stroke)).unwrap_or_default();

    let guide: String = label.chars().take(width(&row.guide)).collect();
    let name: String = label.chars().skip(width(&row.guide)).collect();
    let name = if role == Role::Work { name } else { palette.paint(role, name) };
    let padding = " ".repeat(label_width.saturating_sub(width(label)) + GAP);
    let gap = " ".repeat(axis.columns.saturating_sub(width(&bar)));
    let guide = palette.paint(Role::Aside, guide);
    format!("{guide}{name}{padding}{}{gap}", palette.paint(role, bar))
}

fn took(node: &Node) -> String {
    node.interval.map_or("?".to_owned(), |(start, end)| duration(end - start))
}

fn below(row: &Row, role: Role, note: &str, palette: Palette) -> String {
    format!("{}{}", palette.paint(Role::Aside, &row.guide_below), palette.paint(role, note))
}

/// Joins the pieces to lines that fit below the row's label; a piece that fits on no line is shortened.
fn wrap(pieces: &[String], separator: &str, columns: usize, row: &Row) -> Vec<String> {
    let room = columns.saturating_sub(width(&row.guide_below)).max(MIN_WIDTH / 2);
    let mut lines: Vec<String> = Vec::new();
    for piece in pieces {
        match lines.last_mut() {
            Some(line) if width(line) + width(separator) + width(piece) <= room => {
                line.push_str(separator);
                line.push_str(piece);
            }
            _ => lines.push(shorten(piece, room)),
        }
    }
    lines
}

fn scale(axis: &Axis) -> String {
    let mut scale = String::new();
    for (column, time) in axis.ticks() {
        let tick = round_duration(time);
        if column + width(&tick) <= axis.columns {
            scale = format!("{scale:column$}{tick}");
        }
    }
    scale
}

fn extent(rows: &[Row]) -> Option<(u64, u64)> {
    let extent = rows.iter().filter_map(|row| row.node.interval);
    let (start, end) = extent.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))?;
    interval(start, end)
}

/// The time in which at least one of the intervals was going on.
fn covered(mut intervals: Vec<(u64, u64)>) -> u64 {
    intervals.sort_unstable();
    let mut covered = 0;
    let mut until = 0;
    for (start, end) in intervals {
        covered += end.saturating_sub(start.max(until));
        until = until.max(end);
    }
    covered
}
