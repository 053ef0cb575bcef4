//! Which folders and files are trusted. A manifest makes a process compile: nobody but its owner and root may write it.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// How the files of a manifest end.
pub const EXTENSION: &str = "jsonl";

/// Files of one folder that are read, the newest first.
const FILES: usize = 4096;

/// Why nothing is read from it, or written to it.
///
/// # Errors
/// In words: it is no folder, somebody else's, or everybody may write it.
pub fn check(folder: &Path) -> Result<(), String> {
    let metadata = std::fs::metadata(folder).map_err(|error| error.to_string())?;
    if !metadata.is_dir() {
        return Err("it is no folder".to_owned());
    }
    trusted(&metadata)
}

/// As [`check`], of a folder that may still have to be made.
///
/// # Errors
/// As [`check`]; or what it would have to be made in is no folder.
pub fn check_or_parent(folder: &Path) -> Result<(), String> {
    match std::fs::metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let above = folder.ancestors().skip(1).find(|path| path.as_os_str().is_empty() || path.exists());
            let is_folder = above.is_none_or(|path| path.as_os_str().is_empty() || path.is_dir());
            if is_folder { Ok(()) } else { Err("what it should be made in is no folder".to_owned()) }
        }
        _ => check(folder),
    }
}

fn trusted(metadata: &Metadata) -> Result<(), String> {
    let own = crate::process::user();
    if metadata.uid() != own && metadata.uid() != 0 {
        return Err(format!("it belongs to user {}, and we are user {own}", metadata.uid()));
    }
    if metadata.mode() & 0o002 != 0 {
        return Err("everybody may write it".to_owned());
    }
    Ok(())
}

/// Opens a file of a manifest. Does not wait for a pipe.
///
/// # Errors
/// It is not there, no plain file, or not trusted.
pub fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no plain file"));
    }
    trusted(&metadata).map_err(io::Error::other)?;
    Ok(file)
}

/// The files of a manifest: the file itself, or those of a folder, the newest first.
///
/// # Errors
/// It is not there, or not trusted.
pub fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !std::fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    check(path).map_err(io::Error::other)?;
    let entries = std::fs::read_dir(path)?.filter_map(Result::ok).map(|entry| entry.path());
    let lines = entries.filter(|path| path.extension().is_some_and(|extension| extension == EXTENSION));
    let mut files: Vec<_> = lines
        .map(|path| (std::fs::metadata(&path).and_then(|metadata| metadata.modified()).ok(), path))
        .take(4 * FILES)
        .collect();
    files.sort_by(|one, other| other.cmp(one));
    Ok(files.into_iter().map(|(_, path)| path).take(FILES).collect())
}
