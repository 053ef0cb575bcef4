//! What workers tell the engine core of their stalls: lines in a file that has no name and is in memory, where the
//! machine has such. Workers reach it through the engine core's own `/proc`, so it is gone with the engine core, whoever
//! ends it, and nobody but the server's own user gets at it. A worker on another host does not: what it waited for is on
//! the spans of its steps alone.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use super::stalls::Sent;
use crate::process;
use crate::process::lock::Mutex;

/// A file of this size is given up for a new one, and one of twice the size takes nothing more: then nobody reads.
const BYTES: u64 = 8 << 20;
/// Read at once.
const CHUNK: usize = 256 << 10;

/// The engine core's.
static BOX: Mutex<Option<Mailbox>> = Mutex::new(None);
/// Where this worker's engine core has it.
static ADDRESS: Mutex<Option<String>> = Mutex::new(None);

struct Mailbox {
    /// Of the process that made it: a forked child has one of its own.
    generation: u64,
    /// The newest last; of the one before it workers may know still.
    files: Vec<(File, u64)>,
}

/// The address for this process's workers. None: the machine has no place for it.
pub fn address() -> Option<String> {
    let mut mailbox = BOX.lock();
    let generation = process::generation();
    if mailbox.as_ref().is_none_or(|mailbox| mailbox.generation != generation) {
        *mailbox = Some(Mailbox { generation, files: Vec::new() });
    }
    let files = &mut mailbox.as_mut()?.files;
    if files.last().is_none_or(|(_, read)| *read > BYTES) {
        if files.len() > 1 {
            files.remove(0);
        }
        files.push((unnamed()?, 0));
    }
    let (file, _) = files.last()?;
    let known = file.metadata().ok()?;
    Some(format!("{}:{}:{}:{}", std::process::id(), file.as_raw_fd(), known.dev(), known.ino()))
}

fn unnamed() -> Option<File> {
    let folders = [PathBuf::from("/dev/shm"), std::env::temp_dir()];
    folders.iter().find_map(|folder| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600).custom_flags(libc::O_TMPFILE | libc::O_CLOEXEC);
        options.open(folder).ok()
    })
}

/// What has been sent since.
pub fn receive() -> Vec<Sent> {
    let mut mailbox = BOX.lock();
    let Some(mailbox) = mailbox.as_mut().filter(|mailbox| mailbox.generation == process::generation()) else {
        return Vec::new();
    };
    let mut sent = Vec::new();
    for (file, read) in &mut mailbox.files {
        for line in unread(file, read).split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            sent.extend(std::str::from_utf8(line).ok().and_then(Sent::read));
        }
    }
    sent
}

/// What is whole of the lines behind `read`.
fn unread(file: &File, read: &mut u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let known = bytes.len();
        bytes.resize(known + CHUNK, 0);
        let got = file.read_at(&mut bytes[known..], *read + known as u64).unwrap_or(0);
        bytes.truncate(known + got);
        if got < CHUNK {
            break;
        }
    }
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    bytes.truncate(whole);
    *read += whole as u64;
    bytes
}

/// Where this worker's engine core has its mailbox.
pub fn remember(address: &str) {
    let mut known = ADDRESS.lock();
    if known.as_deref() != Some(address) {
        *known = Some(address.to_owned());
    }
}

/// Sends to the engine core. What does not arrive is on the spans of the step.
pub fn send(sent: &Sent) {
    let address = ADDRESS.lock().clone();
    let delivered = address.and_then(|address| deliver(&address, &sent.to_line()));
    if delivered.is_none()
        && let Some(monitor) = crate::monitor()
    {
        monitor.stats().fault("vllm.mailbox");
    }
}

fn deliver(address: &str, line: &str) -> Option<()> {
    let mut parts = address.split(':').map(str::parse::<u64>);
    let mut part = || parts.next()?.ok();
    let (process, descriptor, device, inode) = (part()?, part()?, part()?, part()?);
    let mut file = OpenOptions::new().append(true).open(format!("/proc/{process}/fd/{descriptor}")).ok()?;
    // The engine core may be gone, and its number another process's.
    let known = file.metadata().ok()?;
    if (known.dev(), known.ino()) != (device, inode) || known.len() > 2 * BYTES {
        return None;
    }
    // One write: lines of several workers do not mix.
    file.write_all(line.as_bytes()).ok()
}
