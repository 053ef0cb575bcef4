//! The board for people and for programs. What processes say of themselves is text of strangers.

use opentelemetry::trace::SpanContext;
use serde_json::{Value as Json, json};

use crate::board::life::Life;
use crate::board::listing::{Listing, Row};
use crate::board::record::Now;
use crate::model::event::UnixNanos;
use crate::view::text::{Palette, Role, clean, duration, number_of, shorten, time_of_day, width};

/// Columns of a name.
const NAME: usize = 18;
const SECOND: f64 = 1e9;

/// One object a process.
#[must_use]
pub fn json(row: &Row) -> Json {
    let record = &row.record;
    let who = &record.who;
    let (state, why) = match row.life {
        Life::Alive => ("alive", None),
        Life::Ended => ("ended", None),
        Life::Unknown(why) => ("unknown", Some(why)),
    };
    let compiling: Vec<Json> = record.now.iter().map(|now| operation(row, now)).collect();
    json!({
        "pid": record.process.pid,
        "pid_namespace": record.process.namespace,
        "program": record.program,
        "service": who.service,
        "engine": who.engine,
        "rank": who.rank,
        "data_parallel_rank": who.data_parallel_rank,
        "server": who.server,
        "jitspan": record.version,
        "state": state,
        "why_unknown": why,
        "spans_sent": row.claimed,
        "armed_since_s": record.armed.map(seconds),
        "why_not_armed": record.why_not_armed,
        "compiling": compiling,
        "compiling_more": record.more,
        "lost": {"compiles": record.lost.compiles, "seconds": record.lost.seconds, "requests": record.lost.requests},
        "file": row.file.display().to_string(),
    })
}

fn operation(row: &Row, now: &Now) -> Json {
    let requests: Vec<Json> = now
        .requests
        .iter()
        .map(|waiting| {
            let trace = waiting.traceparent.as_deref().and_then(context).map(|context| context.trace_id().to_string());
            json!({"id": waiting.id, "trace_id": trace, "traceparent": waiting.traceparent})
        })
        .collect();
    json!({
        "runtime": now.runtime,
        "kind": now.kind,
        "kernel": now.kernel,
        "since_s": seconds(now.started),
        "duration_s": seconds(row.until.saturating_sub(now.started)),
        "nested": now.nested,
        "after_warm_up": now.armed,
        "waiting": now.waiting,
        "requests": requests,
    })
}

fn context(traceparent: &str) -> Option<SpanContext> {
    crate::propagation::parse(traceparent, None).ok()
}

fn seconds(nanoseconds: UnixNanos) -> f64 {
    nanoseconds as f64 / SECOND
}

/// A table, each line at most `columns` wide, without its end.
#[must_use]
pub fn table(listing: &Listing, now: UnixNanos, columns: usize, palette: Palette) -> Vec<String> {
    let living = listing.rows.iter().filter(|row| row.life != Life::Ended);
    let busy = living.clone().filter(|row| !row.record.now.is_empty()).count();
    let ended = listing.rows.len() - living.clone().count();
    let mut title = format!("{}, {busy} of them compiling", number_of_processes(living.count()));
    if ended > 0 {
        title += &format!("; {ended} ended in the middle of a compile");
    }
    let title = format!("{title} · {}", time_of_day(now));
    let mut lines = vec![palette.paint(Role::Title, shorten(&title, columns)), String::new()];
    let head =
        format!("{:>8}  {:NAME$}  {:NAME$}  {:>4}  {:<22}  {}", "PID", "PROGRAM", "SERVICE", "RANK", "LOST", "NOW");
    lines.push(palette.paint(Role::Aside, shorten(&head, columns)));
    for row in &listing.rows {
        lines.extend(process(row, now, columns, palette));
    }
    for (file, reason) in &listing.unreadable {
        lines.push(palette.paint(Role::Aside, shorten(&clean(&format!("{}: {reason}", file.display())), columns)));
    }
    lines
}

fn number_of_processes(count: usize) -> String {
    if count == 1 { "1 process".to_owned() } else { format!("{count} processes") }
}

fn process(row: &Row, now: UnixNanos, columns: usize, palette: Palette) -> Vec<String> {
    let record = &row.record;
    let ranks = [record.who.data_parallel_rank, record.who.rank].map(|rank| rank.map(|rank| rank.to_string()));
    let rank = match ranks {
        [Some(engine), Some(rank)] => format!("{engine}.{rank}"),
        [engine, rank] => engine.or(rank).unwrap_or_else(|| "-".to_owned()),
    };
    let lost = &record.lost;
    let lost = match lost.compiles {
        0 if lost.seconds == 0.0 => "-".to_owned(),
        compiles => format!("{compiles} in {}", duration((lost.seconds * SECOND) as u64)),
    };
    let named = |text: &str| shorten(&clean(text), NAME);
    let head = format!(
        "{:>8}  {:NAME$}  {:NAME$}  {rank:>4}  {lost:<22}  ",
        record.process.pid,
        named(&record.program),
        named(&record.who.service)
    );
    let indent = " ".repeat(width(&head));
    let (role, mut parts) = match record.now.first() {
        Some(_) if row.life == Life::Ended => (Role::Failure, operations(row)),
        Some(_) => (Role::Stall, operations(row)),
        None => (Role::Aside, vec![idle(row, now)]),
    };
    if let Life::Unknown(why) = row.life {
        parts.push(format!("whether it lives is not known: {why}"));
    }
    let room = columns.saturating_sub(width(&head));
    let mut lines = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let begin = if at == 0 { &head } else { &indent };
        // On a narrow terminal what it does is on a line of its own.
        if room < 20 {
            if at == 0 {
                lines.push(shorten(head.trim_end(), columns));
            }
            lines.push(format!("  {}", palette.paint(role, shorten(part, columns.saturating_sub(2)))));
        } else {
            lines.push(format!("{begin}{}", palette.paint(role, shorten(part, room))));
        }
    }
    lines
}

fn idle(row: &Row, now: UnixNanos) -> String {
    match (row.record.armed, &row.record.why_not_armed) {
        (Some(since), _) => format!("nothing; armed for {}", duration(now.saturating_sub(since))),
        (None, Some(why)) => format!("nothing; not armed: {}", clean(why)),
        (None, None) => "nothing; not armed".to_owned(),
    }
}

fn operations(row: &Row) -> Vec<String> {
    let mut parts = Vec::new();
    for now in &row.record.now {
        parts.push(operation_in_words(row, now));
        for waiting in &now.requests {
            let trace = waiting.traceparent.as_deref().and_then(context);
            let trace = trace.map(|context| format!("trace {}", context.trace_id()));
            let id = waiting.id.as_deref().map(|id| format!("request {}", clean(id)));
            let known: Vec<String> = id.into_iter().chain(trace).collect();
            if !known.is_empty() {
                parts.push(format!("  {}", known.join(", ")));
            }
        }
    }
    if row.record.more > 0 {
        parts.push(format!("and {} more", row.record.more));
    }
    if row.claimed {
        parts.push("its spans were sent by another process".to_owned());
    } else if row.life == Life::Ended {
        parts.push("the next process of its service that starts sends its spans".to_owned());
    }
    parts
}

/// `triton compile attention_softmax for 4.2 s, 3 requests wait`.
#[must_use]
pub fn operation_in_words(row: &Row, now: &Now) -> String {
    let took = duration(row.until.saturating_sub(now.started));
    let (inside, verb) = if now.nested { ("in it: ", "") } else { ("", "wait") };
    let ended = row.life == Life::Ended;
    let mut text = format!("{inside}{} {} {}", clean(&now.runtime), clean(&now.kind), clean(&now.kernel));
    text += &if ended { format!(", ended after {took}") } else { format!(" for {took}") };
    if !now.nested && now.waiting > 0 {
        let verb = match (ended, now.waiting) {
            (true, _) => "waited",
            (false, 1) => "waits",
            (false, _) => verb,
        };
        text += &format!(", {} {verb}", number_of(now.waiting, "request"));
    }
    if !now.armed {
        text += ", in warm-up";
    }
    text
}
