//! Two threads and one scope: a stall that ends after its request, or in the same moment, is neither lost nor counted
//! twice.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use jitspan::clock::System;
use jitspan::export::Sink;
use jitspan::export::memory::MemorySink;
use jitspan::live::Place;
use jitspan::model::attribute::Attributes;
use jitspan::monitor::Pending;
use jitspan::scope::{Request, Scope, ScopeOptions};
use jitspan::stats::{Counter, Stats};
use jitspan::{CompileEvent, Config, Kernel, Kind, Monitor, Settings};

const ROUNDS: usize = 2_000;

fn monitor() -> (Monitor, MemorySink) {
    let config = Config::resolve(&Settings::default(), &|_: &str| None).unwrap();
    let sink = MemorySink::default();
    let sinks = vec![Box::new(sink.clone()) as Box<dyn Sink>];
    (Monitor::new(Arc::new(config), Arc::new(System), sinks, Arc::new(Stats::default())), sink)
}

fn request(monitor: &Monitor) -> Scope {
    let requests = vec![Request::default()];
    let started = monitor.now();
    Scope::new(ScopeOptions { name: "inference".into(), attributes: Attributes::new(), requests, started }, 128)
}

fn begin(monitor: &Monitor, scope: &Scope) -> Pending {
    monitor.begin(|| Place::Scope(scope.clone()), None)
}

fn finish(monitor: &Monitor, pending: &Pending) {
    let mut event = CompileEvent::new(Kind::Compile, "triton", Kernel::named("k"));
    event.duration = Duration::from_millis(1);
    monitor.finish(pending, event);
}

/// Events on the spans of requests.
fn events(sink: &MemorySink) -> usize {
    sink.take().iter().filter(|span| span.name == "inference").map(|span| span.events.len()).sum()
}

#[test]
fn a_stall_that_ends_after_its_request_leaves_at_once() {
    let (monitor, sink) = monitor();
    let scope = request(&monitor);
    let pending = begin(&monitor, &scope);
    monitor.close(&scope);
    finish(&monitor, &pending);
    assert_eq!(events(&sink), 1);
    monitor.shutdown(Duration::from_secs(1));
    assert_eq!(events(&sink), 0);
}

#[test]
fn a_request_is_counted_once_however_many_stalls_outlive_it() {
    let (monitor, sink) = monitor();
    let scope = request(&monitor);
    let pending = [begin(&monitor, &scope), begin(&monitor, &scope), begin(&monitor, &scope)];
    finish(&monitor, &pending[0]);
    monitor.close(&scope);
    finish(&monitor, &pending[1]);
    finish(&monitor, &pending[2]);
    assert_eq!(monitor.stats().get(Counter::RequestsStalled), 1);
    assert_eq!(events(&sink), 3);
}

#[test]
fn a_stall_that_ends_together_with_its_request_is_not_lost() {
    let (monitor, sink) = monitor();
    let meet = Barrier::new(2);
    for _ in 0..ROUNDS {
        let scope = request(&monitor);
        let pending = [begin(&monitor, &scope), begin(&monitor, &scope)];
        finish(&monitor, &pending[0]);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                meet.wait();
                finish(&monitor, &pending[1]);
            });
            meet.wait();
            monitor.close(&scope);
        });
        assert_eq!(events(&sink), 2);
    }
}

#[test]
fn a_request_that_two_threads_stall_together_is_counted_once() {
    let (monitor, _) = monitor();
    let meet = Barrier::new(2);
    for _ in 0..ROUNDS {
        let scope = request(&monitor);
        std::thread::scope(|threads| {
            for _ in 0..2 {
                threads.spawn(|| {
                    let pending = begin(&monitor, &scope);
                    meet.wait();
                    finish(&monitor, &pending);
                });
            }
        });
        monitor.close(&scope);
    }
    assert_eq!(monitor.stats().get(Counter::RequestsStalled), ROUNDS as u64);
}
