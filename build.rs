//! Tells the program which commit it was built from: `jitspan --version`.

use std::path::Path;
use std::process::Command;

fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let folder = Path::new(&folder);
    println!("cargo:rerun-if-changed=build.rs");
    // Without this file (a source distribution) cargo would run us at every build.
    if let Some(head) = git(folder, &["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo:rerun-if-changed={}", folder.join(head).display());
    }
    let commit = from_git(folder).or_else(|| from_cargo(folder)).unwrap_or_else(|| "unknown commit".to_owned());
    println!("cargo:rustc-env=COMMIT={commit}");
    #[cfg(feature = "python")]
    refuse_free_threaded();
}

/// No wheel of ours is installed there (they are abi3), so pip builds the source. What is told by the interpreter's lock
/// (who is inside, that natives do not meet) would not hold, and no such Python has been at hand to test with.
#[cfg(feature = "python")]
fn refuse_free_threaded() {
    use pyo3_build_config::BuildFlag;
    if pyo3_build_config::get().build_flags().0.contains(&BuildFlag::Py_GIL_DISABLED) {
        println!("cargo::error=jitspan does not work with a free-threaded Python yet: install it in one with the GIL");
    }
}

/// Only of a repository that is ours: a source distribution may lie unpacked in somebody else's.
fn from_git(folder: &Path) -> Option<String> {
    folder.join(".git").exists().then(|| git(folder, &["rev-parse", "--short=12", "HEAD"])).flatten()
}

/// `cargo package` writes down what it was made from.
fn from_cargo(folder: &Path) -> Option<String> {
    let written = std::fs::read_to_string(folder.join(".cargo_vcs_info.json")).ok()?;
    let hash = written.split("\"sha1\"").nth(1)?.split('"').nth(1)?;
    Some(hash.get(..12)?.to_owned())
}

fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned()).filter(|text| !text.is_empty())
}
