//! Files that a setting names: whatever stands there, reading it ends.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// More than the bundle of all authorities that a system trusts.
const LONGEST: u64 = 4 * 1024 * 1024;

/// Opens what stands there, and waits for nobody.
///
/// # Errors
/// There is nothing, or it cannot be read.
pub fn open(path: &Path) -> io::Result<File> {
    // Opening a FIFO waits for whoever writes to it, but for this flag. On a regular file it means nothing.
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

/// All of a regular file; a device may have no end.
///
/// # Errors
/// It cannot be read, is no regular file, or is longer than anything we read.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("longer than {LONGEST} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn refusal(path: &Path) -> String {
        read(path).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_regular_file_or_too_long_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let (link, long) = (folder.path().join("link"), folder.path().join("long"));
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        File::create(&long).unwrap().set_len(LONGEST + 1).unwrap();
        for path in [Path::new("/dev/zero"), &link, &fifo, folder.path()] {
            assert_eq!(refusal(path), "not a regular file", "{path:?}");
        }
        assert_eq!(refusal(&long), "longer than 4194304 bytes");
        std::fs::write(&long, "text").unwrap();
        assert_eq!(read(&long).unwrap(), b"text");
    }
}
