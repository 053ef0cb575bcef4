//! The folder in which DeepGEMM keeps its kernels: `<root>/cache/kernel.<name>.<hash>`, from the version with `deep_jit`
//! on `<root>/cache/<name>.<hash>`, where a build is finished in `<root>/tmp` and then renamed. The root is
//! `$DG_JIT_CACHE_DIR`, of several with colons the first, else a folder in the home directory.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::config::environment;

/// A kernel that was built, or taken from the folder, since a moment.
#[derive(Debug)]
pub struct Found {
    /// The kernel's name.
    pub name: String,
    /// What tells it from others of that name.
    pub hash: String,
    /// Else it was there, and was marked as used.
    pub built: bool,
    /// When its source was written, and when its binary.
    pub began: SystemTime,
    /// See above.
    pub ended: SystemTime,
}

/// Folders that are looked at. A server has some hundred kernels.
const ENTRIES: usize = 20_000;

/// Kernels that one call is told of.
const FOUND: usize = 64;

/// The clock of a file system may be behind by one tick of the kernel.
const TICK: Duration = Duration::from_millis(5);

/// Between the end of one build and the next of the same call, which only writes a source and asks for its hash.
const GAP: Duration = Duration::from_millis(500);

/// Between the last build of a call and its end: the kernel is loaded and launched, for which the device may be waited.
const LAST: Duration = Duration::from_secs(2);

/// No compiler is done faster: what takes less was loaded.
const FASTEST: Duration = Duration::from_millis(50);

/// What a call built that ran from `began` until now, or took from the folder; in the order in which it did.
///
/// A call builds one kernel after the other, is done with the last shortly before it ends, and waits for nothing in
/// between. Other processes' builds in the same folder, at the same time, are none of such a row. Where ranks build the
/// same kernel at once, there is one folder, by whoever was first.
pub fn look(began: SystemTime, took: Duration) -> Vec<Found> {
    let mut all: Vec<Found> =
        environment::deep_gemm_caches().iter().flat_map(|root| look_in(&root.join("cache"), began)).collect();
    all.sort_by_key(|found| found.ended);
    let (mut row, mut loaded): (Vec<Found>, Vec<Found>) = Default::default();
    let (mut next, mut within) = (began + took, LAST);
    if took >= FASTEST {
        while let Some(found) = all.pop() {
            let gap = next.duration_since(found.ended).unwrap_or_default();
            let overlaps = found.ended > next + TICK;
            if !found.built {
                loaded.push(found);
            } else if !overlaps && gap <= within && row.len() < FOUND {
                (next, within) = (found.began, GAP);
                row.push(found);
            }
        }
    }
    row.reverse();
    loaded.extend(all.into_iter().filter(|found| !found.built));
    row.extend(loaded.into_iter().take(FOUND));
    row
}

fn look_in(folder: &Path, call: SystemTime) -> Vec<Found> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().take(ENTRIES);
    entries.filter_map(|entry| read(&entry.path(), call)).collect()
}

fn read(folder: &Path, call: SystemTime) -> Option<Found> {
    let age = |path: &Path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let of = |name: &str| age(&folder.join(name));
    let whole = folder.file_name()?.to_str()?;
    let (name, hash) = whole.rsplit_once('.')?;
    let name = name.strip_prefix("kernel.").unwrap_or(name);
    // The folder itself: its last change is the last file that was written to it, before it was renamed.
    let ended = of("kernel.cubin").or_else(|| age(folder))?;
    let began = of("kernel.cu").unwrap_or(ended);
    let built = ended >= call + FASTEST;
    // From `deep_jit` on this file is touched by whoever takes the kernel from here.
    let used = touched(&folder.join(".committed"), ended).filter(|used| *used + TICK >= call && !built);
    if !built && used.is_none() {
        return None;
    }
    let (began, ended) = if built { (began, ended.max(began)) } else { (used?, used?) };
    Some(Found { name: name.to_owned(), hash: hash.to_owned(), built, began, ended })
}

/// When a file was last touched by somebody after the one who made it. Where the file system does not keep when that was,
/// some time after the binary.
fn touched(path: &Path, ended: SystemTime) -> Option<SystemTime> {
    let metadata = std::fs::metadata(path).ok()?;
    let made = metadata.created().unwrap_or(ended + 4 * TICK);
    metadata.modified().ok().filter(|touched| *touched > made + Duration::from_millis(1))
}
