//! The net below all other hooks: compilers that run as processes of their own, started from Python, which no hook
//! accounts for.
//!
//! | place | when |
//! |---|---|
//! | `subprocess.Popen.__init__` | a process is started; `run`, `check_output`, `os.popen` and asyncio come here |
//! | `subprocess.Popen.wait`, `.poll` | somebody learns of its end; `communicate` and `run` come here |
//! | `os.system` | a shell runs from start to end |
//! | `os.posix_spawn`, `os.posix_spawnp` | a process is started; who waits for it is not seen |
//!
//! All of them start a process, or wait for one, and so cost hundreds of microseconds by themselves. An audit hook would
//! hear of the same and of every import, `open` and frame besides, can never be taken out again, and does not hear of
//! ends: see docs/processes.md, also for what no ordinary process can see.
//!
//! A process that is no compiler may start one: it is looked at, and all below it, while it lives (`watch.rs`). A compiler
//! below a compiler is a part of it.
//!
//! Whoever blocks until a process has ended has waited: since it was started, if he has started it while he served the
//! same request; else since he began to wait. Whatever nobody's request waited for is told as `jit.background`.

mod claim;
mod command;
mod compiler;
mod proc;
mod tell;
mod watch;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use pyo3::prelude::*;

use crate::process::lock::Mutex;
use crate::python::hooks::{Runtime, State};
use crate::python::host::boundary::OrNone;
use crate::python::host::bounded::each;
use crate::python::host::convert::{get, text};
use crate::python::host::{here, imports};
use crate::python::patch::{After, Call, Patches};
use crate::python::scope;
use command::Command;
use compiler::Starter;
use watch::{Root, Target};

/// The row of the table.
pub static RUNTIME: Runtime = Runtime {
    name: "process",
    title: "Compiler process",
    package: "subprocess",
    distributions: &[],
    tested: ("3.10", "3.13"),
    module: "subprocess",
    parts: &[],
    install,
    armed: |_, _| Ok(()),
    forget: |_| {
        watch::leave();
        STARTED.lock().clear();
        COUNT.store(0, Ordering::Relaxed);
    },
    patches: Patches::new(),
    state: Mutex::new(State::Waiting),
};

/// Processes of which the end has not been seen, by number.
static STARTED: Mutex<Vec<(i32, Arc<Root>)>> = Mutex::new(Vec::new());
const STARTED_KEPT: usize = 256;
/// How many there are, which is asked at every wait.
static COUNT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// `Popen` may call `posix_spawn`.
    static IN_POPEN: Cell<bool> = const { Cell::new(false) };
}

/// Words of a command line that are read from Python.
const WORDS: usize = 4096;

fn install(module: &Bound<'_, PyModule>, patches: &'static Patches) -> PyResult<()> {
    let py = module.py();
    if let Some(class) = get(module, "Popen") {
        patches.wrap(&class, "__init__", "process.popen", starts)?;
        patches.wrap(&class, "wait", "process.wait", |py: Python<'_>, call: &Call<'_, '_>| ends(py, call, true))?;
        patches.wrap(&class, "poll", "process.poll", |py: Python<'_>, call: &Call<'_, '_>| ends(py, call, false))?;
    }
    if let Some(os) = imports::loaded(py, "os") {
        patches.wrap(&os, "system", "process.system", runs)?;
        patches.wrap(&os, "posix_spawn", "process.posix_spawn", spawns)?;
        patches.wrap(&os, "posix_spawnp", "process.posix_spawnp", spawns)?;
    }
    Ok(())
}

fn is_armed() -> bool {
    crate::monitor().is_some_and(crate::monitor::Monitor::is_armed)
}

/// `Popen(args, ...)`.
fn starts(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    if !is_armed() || IN_POPEN.get() {
        return Ok(None);
    }
    let Some(popen) = call.arg(0) else { return Ok(None) };
    let (popen, began, claimed) = (popen.unbind(), Instant::now(), claim::is_claimed(py));
    IN_POPEN.set(true);
    Ok(Some(Box::new(move |py, outcome| {
        IN_POPEN.set(false);
        if outcome.is_err() || claimed {
            return Ok(None);
        }
        let popen = popen.bind(py);
        let Some(pid) = get(popen, "pid").and_then(|pid| pid.extract::<i32>().or_none()) else { return Ok(None) };
        // Gone already, or nearly: what it was given is still there.
        let words = proc::command(pid).or_else(|| {
            let words = get(popen, "args")?;
            let words: Vec<String> = each(&words, WORDS).map(|word| self::word(&word)).collect();
            Some(words)
        });
        started(py, pid, &words.unwrap_or_default(), began);
        Ok(None)
    })))
}

/// A word of a command line: a text, or a path.
fn word(any: &Bound<'_, PyAny>) -> String {
    let path = any.hasattr("__fspath__").or_none().filter(|has| *has);
    let path = path.and_then(|_| any.call_method0("__fspath__").or_none());
    text(path.as_ref().unwrap_or(any))
}

/// `posix_spawn(path, ...)` gives a number.
fn spawns(py: Python<'_>, _call: &Call<'_, '_>) -> PyResult<Option<After>> {
    if !is_armed() || IN_POPEN.get() || claim::is_claimed(py) {
        return Ok(None);
    }
    let began = Instant::now();
    Ok(Some(Box::new(move |py, outcome| {
        if let Some(pid) = outcome.ok().and_then(|pid| pid.extract::<i32>().or_none()) {
            started(py, pid, &proc::command(pid).unwrap_or_default(), began);
        }
        Ok(None)
    })))
}

fn started(py: Python<'_>, pid: i32, words: &[String], began: Instant) {
    let command = command::read(words);
    if command == Command::Asked || claim::is_pool(words) {
        return;
    }
    let Some(status) = proc::status(pid) else { return };
    let target = Target::Process { pid, born: status.born };
    let root = Root::new(target, began, starter(py), Some(command));
    {
        let mut all = STARTED.lock();
        all.retain(|(other, root)| *other != pid && root.is_open());
        if all.len() < STARTED_KEPT {
            all.push((pid, Arc::clone(&root)));
        }
        COUNT.store(all.len(), Ordering::Relaxed);
    }
    root.watch();
}

fn starter(py: Python<'_>) -> Starter {
    let scope = scope::current(py).or_none().flatten();
    let scope = scope.and_then(|scope| scope.get().entered_at());
    Starter { thread: std::thread::current().id(), shown: here::thread(py), scope }
}

/// `wait(self, timeout=None)`, `poll(self)`.
fn ends(py: Python<'_>, call: &Call<'_, '_>, blocks: bool) -> PyResult<Option<After>> {
    if COUNT.load(Ordering::Relaxed) == 0 {
        return Ok(None);
    }
    let Some(popen) = call.arg(0) else { return Ok(None) };
    let pid = get(&popen, "pid").and_then(|pid| pid.extract::<i32>().or_none());
    let root = STARTED.lock().iter().find(|(known, _)| Some(*known) == pid).map(|(_, root)| Arc::clone(root));
    let Some(root) = root.filter(|root| root.is_open()) else { return Ok(None) };
    let (popen, since) = (popen.unbind(), Instant::now());
    let _ = py;
    Ok(Some(Box::new(move |py, _outcome| {
        // It may have been seen although the call has raised: Ctrl-C.
        let code = get(popen.bind(py), "returncode").and_then(|code| code.extract::<i32>().or_none());
        let Some(code) = code else { return Ok(None) };
        let Some(compilers) = root.take(Instant::now()) else { return Ok(None) };
        let here = starter(py);
        let same = here.thread == root.starter.thread && here.scope == root.starter.scope;
        let since = match blocks {
            true => Some(if same { root.began } else { since }),
            // Asked again and again: he waits if he has nothing else to serve.
            false => (same && here.scope.is_some()).then_some(root.began),
        };
        match since {
            Some(since) => Ok(tell::waited(py, &root.starter, &compilers, Some(code), since)),
            None => {
                tell::in_background(&root.starter, &compilers, Some(code));
                Ok(None)
            }
        }
    })))
}

/// `system(command)`: nobody is told the number of the shell, so what this thread starts is looked at.
fn runs(py: Python<'_>, _call: &Call<'_, '_>) -> PyResult<Option<After>> {
    if !is_armed() || claim::is_claimed(py) {
        return Ok(None);
    }
    let starter = starter(py);
    let Some((thread, _)) = &starter.shown else { return Ok(None) };
    let target = Target::ChildrenOf { thread: *thread, before: proc::children_of_thread(*thread) };
    let root = Root::new(target, Instant::now(), starter, None);
    root.watch();
    Ok(Some(Box::new(move |py, outcome| {
        let Some(compilers) = root.take(Instant::now()) else { return Ok(None) };
        let code = outcome.ok().and_then(|status| status.extract::<i32>().or_none()).map(proc::exit_code);
        Ok(tell::waited(py, &root.starter, &compilers, code, root.began))
    })))
}
