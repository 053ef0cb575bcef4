//! The black box: a process that was killed in the middle of a compile has left its file. One process of the same service
//! takes it, by giving it another name, and sends the span that the dead could not. The others find it gone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::folder::{self, CLAIMED, Found, LIVING};
use super::life::{self, Identity, Life};
use super::record::{Now, Record};
use crate::clock::unix;
use crate::model::attribute::Attributes;
use crate::model::event::{CompileEvent, Failure, Kernel, Kind, UnixNanos};
use crate::scope::{Request, Scope, ScopeOptions};
use crate::semconv::{engine, span};

/// So long `jitspan top` shows a process that ended, and whose spans have been sent.
const SHOWN: Duration = Duration::from_secs(3600);
/// So long a file is kept that nobody can read, or that nobody of its service has come for.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// Processes whose spans are sent at one start.
const CLAIMS: usize = 64;

/// The class of the error, on the spans that another process sends.
pub const PROCESS_ENDED: &str = "process_ended";

/// A process that ended in the middle of something.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// What it said last.
    pub record: Record,
    /// Until when it is known to have lived.
    pub until: UnixNanos,
}

/// Takes what processes of this service left, and cleans the folder. Returns notices for the log, too.
pub fn claim(folder: &Path, own: &Path, here: &Identity, service: &str) -> (Vec<Ended>, Vec<String>) {
    let files = match folder::files(folder) {
        Ok(files) => files,
        Err(reason) => return (Vec::new(), vec![format!("the board is not read: {}: {reason}", folder.display())]),
    };
    let mut claimed = Vec::new();
    for path in files.iter().filter(|path| *path != own) {
        let Some(found) = folder::read(path) else { continue };
        let age = found.modified.elapsed().unwrap_or_default();
        if path.extension().is_some_and(|end| end == CLAIMED) {
            if age > SHOWN {
                remove(&found);
            }
            continue;
        }
        let Ok(record) = &found.record else {
            // One that is being made is young.
            let is_free = crate::process::file_lock::is_held(&found.file).is_ok_and(|held| !held);
            if age > KEPT && is_free {
                remove(&found);
            }
            continue;
        };
        match life::of(&record.process, &found.file, found.modified, here) {
            Life::Alive => {}
            Life::Unknown(_) if age > KEPT => remove(&found),
            Life::Unknown(_) => {}
            Life::Ended if !left_something(record) => remove(&found),
            Life::Ended if record.who.service == service && claimed.len() < CLAIMS => {
                claimed.extend(take(&found).then(|| Ended { record: record.clone(), until: unix(found.modified) }));
            }
            Life::Ended if age > KEPT => remove(&found),
            Life::Ended => {}
        }
    }
    (claimed, Vec::new())
}

/// What began in warm-up was nobody's request.
fn left_something(record: &Record) -> bool {
    record.now.iter().any(|now| now.armed)
}

/// Of all who try one succeeds: the name is there once.
fn take(found: &Found) -> bool {
    std::fs::rename(&found.path, found.path.with_extension(CLAIMED)).is_ok()
}

/// Only what was read: another may have the name by now.
fn remove(found: &Found) {
    if folder::read(&found.path).is_some_and(|now| now.inode == found.inode) {
        let _ = std::fs::remove_file(&found.path);
    }
}

/// Files of this very process: what it was before it ran another program (`exec`), whose number and start are the same.
pub fn forget_former(folder: &Path, own: &Identity, file: &Path) {
    let prefix = format!("{}-", own.pid);
    let is_former = |path: &PathBuf| {
        path != file
            && path.extension().is_some_and(|end| end == LIVING)
            && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
    };
    for path in folder::files(folder).unwrap_or_default().iter().filter(|path| is_former(path)) {
        let Some(found) = folder::read(path) else { continue };
        let same = |record: &Record| record.process.is_near(own) && record.process.started == own.started;
        if found.record.as_ref().is_ok_and(same) {
            remove(&found);
        }
    }
}

/// What went on, as a compile that failed, and who waited for it. None: it is nothing that we know.
pub fn as_event(ended: &Ended, now: &Now, limit: usize) -> Option<(Scope, CompileEvent)> {
    let record = &ended.record;
    let mut event =
        CompileEvent::new(Kind::from_word(&now.kind)?, now.runtime.clone(), Kernel::named(now.kernel.clone()));
    event.started = Some(now.started);
    event.duration = Duration::from_nanos(ended.until.saturating_sub(now.started));
    let inside = record.now.iter().filter(|inner| inner.nested).map(|inner| &*inner.kernel).collect::<Vec<_>>();
    let inside = if inside.is_empty() { String::new() } else { format!(", in it {}", inside.join(", ")) };
    let message = format!(
        "process {} ended while it compiled {}{inside}, {:.1} s after that had begun",
        record.process.pid,
        now.kernel,
        event.duration.as_secs_f64()
    );
    event.failure = Some(Failure { error_type: PROCESS_ENDED.to_owned(), message });
    let mut attributes = Attributes::new();
    attributes.int(span::ENDED_PROCESS, i64::from(record.process.pid));
    attributes.extend(&record.who.attributes());
    let requests = now.requests.iter().map(|waiting| {
        let parent = waiting.traceparent.as_deref().and_then(|text| crate::propagation::parse(text, None).ok());
        let mut attributes = Attributes::new();
        if let Some(id) = &waiting.id {
            attributes.text(engine::REQUEST_ID, id.clone());
        }
        Request { parent, attributes }
    });
    let requests = requests.collect();
    let name = now.span.clone().unwrap_or_else(|| now.kind.clone());
    let scope = Scope::of_ended(
        ScopeOptions { name: name.into(), attributes, requests, started: now.started },
        now.waiting,
        limit,
    );
    Some((scope, event))
}
