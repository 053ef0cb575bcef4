//! Says whether a file of a folder has been written to, for the price of one call that finds nothing.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};

/// The one of this process: a forked child shares the queue, and would take what its parent waits for.
static DESCRIPTOR: AtomicI32 = AtomicI32::new(-1);

/// A folder that is watched.
#[derive(Debug)]
pub struct FolderWatch {
    queue: Option<File>,
}

impl FolderWatch {
    /// Watches it from now on. One in a process.
    ///
    /// # Errors
    /// The system has no more of them for this user.
    #[expect(unsafe_code, reason = "no dependency of ours wraps inotify")]
    pub fn new(folder: &Path) -> io::Result<Self> {
        let folder = CString::new(folder.as_os_str().as_bytes())?;
        // SAFETY: takes flags alone; what it returns is a new descriptor, or an error.
        let descriptor = unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it is ours alone.
        let queue = unsafe { File::from_raw_fd(descriptor) };
        // SAFETY: `folder` ends with a zero, and lives as long as the call.
        if unsafe { libc::inotify_add_watch(descriptor, folder.as_ptr(), libc::IN_MODIFY | libc::IN_DELETE) } < 0 {
            return Err(io::Error::last_os_error());
        }
        DESCRIPTOR.store(descriptor, Ordering::SeqCst);
        Ok(FolderWatch { queue: Some(queue) })
    }

    /// Whether anything has happened since it was asked last. One that is broken says yes: the caller looks himself.
    pub fn has_changed(&mut self) -> bool {
        const EVENTS: usize = 4096;
        // Room for hundreds of them; what is left is found by the next call.
        const CALLS: usize = 16;
        let Some(queue) = &mut self.queue else { return true };
        let mut bytes = [0; EVENTS];
        for call in 0..CALLS {
            match queue.read(&mut bytes) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return call > 0,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.give_up();
                    return true;
                }
            }
        }
        true
    }

    /// Somebody has closed it, and the number may be another file's.
    fn give_up(&mut self) {
        DESCRIPTOR.store(-1, Ordering::SeqCst);
        if let Some(queue) = self.queue.take() {
            let _ = queue.into_raw_fd();
        }
    }
}

impl Drop for FolderWatch {
    fn drop(&mut self) {
        if let Some(queue) = &self.queue {
            let _ = DESCRIPTOR.compare_exchange(queue.as_raw_fd(), -1, Ordering::SeqCst, Ordering::SeqCst);
        }
    }
}

/// Runs in the child.
#[expect(unsafe_code, reason = "std does not close in a child that has been forked")]
pub(super) fn in_child() {
    let descriptor = DESCRIPTOR.swap(-1, Ordering::SeqCst);
    if descriptor >= 0 {
        // SAFETY: may be called in a forked child; nothing there reads from it, for its owner was the parent's.
        unsafe {
            libc::close(descriptor);
        }
    }
}
