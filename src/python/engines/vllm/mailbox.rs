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

/// The engine core's.
static BOX: Mutex<Option<Mailbox>> = Mutex::new(None);
/// Where this worker's engine core has it.
static ADDRESS: Mutex<Option<String>> = Mutex::new(None);

struct Mailbox {
    /// Of the process that made it: a forked child has one of its own.
    generation: u64,
    /// The newest last; of the one before it workers may know still.
    files: Vec<Unnamed>,
}

struct Unnamed {
    file: File,
    /// So much has been read.
    read: u64,
    address: String,
}

/// The address for this process's workers. None: the machine has no place for it.
pub fn address() -> Option<String> {
    let mut mailbox = BOX.lock();
    let generation = process::generation();
    if mailbox.as_ref().is_none_or(|mailbox| mailbox.generation != generation) {
        *mailbox = Some(Mailbox { generation, files: Vec::new() });
    }
    let files = &mut mailbox.as_mut()?.files;
    if files.last().is_none_or(|last| last.read > BYTES) {
        if files.len() > 1 {
            files.remove(0);
        }
        files.push(Unnamed::new()?);
    }
    files.last().map(|last| last.address.clone())
}

impl Unnamed {
    fn new() -> Option<Self> {
        let folders = [PathBuf::from("/dev/shm"), std::env::temp_dir()];
        let file = folders.iter().find_map(|folder| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).mode(0o600).custom_flags(libc::O_TMPFILE | libc::O_CLOEXEC);
            options.open(folder).ok()
        })?;
        let known = file.metadata().ok()?;
        let address = format!("{}:{}:{}:{}", std::process::id(), file.as_raw_fd(), known.dev(), known.ino());
        Some(Unnamed { file, read: 0, address })
    }

    /// What is whole of the lines that came since.
    fn unread(&mut self) -> Vec<u8> {
        let length = self.file.metadata().map_or(0, |known| known.len()).saturating_sub(self.read);
        let mut bytes = vec![0; usize::try_from(length.min(2 * BYTES)).unwrap_or(0)];
        let got = if bytes.is_empty() { 0 } else { self.file.read_at(&mut bytes, self.read).unwrap_or(0) };
        let whole = bytes.iter().take(got).rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        bytes.truncate(whole);
        self.read += whole as u64;
        bytes
    }
}

/// What has been sent since.
pub fn receive() -> Vec<Sent> {
    let mut mailbox = BOX.lock();
    let Some(mailbox) = mailbox.as_mut().filter(|mailbox| mailbox.generation == process::generation()) else {
        return Vec::new();
    };
    let mut sent = Vec::new();
    for file in &mut mailbox.files {
        for line in file.unread().split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            sent.extend(std::str::from_utf8(line).ok().and_then(Sent::read));
        }
    }
    sent
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
    let path = format!("/proc/{process}/fd/{descriptor}");
    // The engine core may be gone, and its number another process's: looked at before it is opened.
    let known = std::fs::metadata(&path).ok()?;
    if (known.dev(), known.ino()) != (device, inode) || known.len() > 2 * BYTES {
        return None;
    }
    // One write: lines of several workers do not mix.
    let mut file = OpenOptions::new().append(true).open(path).ok()?;
    file.write_all(line.as_bytes()).ok()
}
