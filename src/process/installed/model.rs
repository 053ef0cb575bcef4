//! Every order in which the threads of a forked child can come for the monitor (`make test-model`).

use loom::thread;

use super::*;
use crate::config::Settings;
use crate::stats::Counter;

#[test]
fn the_threads_of_a_child_agree_on_one_monitor_that_is_not_the_parents() {
    let disabled = |name: &str| (name == "OTEL_SDK_DISABLED").then(|| "true".to_owned());
    let config = Config::resolve(&Settings::default(), &disabled).unwrap();
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
