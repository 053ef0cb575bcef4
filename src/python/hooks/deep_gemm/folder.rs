//! The folder in which DeepGEMM keeps its kernels: `<root>/cache/kernel.<name>.<hash>`, from the version with `deep_jit`
//! on `<root>/cache/<name>.<hash>`, where a build is finished in `<root>/tmp` and then renamed. The root is
//! `$DG_JIT_CACHE_DIR`, of several with colons the first, else a folder in the home directory.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

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
const TICK: Duration = Duration::from_millis(10);

/// What became new, or was used, since `began`; in the order of their sources.
pub fn look(began: SystemTime) -> Vec<Found> {
    let since = began.checked_sub(TICK).unwrap_or(began);
    let mut found: Vec<Found> = roots().iter().flat_map(|root| look_in(&root.join("cache"), since)).collect();
    found.sort_by_key(|found| found.began);
    found.truncate(FOUND);
    found
}

fn roots() -> Vec<PathBuf> {
    let said = std::env::var_os("DG_JIT_CACHE_DIR").filter(|said| !said.is_empty());
    match said {
        Some(said) => std::env::split_paths(&said).take(8).collect(),
        None => {
            let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
            [".deep_gemm", ".dj"].iter().map(|name| home.join(name)).collect()
        }
    }
}

fn look_in(folder: &Path, since: SystemTime) -> Vec<Found> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().take(ENTRIES);
    entries.filter_map(|entry| read(&entry.path(), since)).collect()
}

fn read(folder: &Path, since: SystemTime) -> Option<Found> {
    let age = |path: &Path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let of = |name: &str| age(&folder.join(name));
    let whole = folder.file_name()?.to_str()?;
    let (name, hash) = whole.rsplit_once('.')?;
    let name = name.strip_prefix("kernel.").unwrap_or(name);
    // The folder itself: its last change is the last file that was written to it, before it was renamed.
    let ended = of("kernel.cubin").or_else(|| age(folder))?;
    let began = of("kernel.cu").unwrap_or(ended);
    // One whose source is older was begun before the call, by somebody else: the call waited for none of it.
    let built = began >= since;
    // From `deep_jit` on this file is touched by whoever takes the kernel from here.
    let used = of(".committed").filter(|used| *used >= since && !built);
    if !built && used.is_none() {
        return None;
    }
    let (began, ended) = if built { (began, ended.max(began)) } else { (used?, used?) };
    Some(Found { name: name.to_owned(), hash: hash.to_owned(), built, began, ended })
}
