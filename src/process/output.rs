//! Standard output, by its number: std's has a lock for the whole process, which a fork may leave held in the child.

use std::fs::File;
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;

/// Writes all of it, and waits for whoever reads. A server that has made its output non-blocking is waited for as well.
///
/// # Errors
/// It is closed, or its reader is gone.
pub fn write(bytes: &[u8]) -> io::Result<()> {
    let mut left = bytes;
    while !left.is_empty() {
        match stdout().write(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => left = left.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_for_room(),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The descriptor of this moment: a program may put another file there.
fn stdout() -> ManuallyDrop<File> {
    // SAFETY: the file is never dropped, so nothing is closed that is not ours; and a descriptor that is closed, or is
    // another file by now, makes a write fail or go there, as with the library of C.
    #[expect(unsafe_code, reason = "std offers the descriptor only behind the lock that this is to avoid")]
    unsafe {
        ManuallyDrop::new(File::from_raw_fd(libc::STDOUT_FILENO))
    }
}

/// Columns and rows of the terminal. None: it is none.
#[cfg(feature = "view")]
pub fn terminal_size() -> Option<(usize, usize)> {
    // SAFETY: `size` is one structure of numbers, which the call fills or leaves.
    #[expect(unsafe_code, reason = "std has no word for it")]
    let size = unsafe {
        let mut size = std::mem::zeroed::<libc::winsize>();
        (libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) == 0).then_some(size)
    };
    size.map(|size| (size.ws_col.into(), size.ws_row.into())).filter(|(columns, rows)| *columns > 0 && *rows > 0)
}

fn wait_for_room() {
    const MILLISECONDS: libc::c_int = 1000;
    let mut asked = libc::pollfd { fd: libc::STDOUT_FILENO, events: libc::POLLOUT, revents: 0 };
    // SAFETY: `asked` is one initialised structure, and the call writes to nothing else.
    #[expect(unsafe_code, reason = "no dependency of ours wraps poll")]
    unsafe {
        libc::poll(&raw mut asked, 1, MILLISECONDS);
    }
}
