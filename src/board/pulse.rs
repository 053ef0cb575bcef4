//! While something compiles after warm-up, a thread of ours sets the time of the process's file each second. So it is known
//! how long a process that was killed had compiled, and a peer in another container sees that one lives. Now and then it
//! also looks whether another process was killed in the middle of a compile.
//!
//! It begins with the first such stall, and waits for the next one when that has ended. It runs no Python.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use crate::process;

const EVERY: Duration = Duration::from_secs(1);
/// Between two looks at the others, while something compiles.
const LOOKS: Duration = Duration::from_secs(10);

/// The way to the thread.
#[derive(Debug)]
pub struct Pulse {
    going_on: Arc<AtomicUsize>,
    wake: SyncSender<()>,
}

impl Pulse {
    /// Starts the thread. None: the system has no room for one, and times are less exact.
    pub fn start(file: PathBuf, look: fn()) -> Option<Self> {
        let going_on = Arc::new(AtomicUsize::new(0));
        let (wake, woken) = sync_channel(1);
        let counter = Arc::clone(&going_on);
        process::spawn("jitspan-board", move || beat(&file, &counter, &woken, look)).ok()?;
        Some(Pulse { going_on, wake })
    }

    /// Something begins.
    pub fn begin(&self) {
        if self.going_on.fetch_add(1, Ordering::Relaxed) == 0 {
            // One that is full has been woken already.
            let _ = self.wake.try_send(());
        }
    }

    /// Something has ended.
    pub fn end(&self) {
        self.going_on.fetch_sub(1, Ordering::Relaxed);
    }
}

fn beat(file: &PathBuf, going_on: &AtomicUsize, woken: &Receiver<()>, look: fn()) {
    let mut looked = Instant::now();
    while woken.recv().is_ok() {
        loop {
            std::thread::sleep(EVERY);
            if looked.elapsed() >= LOOKS {
                looked = Instant::now();
                look();
            }
            if going_on.load(Ordering::Relaxed) == 0 {
                break;
            }
            // Opened anew each time: a descriptor that is kept may be somebody else's by now.
            let file = OpenOptions::new().write(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).open(file);
            let _ = file.and_then(|file| file.set_modified(SystemTime::now()));
        }
    }
}
