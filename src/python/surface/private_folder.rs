//! A folder that each Python of `jitspan run` imports from, so one into which nobody else can put a module.
//!
//! It is kept in the user's cache. Where that cannot be trusted, or cannot stand on a `PYTHONPATH`, it is a new folder
//! under the system's place for temporary files, which stays: the program outlives us, and starts Pythons as it likes.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::config::environment::Shell;

/// Others may write into it.
const OTHERS_WRITE: u32 = 0o002;
const GROUP_WRITES: u32 = 0o020;
/// Only the owner of what is in it may rename it.
const STICKY: u32 = 0o1000;
/// A text of ours is much shorter.
const MOST_BYTES: u64 = 64 * 1024;

/// The folder, with a file `name` in it that holds `text`.
///
/// # Errors
/// It can be written nowhere.
pub fn with(name: &str, text: &str, shell: &Shell) -> io::Result<PathBuf> {
    // The specification of XDG_CACHE_HOME: a relative path is to be ignored.
    let absolute = |path: &Option<PathBuf>| path.clone().filter(|path| path.is_absolute());
    let cache = absolute(&shell.cache_home).or_else(|| Some(absolute(&shell.home)?.join(".cache")));
    let cached = cache.map(|cache| in_cache(&cache, name, text));
    match cached {
        Some(Ok(folder)) => Ok(folder),
        // Whatever it was: the user wants a program to run.
        _ => in_new_folder(name, text),
    }
}

fn in_cache(cache: &Path, name: &str, text: &str) -> io::Result<PathBuf> {
    let folder = cache.join("jitspan").join(env!("CARGO_PKG_VERSION"));
    if folder.as_os_str().as_bytes().contains(&b':') {
        return Err(io::Error::other("a colon ends a path on PYTHONPATH"));
    }
    DirBuilder::new().recursive(true).mode(0o755).create(&folder)?;
    // Without links, so that what is looked at is what is used.
    let folder = folder.canonicalize()?;
    if folder.as_os_str().as_bytes().contains(&b':') {
        return Err(io::Error::other("a colon ends a path on PYTHONPATH"));
    }
    check_folder(&folder)?;
    write(&folder, name, text)?;
    Ok(folder)
}

fn in_new_folder(name: &str, text: &str) -> io::Result<PathBuf> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let place = std::env::temp_dir();
    let place =
        if place.is_absolute() && !place.as_os_str().as_bytes().contains(&b':') { place } else { "/tmp".into() };
    let folder = place.join(format!("jitspan-{random}"));
    // Fails where it is there: nobody can have put anything into it.
    DirBuilder::new().mode(0o755).create(&folder)?;
    let folder = folder.canonicalize()?;
    check_folder(&folder)?;
    write(&folder, name, text)?;
    Ok(folder)
}

/// Nobody but us and root can put a module into it, or another folder into its place.
fn check_folder(folder: &Path) -> io::Result<()> {
    let us = Us::ask()?;
    let own = fs::symlink_metadata(folder)?;
    if own.uid() != us.user || us.others_can_write(&own) {
        return Err(io::Error::other(format!("others can write into {}", folder.display())));
    }
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        // What another `jitspan run` is writing now has our name in front.
        let is_ours = name.as_bytes().starts_with(b"sitecustomize.") || name == "__pycache__";
        if !is_ours {
            return Err(io::Error::other(format!("{} holds what is not ours", folder.display())));
        }
    }
    for ancestor in folder.ancestors().skip(1) {
        let found = fs::symlink_metadata(ancestor)?;
        let is_trusted = found.uid() == us.user || found.uid() == 0;
        if !is_trusted || us.others_can_write(&found) && found.mode() & STICKY == 0 {
            return Err(io::Error::other(format!("others can write into {}", ancestor.display())));
        }
    }
    Ok(())
}

/// Who we are.
struct Us {
    user: u32,
    group: u32,
}

impl Us {
    /// The kernel's own folder of this process belongs to its effective user.
    fn ask() -> io::Result<Self> {
        let own = fs::metadata("/proc/self")?;
        Ok(Us { user: own.uid(), group: own.gid() })
    }

    /// A group that has the user's own number is the user's alone, as most systems make it.
    fn others_can_write(&self, found: &Metadata) -> bool {
        let private = found.gid() == self.group && self.group == self.user;
        found.mode() & OTHERS_WRITE != 0 || found.mode() & GROUP_WRITES != 0 && !private
    }
}

/// Writes the file, unless it is there as it should be.
fn write(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    let file = folder.join(name);
    if holds(&file, text).unwrap_or(false) {
        return Ok(());
    }
    // Renamed into place: another program may be starting with it now.
    let partial = folder.join(format!("sitecustomize.{}", std::process::id()));
    let _ = fs::remove_file(&partial);
    let mut written = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&partial)?;
    written.write_all(text.as_bytes())?;
    drop(written);
    fs::rename(&partial, &file)
}

/// Whether it is a file of ours with this text. One that is no file (a FIFO, which would be waited for) is not opened.
fn holds(file: &Path, text: &str) -> io::Result<bool> {
    let found = fs::symlink_metadata(file)?;
    let us = Us::ask()?;
    if !found.is_file() || found.uid() != us.user || us.others_can_write(&found) || found.len() > MOST_BYTES {
        return Ok(false);
    }
    let mut there = String::new();
    File::open(file)?.take(MOST_BYTES).read_to_string(&mut there)?;
    Ok(there == text)
}
