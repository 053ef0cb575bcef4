//! Whether the process of a file lives. In doubt it does: nobody is called dead who may live.
//!
//! Two things say so. Its number, with the time when it was started, because numbers are given again; but that can be
//! asked for in one's own PID namespace alone. And the lock that it holds on its file, which the system lets go of when it
//! ends, and which is seen from another container too. A process may have lost its lock and live (a daemon that closes
//! all descriptors), so in another namespace it must also have stopped to say that it lives (`pulse`).

use std::fs::File;
use std::io;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::process::file_lock;

/// A process says each second that it lives, while something compiles.
const SILENT: Duration = Duration::from_secs(10);

/// Which process it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Identity {
    /// Its number, in its own namespace.
    pub pid: u32,
    /// When it was started, in the system's ticks since it was booted.
    pub started: u64,
    /// The system's random id since it was booted.
    pub boot: String,
    /// Its PID namespace.
    pub namespace: String,
    /// Whether it holds a lock on its file.
    pub locked: bool,
}

/// Whether a process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It does.
    Alive,
    /// It has ended.
    Ended,
    /// That cannot be found out here, and why.
    Unknown(&'static str),
}

impl Identity {
    /// This process's.
    pub fn own() -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let namespace = std::fs::read_link("/proc/self/ns/pid");
        let pid = std::process::id();
        let status = status(pid).ok().flatten();
        // A /proc of another namespace knows us by another number: nobody can ask it for us.
        let is_ours = std::fs::read_link("/proc/self").is_ok_and(|link| link.as_os_str() == &*pid.to_string());
        let namespace = namespace.ok().filter(|_| is_ours && status.is_some());
        Identity {
            pid,
            started: status.map_or(0, |status| status.started),
            boot: text("/proc/sys/kernel/random/boot_id"),
            namespace: namespace.map(|link| link.to_string_lossy().into_owned()).unwrap_or_default(),
            locked: false,
        }
    }

    /// Whether both are known to be of one PID namespace of one system.
    pub fn is_near(&self, other: &Identity) -> bool {
        !self.boot.is_empty()
            && !self.namespace.is_empty()
            && (&self.boot, &self.namespace) == (&other.boot, &other.namespace)
    }
}

/// Whether the process of a file lives. `modified`: the file's time.
pub fn of(process: &Identity, file: &File, modified: SystemTime, here: &Identity) -> Life {
    if process.boot.is_empty() || process.boot != here.boot {
        return Life::Unknown("it runs on another machine, or ran before this one was started");
    }
    let is_locked = file_lock::is_held(file);
    if is_locked.as_ref().is_ok_and(|held| *held) {
        return Life::Alive;
    }
    if process.is_near(here) {
        return match status(process.pid) {
            Ok(Some(status)) if status.started == process.started && !status.is_dead => Life::Alive,
            Ok(_) => Life::Ended,
            Err(_) => Life::Unknown("/proc cannot be read"),
        };
    }
    if !process.locked || is_locked.is_err() {
        return Life::Unknown("it runs in another PID namespace, and its file system has no locks");
    }
    if modified.elapsed().is_ok_and(|age| age > SILENT) {
        return Life::Ended;
    }
    Life::Unknown("it runs in another PID namespace, and has been heard of lately")
}

/// The process that started it.
pub fn parent(pid: u32) -> Option<u32> {
    status(pid).ok().flatten().map(|status| status.parent).filter(|parent| *parent > 0)
}

/// What the system knows of a process.
struct Status {
    parent: u32,
    started: u64,
    /// It has ended, and nobody has asked yet what of.
    is_dead: bool,
}

/// None: there is no such process.
fn status(pid: u32) -> io::Result<Option<Status>> {
    let text = match std::fs::read(format!("/proc/{pid}/stat")) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH) => {
            // Without /proc nobody is there.
            return std::fs::metadata("/proc/self/stat").map(|_| None);
        }
        Err(error) => return Err(error),
    };
    // The name, in brackets, may hold anything.
    let text = String::from_utf8_lossy(&text);
    let mut fields = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let state = fields.next().unwrap_or_default();
    let parent = fields.next().and_then(|field| field.parse().ok()).unwrap_or_default();
    let started = fields.nth(17).and_then(|field| field.parse().ok());
    let started = started.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc: no time of start"))?;
    Ok(Some(Status { parent, started, is_dead: matches!(state, "Z" | "X") }))
}
