//! Every order in which the threads of a forked child can come for the monitor (`make test-model`).

use loom::thread;

use super::*;
use crate::config::{Mode, Settings};
use crate::stats::Counter;

fn config(mode: Mode) -> Config {
    let disabled = |name: &str| (name == "OTEL_SDK_DISABLED").then(|| "true".to_owned());
    Config::resolve(&Settings { mode, verbose: false }, &disabled).unwrap()
}

#[test]
fn the_threads_of_a_child_agree_on_one_monitor_that_is_not_the_parents() {
    let config = config(Mode::Warn);
    loom::model(move || {
        let parents: *const Monitor = install(config.clone());
        process::in_child();
        let child = || {
            let found: *const Monitor = monitor().unwrap();
            monitor().unwrap().stats().add(Counter::Compiles, 1);
            found as usize
        };
        let other = thread::spawn(child);
        let (one, two) = (child(), other.join().unwrap());
        assert_eq!(one, two);
        assert_ne!(one, parents as usize);
        assert_eq!(monitor().unwrap().stats().get(Counter::Compiles), 2);
    });
}

#[test]
fn what_is_prepared_never_takes_the_place_of_what_was_installed() {
    loom::model(|| {
        let preparing = thread::spawn(|| prepare(config(Mode::Warn)));
        let installed: *const Monitor = install(config(Mode::Error));
        preparing.join().unwrap();
        let found = monitor().unwrap();
        assert!(std::ptr::eq(found, installed));
        assert!(found.is_armed());
    });
}

#[test]
fn all_monitors_of_a_process_count_in_one_place_and_equal_ones_are_one() {
    loom::model(|| {
        let installing = |mode| {
            let monitor = install(config(mode));
            monitor.stats().add(Counter::Compiles, 1);
            std::ptr::from_ref(monitor) as usize
        };
        let other = thread::spawn(move || installing(Mode::Warn));
        let one = installing(Mode::Error);
        let two = other.join().unwrap();
        assert_eq!((installing(Mode::Error), installing(Mode::Warn)), (one, two));
        assert_eq!(monitor().unwrap().stats().get(Counter::Compiles), 4);
    });
}
