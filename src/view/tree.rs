//! From the spans of a trace to the rows of its picture: who stands under whom, what each row says, and which rows
//! are left out of a trace too large to read. Survives parents that never came, cycles, and impossible times.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use opentelemetry::trace::SpanId;
use serde_json::Value;

use super::record::{Attributes, Event, Span, Status, Trace, interval, is_stall_name};
use super::stall;
use super::text::clean;
use crate::semconv::{attribute, engine, event};

/// More rows than this nobody reads; a larger trace shows its stalls, its failures, and what stands above them.
const MAX_ROWS: usize = 60;

/// Deeper spans are drawn at this depth, so that there is room for their names.
const MAX_DEPTH: usize = 12;

/// A stall's own span and the event that tells of it start at the same moment, but for rounding.
const SAME_MOMENT_NS: u64 = 1_000_000;

/// What a row stands for: a span, or an event that has no span of its own.
#[derive(Debug, Default)]
pub struct Node {
    /// What it is, safe to print.
    pub label: String,
    /// The service it ran in, safe to print.
    pub service: String,
    /// When it started and ended, unless that cannot be drawn.
    pub interval: Option<(u64, u64)>,
    /// The noun for the stall it is, if it is one.
    pub stall: Option<String>,
    /// What is known about it, safe to print.
    pub details: Vec<String>,
    /// It went wrong.
    pub failed: bool,
    /// What went wrong, safe to print; empty where nobody said.
    pub failures: Vec<String>,
    /// It names a parent, which may not have arrived.
    pub has_parent: bool,
    parent: Option<usize>,
}

/// One line of the picture.
#[derive(Debug)]
pub struct Row {
    /// What it stands for.
    pub node: Node,
    /// Lines that lead from the parent to the label: `│  └─ `.
    pub guide: String,
    /// The same for the lines below the label: `│     `.
    pub guide_below: String,
    /// It ran in another service than its parent.
    pub enters_service: bool,
    /// It is part of another stall, which says it all.
    pub inside_stall: bool,
    /// It has no parent among the rows.
    pub is_root: bool,
}

/// The rows of a picture.
#[derive(Debug)]
pub struct Rows {
    /// From top to bottom.
    pub rows: Vec<Row>,
    /// How many were left out.
    pub hidden: usize,
}

/// Lays out a trace.
#[must_use]
pub fn rows(trace: &Trace) -> Rows {
    let mut nodes = nodes(&trace.spans);
    cut_cycles(&mut nodes);
    let children = children(&nodes);
    let order = depth_first(&children);

    let crowded = nodes.len() > MAX_ROWS;
    let mut kept: Vec<bool> = nodes.iter().map(|node| !crowded || node.is_telling()).collect();
    for &index in order.iter().rev() {
        if let Some(parent) = nodes[index].parent {
            kept[parent] |= kept[index];
        }
    }
    if let Some(&first) = order.first() {
        kept[first] = true;
    }
    let shown: Vec<usize> = order.into_iter().filter(|&index| kept[index]).take(MAX_ROWS).collect();
    let hidden = nodes.len() - shown.len();
    Rows { rows: draw(nodes, &shown), hidden }
}

impl Node {
    fn is_telling(&self) -> bool {
        self.stall.is_some() || self.failed
    }

    fn of_span(span: &Span, told: Option<&Event>) -> Self {
        let is_stall = is_stall_name(&span.name);
        let mut details = Vec::new();
        let mut label = clean(&span.name);
        if is_stall {
            // The event may say more than the span, or the other way round.
            let mut attributes: Attributes = told.map(|event| event.attributes.clone()).unwrap_or_default();
            attributes.extend(span.attributes.clone());
            label = stall::label(&span.name, &attributes);
            details = stall::details(&span.name, &attributes);
        } else {
            details.extend(stall::text(&span.attributes, engine::REQUEST_ID).map(|id| format!("request {id}")));
        }
        if let Some(rank) = rank(&span.attributes) {
            label = format!("{label} [{rank}]");
        }
        let omitted = span.events.iter().filter(|event| event.name == event::SUMMARY);
        let omitted = omitted.filter_map(|event| stall::text(&event.attributes, attribute::EVENTS_OMITTED));
        details.extend(omitted.map(|count| format!("{count} more events did not fit on the span")));
        let failures = stall::failures_of_span(span);
        Self {
            label: if label.is_empty() { "(no name)".to_owned() } else { label },
            service: clean(&span.service),
            interval: span.interval(),
            stall: is_stall.then(|| stall::noun(&span.name).to_owned()),
            details,
            failed: span.status == Status::Error || !failures.is_empty(),
            failures,
            has_parent: span.parent_span_id.is_some(),
            parent: None,
        }
    }

    fn of_event(event: &Event, service: &str, parent: usize) -> Self {
        let seconds = event.attributes.get(attribute::DURATION).and_then(Value::as_f64).unwrap_or_default();
        let duration = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let duration_ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let failures: Vec<String> = stall::failure_of_event(event).into_iter().collect();
        Self {
            label: stall::label(&event.name, &event.attributes),
            service: clean(service),
            interval: interval(event.time_unix_nano, event.time_unix_nano.saturating_add(duration_ns)),
            stall: Some(stall::noun(&event.name).to_owned()),
            details: stall::details(&event.name, &event.attributes),
            failed: !failures.is_empty(),
            failures,
            has_parent: true,
            parent: Some(parent),
        }
    }
}

/// Which worker it was: steps of one request on several ranks have the same name and the same time.
fn rank(attributes: &Attributes) -> Option<String> {
    let number = |key| attributes.get(key).and_then(Value::as_u64);
    let rank = number(engine::RANK).map(|rank| format!("rank {rank}"));
    let engine = number(engine::DATA_PARALLEL_RANK).map(|rank| format!("data-parallel rank {rank}"));
    match (rank, engine) {
        (Some(rank), Some(engine)) => Some(format!("{rank}, {engine}")),
        (rank, engine) => rank.or(engine),
    }
}

/// One node for each span, then one for each stall that only an event tells of.
fn nodes(spans: &[Span]) -> Vec<Node> {
    let place: HashMap<SpanId, usize> = spans.iter().enumerate().map(|(index, span)| (span.span_id, index)).collect();
    let mut own_spans: HashMap<StallKey<'_>, Vec<usize>> = HashMap::new();
    for (index, span) in spans.iter().enumerate().filter(|(_, span)| is_stall_name(&span.name)) {
        own_spans.entry(stall_key(&span.name, &span.attributes)).or_default().push(index);
    }

    let mut told: HashMap<usize, &Event> = HashMap::new();
    let mut untold: Vec<(usize, &Event)> = Vec::new();
    for (index, span) in spans.iter().enumerate() {
        for event in span.events.iter().filter(|event| is_stall_name(&event.name)) {
            let candidates = own_spans.get(&stall_key(&event.name, &event.attributes)).into_iter().flatten();
            let is_own = |&&own: &&usize| spans[own].start_unix_nano.abs_diff(event.time_unix_nano) <= SAME_MOMENT_NS;
            match candidates.copied().find(|own| is_own(&own)) {
                Some(own) => {
                    told.insert(own, event);
                }
                None => untold.push((index, event)),
            }
        }
    }

    let mut nodes: Vec<Node> = spans
        .iter()
        .enumerate()
        .map(|(index, span)| {
            let parent = span.parent_span_id.and_then(|parent| place.get(&parent).copied());
            Node { parent, ..Node::of_span(span, told.get(&index).copied()) }
        })
        .collect();
    let mut autotunes = Vec::new();
    // An autotune before the compiles inside it, so that they find it.
    untold.sort_by_key(|(_, event)| (event.name != event::AUTOTUNE, event.time_unix_nano));
    for (parent, event) in untold {
        let mut node = Node::of_event(event, &spans[parent].service, parent);
        if event.name == event::AUTOTUNE {
            autotunes.push(nodes.len());
        } else {
            let around = |&&autotune: &&usize| nodes[autotune].parent == Some(parent) && nodes[autotune].holds(&node);
            node.parent = autotunes.iter().find(around).copied().or(node.parent);
        }
        nodes.push(node);
    }
    nodes
}

impl Node {
    fn holds(&self, other: &Self) -> bool {
        let (Some(outer), Some(inner)) = (self.interval, other.interval) else { return false };
        outer.0 <= inner.0 && inner.1 <= outer.1
    }
}

type StallKey<'a> = (&'a str, Option<&'a str>);

fn stall_key<'a>(name: &'a str, attributes: &'a Attributes) -> StallKey<'a> {
    (name, attributes.get(attribute::KERNEL_NAME).and_then(Value::as_str))
}

/// Makes one span of each circle a root: parent ids come from strangers.
fn cut_cycles(nodes: &mut [Node]) {
    let mut done = HashSet::new();
    for start in 0..nodes.len() {
        let mut path = HashSet::new();
        let mut at = start;
        while done.insert(at) {
            path.insert(at);
            let Some(parent) = nodes[at].parent else { break };
            if path.contains(&parent) {
                nodes[at].parent = None;
                break;
            }
            at = parent;
        }
    }
}

/// The children of each node by start, and last the roots.
fn children(nodes: &[Node]) -> Vec<Vec<usize>> {
    let mut children = vec![Vec::new(); nodes.len() + 1];
    for (index, node) in nodes.iter().enumerate() {
        children[node.parent.unwrap_or(nodes.len())].push(index);
    }
    for siblings in &mut children {
        siblings.sort_by_key(|&index| nodes[index].interval.map_or(u64::MAX, |(start, _)| start));
    }
    children
}

/// Not recursive: a chain of parents may be as long as the trace.
fn depth_first(children: &[Vec<usize>]) -> Vec<usize> {
    let mut order = Vec::with_capacity(children.len());
    let mut waiting: Vec<usize> = children.last().into_iter().flatten().rev().copied().collect();
    while let Some(index) = waiting.pop() {
        order.push(index);
        waiting.extend(children[index].iter().rev());
    }
    order
}

fn draw(nodes: Vec<Node>, shown: &[usize]) -> Vec<Row> {
    let mut last_child: HashMap<Option<usize>, usize> = HashMap::new();
    for &index in shown {
        last_child.insert(nodes[index].parent, index);
    }
    let mut nodes: Vec<Option<Node>> = nodes.into_iter().map(Some).collect();
    // For each row: what its children's guides begin with, its depth, its service, and whether it is a stall.
    let mut above: HashMap<usize, (String, usize, String, bool)> = HashMap::new();
    let mut rows = Vec::with_capacity(shown.len());
    for &index in shown {
        let Some(node) = nodes[index].take() else { continue };
        let is_last = last_child.get(&node.parent) == Some(&index);
        let has_children = last_child.contains_key(&Some(index));
        let parent = node.parent.and_then(|parent| above.get(&parent));
        let (guide, begin, depth, inside_stall) = match parent {
            None => (String::new(), String::new(), 0, false),
            Some((begin, depth, _, is_stall)) if *depth < MAX_DEPTH => {
                let (branch, next) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
                (format!("{begin}{branch}"), format!("{begin}{next}"), depth + 1, *is_stall)
            }
            Some((begin, depth, _, is_stall)) => (format!("{begin}· "), begin.clone(), *depth, *is_stall),
        };
        let enters_service = parent.is_none_or(|(_, _, service, _)| *service != node.service);
        let is_root = parent.is_none();
        let is_stall = inside_stall || node.stall.is_some();
        let guide_below = format!("{begin}{}", if has_children { "│  " } else { "   " });
        above.insert(index, (begin, depth, node.service.clone(), is_stall));
        rows.push(Row { node, guide, guide_below, enters_service, inside_stall, is_root });
    }
    rows
}
