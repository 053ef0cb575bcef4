//! Compilers that ran, as events: of a request that waited for them, or of nobody.

use std::time::{Duration, Instant};

use pyo3::prelude::*;

use super::RUNTIME;
use super::compiler::{Compiler, Starter};
use crate::live::Place;
use crate::model::event::{CompileEvent, Failure, Kernel, Kind, nanos};
use crate::python::stall;

/// Between the end of a compiler and that of the process which started it, if the one failed because of the other.
const AT_ONCE: Duration = Duration::from_millis(200);

/// Who came and waited for less has not waited.
const SHORTEST: Duration = Duration::from_millis(1);

/// A thread has seen the end of the process, and has waited for it since `since`. Some: to be raised.
pub fn waited(
    py: Python<'_>,
    starter: &Starter,
    compilers: &[Compiler],
    exit: Option<i32>,
    since: Instant,
) -> Option<PyErr> {
    let now = Instant::now();
    let mut raise = None;
    for compiler in compilers {
        let (began, ended) = (compiler.began.max(since), compiler.ended.unwrap_or(now));
        if since > compiler.began && ended.saturating_duration_since(began) < SHORTEST {
            in_background(starter, std::slice::from_ref(compiler), exit);
            continue;
        }
        let pending = stall::begin(py)?;
        if pending.waiting() == 0 {
            in_background(starter, std::slice::from_ref(compiler), exit);
            continue;
        }
        let mut event = event(starter, compiler, (began, ended), exit, now);
        event.started = Some(pending.started().saturating_sub(nanos(now.saturating_duration_since(began))));
        let (_, own) = stall::finish(py, &pending, event, compiler.source.as_deref().unwrap_or_default());
        raise = raise.or(own);
    }
    // What went wrong is the host's to say.
    raise.filter(|_| exit == Some(0))
}

/// Nobody's request waited. Needs no Python: the thread that watches comes here too.
pub fn in_background(starter: &Starter, compilers: &[Compiler], exit: Option<i32>) {
    let Some(monitor) = crate::monitor() else { return };
    let now = Instant::now();
    for compiler in compilers {
        let (began, ended) = (compiler.began, compiler.ended.unwrap_or(now));
        let pending = monitor.begin(|| Place::Nobody, None);
        let mut event = event(starter, compiler, (began, ended), exit, now);
        event.background = true;
        event.started = Some(pending.started().saturating_sub(nanos(now.saturating_duration_since(began))));
        if let Some(recorded) = monitor.finish(&pending, event) {
            // It is counted there.
            let _ = monitor.keep(&recorded);
        }
    }
}

fn event(
    starter: &Starter,
    compiler: &Compiler,
    (began, ended): (Instant, Instant),
    exit: Option<i32>,
    now: Instant,
) -> CompileEvent {
    let kernel = Kernel { file: compiler.source.clone(), ..Kernel::named(&*compiler.name) };
    let mut event = RUNTIME.event(Kind::Compile, kernel);
    event.duration = ended.saturating_duration_since(began);
    event.thread.clone_from(&starter.shown);
    // A shell or a build tool ends as the compiler did that it started last.
    let told_by = compiler.is_root || now.saturating_duration_since(ended) < AT_ONCE;
    event.exit_code = exit.filter(|exit| compiler.is_root || (told_by && *exit != 0));
    event.failure = event.exit_code.filter(|exit| *exit != 0).map(|exit| {
        let how = if exit < 0 { format!("signal {}", -exit) } else { format!("exit status {exit}") };
        Failure { message: format!("{} ended with {how}", compiler.name), error_type: how }
    });
    event
}
