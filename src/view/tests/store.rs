//! The store against a clock of our own.

use std::time::{Duration, Instant};

use super::samples::*;
use crate::semconv::event;
use crate::view::record::{Event, NOT_RECEIVED, Span};
use crate::view::store::{Counts, Limits, Store};

const SETTLE: Duration = Duration::from_secs(1);
const ROOMY: Limits = Limits { traces: 100, spans_per_trace: 100, bytes: 1 << 20 };

fn store(limits: Limits) -> Store {
    Store::new(limits, SETTLE, false)
}

fn one(trace: u8, number: u8, name: &str) -> Span {
    let mut span = span(number, 0, name, 0, 10);
    span.trace_id = vec![trace; 16];
    records(vec![from_service("chat", vec![span])]).remove(0)
}

fn stall(trace: u8, number: u8) -> Span {
    one(trace, number, event::COMPILE)
}

/// First byte of the trace id, spans, and whether it is an update.
fn brief(traces: Vec<std::sync::Arc<crate::view::record::Trace>>) -> Vec<(u8, usize, bool)> {
    traces.iter().map(|trace| (trace.id.to_bytes()[0], trace.spans.len(), trace.updated)).collect()
}

#[test]
fn a_trace_is_handed_out_once_after_it_was_quiet() {
    let (mut store, start) = (store(ROOMY), Instant::now());
    store.add(vec![stall(1, 1)], start);
    store.add(vec![one(1, 2, "parent")], start + SETTLE / 2);
    assert_eq!(brief(store.settle(start + SETTLE)), []);
    assert_eq!(brief(store.settle(start + SETTLE * 3 / 2)), [(1, 2, false)]);
    assert_eq!(brief(store.settle(start + SETTLE * 9)), []);
    assert_eq!(brief(store.drain()), []);
}

#[test]
fn a_late_span_hands_the_whole_trace_out_again_as_an_update() {
    let (mut store, start) = (store(ROOMY), Instant::now());
    store.add(vec![stall(1, 1)], start);
    assert_eq!(brief(store.settle(start + SETTLE)), [(1, 1, false)]);
    store.add(vec![one(1, 2, "parent")], start + SETTLE * 5);
    assert_eq!(brief(store.settle(start + SETTLE * 6)), [(1, 2, true)]);
}

#[test]
fn a_trace_without_a_stall_is_counted_and_kept_until_one_comes() {
    let (mut store, start) = (store(ROOMY), Instant::now());
    store.add(vec![one(1, 1, "parent"), one(2, 1, "other")], start);
    assert_eq!(brief(store.settle(start + SETTLE)), []);
    store.add(vec![stall(1, 2)], start + SETTLE * 2);
    assert_eq!(brief(store.settle(start + SETTLE * 3)), [(1, 2, false)]);
    assert_eq!(store.counts(), Counts { traces: 2, stalled: 1, ..Counts::default() });
}

#[test]
fn all_hands_out_traces_without_a_stall() {
    let (mut store, start) = (Store::new(ROOMY, SETTLE, true), Instant::now());
    store.add(vec![one(1, 1, "parent")], start);
    assert_eq!(brief(store.settle(start + SETTLE)), [(1, 1, false)]);
}

#[test]
fn a_span_sent_twice_is_one_span_and_no_update() {
    let (mut store, start) = (store(ROOMY), Instant::now());
    store.add(vec![stall(1, 1), stall(1, 1)], start);
    assert_eq!(brief(store.settle(start + SETTLE)), [(1, 1, false)]);
    store.add(vec![stall(1, 1)], start + SETTLE * 2);
    assert_eq!(brief(store.drain()), []);
}

#[test]
fn a_trace_that_is_never_quiet_is_handed_out_all_the_same() {
    let (mut store, start) = (store(ROOMY), Instant::now());
    store.add(vec![stall(1, 1)], start);
    let busy = |store: &mut Store, number: u8| {
        let now = start + SETTLE / 2 * u32::from(number);
        store.add(vec![one(1, number, "step")], now);
        brief(store.settle(now))
    };
    let handed_out: Vec<_> = (2..=30).flat_map(|number| busy(&mut store, number)).collect();
    assert_eq!(handed_out, [(1, 20, false)]);
}

#[test]
fn a_full_store_gives_up_printed_traces_first_then_plain_ones_and_stalls_last() {
    let (mut store, start) = (store(Limits { traces: 3, ..ROOMY }), Instant::now());
    store.add(vec![stall(1, 1)], start);
    assert_eq!(brief(store.settle(start + SETTLE)), [(1, 1, false)]);
    store.add(vec![stall(2, 1), one(3, 1, "plain"), stall(4, 1)], start + SETTLE);
    assert_eq!(store.counts().lost_traces, 0, "only the printed trace went");
    store.add(vec![stall(5, 1), stall(6, 1)], start + SETTLE);
    assert_eq!(brief(store.drain()), [(4, 1, false), (5, 1, false), (6, 1, false)]);
    assert_eq!(store.counts(), Counts { traces: 6, stalled: 5, lost_traces: 2, ..Counts::default() });
}

#[test]
fn spans_over_the_limit_of_a_trace_are_counted_and_a_stall_among_them_is_not_forgotten() {
    let (mut store, start) = (store(Limits { spans_per_trace: 2, ..ROOMY }), Instant::now());
    store.add(vec![one(1, 1, "a"), one(1, 2, "b"), stall(1, 3)], start);
    let traces = store.drain();
    assert_eq!((traces[0].spans.len(), traces[0].omitted_spans, traces[0].stalled), (2, 1, true));
    assert_eq!(store.counts(), Counts { traces: 1, stalled: 1, omitted_spans: 1, ..Counts::default() });
}

#[test]
fn the_bytes_of_all_traces_are_bounded() {
    let weight = stall(1, 1).weight();
    let (mut store, start) = (store(Limits { bytes: 3 * weight, ..ROOMY }), Instant::now());
    store.add((1..=10).map(|trace| stall(trace, 1)).collect(), start);
    assert_eq!(brief(store.drain()), [(8, 1, false), (9, 1, false), (10, 1, false)]);
    let mut huge = stall(11, 1);
    huge.name = "x".repeat(4 * weight);
    store.add(vec![huge], start);
    assert_eq!(brief(store.drain()), []);
    assert_eq!(store.counts().lost_traces, 8);
}

#[test]
fn printed_traces_are_forgotten_after_a_while() {
    let (mut store, start) = (store(ROOMY), Instant::now());
    store.add(vec![stall(1, 1)], start);
    store.settle(start + SETTLE);
    store.settle(start + Duration::from_secs(301));
    store.add(vec![one(1, 2, "parent"), stall(1, 3)], start + Duration::from_secs(302));
    assert_eq!(brief(store.drain()), [(1, 2, false)]);
}

#[test]
fn an_event_that_came_as_a_log_lands_on_its_span_once() {
    let event = |from_log| Event {
        name: event::COMPILE.to_owned(),
        time_unix_nano: START,
        attributes: Default::default(),
        from_log,
    };
    let stand_in = Span { events: vec![event(true)], ..one(1, 1, NOT_RECEIVED) };
    let told = Span { events: vec![event(false)], ..one(1, 1, "inference") };
    let untold = one(1, 1, "inference");
    for order in [[&stand_in, &untold], [&untold, &stand_in], [&stand_in, &told], [&told, &stand_in]] {
        let (mut store, start) = (store(ROOMY), Instant::now());
        store.add(order.map(Clone::clone).to_vec(), start);
        let traces = store.drain();
        assert_eq!(traces.len(), 1);
        let [span] = traces[0].spans.as_slice() else { panic!("one span: {traces:?}") };
        assert_eq!((span.name.as_str(), span.events.len()), ("inference", 1));
    }
}
