//! A lock on a file that says that this process lives: the system lets go of it, whatever the process dies of, and whoever
//! shares the file sees that, in another container too.
//!
//! It belongs to the open file (`F_OFD_SETLK`), so closing another descriptor of the same file does not lose it, as it
//! would a lock of the process (`F_SETLK`). A forked child has the open file as well; it closes its own at once, or the
//! dead parent would seem to live.

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;

use crate::process::concurrency::Ordering;
// Not loom's: nothing is modelled here, and a static of loom's cannot be made so.
use std::sync::atomic::{AtomicI32, AtomicU64};

static DESCRIPTOR: AtomicI32 = AtomicI32::new(-1);
static INODE: AtomicU64 = AtomicU64::new(0);

/// Says that we live, as long as it is kept.
#[derive(Debug)]
pub struct Locked(ManuallyDrop<File>, u64);

impl Locked {
    /// Locks a file of this process's own. One in a process: a forked child closes one.
    ///
    /// # Errors
    /// Its file system has no locks.
    pub fn new(file: File) -> io::Result<Self> {
        let mut lock = whole_file();
        control(&file, libc::F_OFD_SETLK, &mut lock)?;
        let inode = file.metadata()?.ino();
        INODE.store(inode, Ordering::SeqCst);
        DESCRIPTOR.store(file.as_raw_fd(), Ordering::SeqCst);
        Ok(Locked(ManuallyDrop::new(file), inode))
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        let descriptor = self.0.as_raw_fd();
        // A fork from here on must not close what is somebody else's by then.
        let _ = DESCRIPTOR.compare_exchange(descriptor, -1, Ordering::SeqCst, Ordering::SeqCst);
        close_if(descriptor, self.1);
    }
}

/// Whether somebody holds the lock of a file.
///
/// # Errors
/// Its file system has no locks.
pub fn is_held(file: &File) -> io::Result<bool> {
    let mut lock = whole_file();
    control(file, libc::F_OFD_GETLK, &mut lock)?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

/// Runs in the child: its copy is closed, and the parent's lock stays.
pub(super) fn in_child() {
    let descriptor = DESCRIPTOR.swap(-1, Ordering::SeqCst);
    if descriptor >= 0 {
        close_if(descriptor, INODE.load(Ordering::SeqCst));
    }
}

/// A daemon closes all descriptors that it finds, and the number may be another file's by now.
#[expect(unsafe_code, reason = "std closes without a look, and not in a child that has been forked")]
fn close_if(descriptor: RawFd, inode: u64) {
    // SAFETY: `known` is plain memory that the call fills; both calls may be made in a forked child, and a descriptor that
    // is closed already makes them fail.
    unsafe {
        let mut known = std::mem::zeroed::<libc::stat>();
        if libc::fstat(descriptor, &raw mut known) == 0 && known.st_ino == inode {
            libc::close(descriptor);
        }
    }
}

#[expect(unsafe_code, reason = "a structure of C, whose fields differ between systems")]
fn whole_file() -> libc::flock {
    // SAFETY: plain numbers, for which zero is a value; this kind of lock wants `l_pid` to be 0.
    let mut lock = unsafe { std::mem::zeroed::<libc::flock>() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock
}

#[expect(unsafe_code, reason = "std's own lock is one of another kind, of which nobody can be asked who has it")]
fn control(file: &File, command: libc::c_int, lock: &mut libc::flock) -> io::Result<()> {
    // SAFETY: the descriptor is open while `file` lives, and `lock` is one initialised structure.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, std::ptr::from_mut(lock)) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
