//! Appends lines: one file for each process, one write for each line. What cannot be written is counted, and the
//! process goes on.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::fs::OpenOptions;
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::folder;
use super::line::Line;
use crate::process::lock::Mutex;

/// Lines of one process.
const LINES: usize = 10_000;

/// Bytes of one process's file.
const BYTES: usize = 64 << 20;

/// A folder that lines go to.
#[derive(Debug)]
pub struct Writer {
    folder: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Made with the first line, so that a start without a stall leaves nothing.
    file: Option<PathBuf>,
    /// What was written: each thing once.
    written: HashSet<u64>,
    bytes: usize,
    /// The last line was written in part.
    torn: bool,
}

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is in the file.
    Yes,
    /// It was there before.
    Known,
    /// It is too long, or the file is full.
    Dropped,
}

impl Writer {
    /// Writes to this folder. Makes it if it is not there.
    pub fn new(folder: PathBuf) -> Self {
        Writer { folder, state: Mutex::default() }
    }

    /// Appends a line.
    ///
    /// # Errors
    /// The folder is gone, full, read only, or not trusted. The next line is tried all the same.
    pub fn write(&self, line: &Line) -> io::Result<Written> {
        let mut hasher = DefaultHasher::new();
        line.recipe.identity().hash(&mut hasher);
        let identity = hasher.finish();
        let Some(bytes) = line.bytes() else { return Ok(Written::Dropped) };
        let mut state = self.state.lock();
        if state.written.contains(&identity) {
            return Ok(Written::Known);
        }
        if state.written.len() >= LINES || state.bytes + bytes.len() > BYTES {
            return Ok(Written::Dropped);
        }
        self.append(&mut state, &bytes)?;
        state.written.insert(identity);
        state.bytes += bytes.len();
        Ok(Written::Yes)
    }

    /// Opens the file anew for each line: a file that was taken away would else swallow them without a word.
    fn append(&self, state: &mut State, bytes: &[u8]) -> io::Result<()> {
        prepare(&self.folder).map_err(io::Error::other)?;
        let mut options = OpenOptions::new();
        options.append(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC);
        let mut file = match &state.file {
            Some(path) => options.create(true).open(path)?,
            None => {
                let path = self.folder.join(name()?);
                let file = options.create_new(true).open(&path)?;
                state.file = Some(path);
                file
            }
        };
        // One call: lines of two processes that share a file by mistake do not mix. What a full disk has cut short is ended
        // by the line after it, which it would else take with it.
        let line = if state.torn { [b"\n", bytes].concat() } else { bytes.to_vec() };
        let written = file.write(&line)?;
        state.torn = written < line.len() && (written > 0 || state.torn);
        if written == line.len() {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::StorageFull, "no room for a line"))
        }
    }
}

/// Makes the folder, for its owner alone, and checks it.
fn prepare(path: &Path) -> Result<(), String> {
    if !path.exists() {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| format!("it cannot be made: {error}"))?;
    }
    folder::check(path)
}

/// Unlike that of any other process: containers share folders, and in each of them the process has the same number.
fn name() -> io::Result<String> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(format!("{}-{:016x}.{}", std::process::id(), u64::from_ne_bytes(random), folder::EXTENSION))
}
