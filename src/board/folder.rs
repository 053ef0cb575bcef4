//! Where the files are. A folder of our own that nobody else may write: what stands in it is believed.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::page::{self, Unreadable};
use super::record::Record;
use crate::config::{BoardPlace, environment};
use crate::process;

/// How the file of a process ends.
pub const LIVING: &str = "board";
/// How it ends once somebody has sent what its process could not.
pub const CLAIMED: &str = "ended";

/// Files of one folder that are read; a host runs some thousands of processes at most.
const FILES: usize = 8192;

/// A file is read again whose pages have both been written meanwhile.
const TRIES: usize = 5;

/// The folder to write to: the first that can be used. None: the board is switched off.
///
/// # Errors
/// Of each, why not.
pub fn open(place: &BoardPlace) -> Result<Option<PathBuf>, String> {
    let folders = candidates(place);
    let mut refused = Vec::new();
    for folder in &folders {
        match prepare(folder, *place == BoardPlace::Usual) {
            Ok(()) => return Ok(Some(folder.clone())),
            Err(reason) => refused.push(format!("{}: {reason}", folder.display())),
        }
    }
    if refused.is_empty() { Ok(None) } else { Err(refused.join("; ")) }
}

/// Why no folder could be used, as far as that is seen without making one.
pub fn refusal(place: &BoardPlace) -> Option<String> {
    let ours = *place == BoardPlace::Usual;
    let refused = candidates(place).into_iter().map(|folder| {
        let is_there = std::fs::symlink_metadata(&folder).is_ok();
        let above = folder.ancestors().skip(1).find(|path| path.as_os_str().is_empty() || path.exists());
        let may_be_made = above.is_none_or(|path| path.as_os_str().is_empty() || path.is_dir());
        let checked = match is_there {
            true => check_to_write(&folder, ours),
            false if may_be_made => Ok(()),
            false => Err("what it should be made in is no folder".to_owned()),
        };
        checked.err().map(|reason| format!("{}: {reason}", folder.display()))
    });
    let refused: Vec<Option<String>> = refused.collect();
    let reasons: Option<Vec<String>> = refused.into_iter().collect();
    reasons.filter(|reasons| !reasons.is_empty()).map(|reasons| reasons.join("; "))
}

/// All folders to read. To root those of all users.
pub fn readable(place: &BoardPlace) -> Vec<PathBuf> {
    let mut folders = candidates(place);
    if *place == BoardPlace::Usual && process::user() == 0 {
        let entries = std::fs::read_dir(environment::SHARED_MEMORY).into_iter().flatten().filter_map(Result::ok);
        let others = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("jitspan-"));
        folders.extend(others.map(|entry| entry.path()).take(FILES));
    }
    folders.sort();
    folders.dedup();
    folders.retain(|folder| std::fs::symlink_metadata(folder).is_ok());
    folders
}

fn candidates(place: &BoardPlace) -> Vec<PathBuf> {
    match place {
        BoardPlace::Off => Vec::new(),
        BoardPlace::Folder(folder) => vec![folder.clone()],
        BoardPlace::Usual => environment::board_folders(process::user()),
    }
}

/// Makes it for its owner alone, if it is not there, and checks it. `ours`: we have named it, in a place where everybody may
/// write, so that it must not be a link that somebody else has put there.
fn prepare(folder: &Path, ours: bool) -> Result<(), String> {
    if std::fs::symlink_metadata(folder).is_err() {
        let made = DirBuilder::new().recursive(!ours).mode(0o700).create(folder);
        // Another process may have been faster.
        if let Err(error) = made
            && std::fs::symlink_metadata(folder).is_err()
        {
            return Err(format!("it cannot be made: {error}"));
        }
    }
    check_to_write(folder, ours)
}

fn check_to_write(folder: &Path, ours: bool) -> Result<(), String> {
    let known = if ours { std::fs::symlink_metadata(folder) } else { std::fs::metadata(folder) };
    let known = known.map_err(|error| error.to_string())?;
    if !known.is_dir() {
        return Err("it is no folder".to_owned());
    }
    check_owner(&known)
}

fn check_owner(known: &Metadata) -> Result<(), String> {
    let own = process::user();
    if known.uid() != own {
        return Err(format!("it belongs to user {}, and we are user {own}", known.uid()));
    }
    if known.mode() & 0o022 != 0 {
        return Err("others may write it".to_owned());
    }
    Ok(())
}

/// Why the files of a folder are not believed. Root reads those of each user.
///
/// # Errors
/// In words.
pub fn check(folder: &Path) -> Result<u32, String> {
    let known = std::fs::metadata(folder).map_err(|error| error.to_string())?;
    if !known.is_dir() {
        return Err("it is no folder".to_owned());
    }
    if process::user() != 0 || known.mode() & 0o022 != 0 {
        check_owner(&known)?;
    }
    Ok(known.uid())
}

/// The files of processes in a folder.
///
/// # Errors
/// It cannot be read, or is not believed.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    check(folder)?;
    let entries = std::fs::read_dir(folder).map_err(|error| error.to_string())?.filter_map(Result::ok);
    let known = |path: &PathBuf| path.extension().is_some_and(|end| end == LIVING || end == CLAIMED);
    Ok(entries.map(|entry| entry.path()).filter(known).take(FILES).collect())
}

/// A file of the board, as it was found.
pub struct Found {
    /// Where.
    pub path: PathBuf,
    /// Open: it is this one still when another takes its name.
    pub file: File,
    /// When it was written, or its process last said that it lives.
    pub modified: SystemTime,
    /// Its device and number.
    pub inode: (u64, u64),
    /// What it says.
    pub record: Result<Record, Unreadable>,
}

/// Reads a file. None: it is gone, is no plain file, or somebody else's.
pub fn read(path: &Path) -> Option<Found> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC);
    let file = options.open(path).ok()?;
    let known = file.metadata().ok()?;
    let owner = process::user();
    if !known.is_file() || (known.uid() != owner && owner != 0) {
        return None;
    }
    let mut record = Err(Unreadable::Length(known.len()));
    if known.len() == page::FILE as u64 {
        let mut bytes = vec![0; page::FILE];
        for _ in 0..TRIES {
            file.read_exact_at(&mut bytes, 0).ok()?;
            record = page::read(&bytes);
            if record != Err(Unreadable::Torn) {
                break;
            }
        }
    }
    let modified = known.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    Some(Found { path: path.to_owned(), file, modified, inode: (known.dev(), known.ino()), record })
}
