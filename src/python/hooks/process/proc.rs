//! What Linux tells an ordinary process of its children, in /proc. Each may be gone at the next moment.

use std::fs;
use std::io::Read;

/// Bytes of a command line that are read.
const COMMAND: u64 = 1 << 16;

/// Threads and children of one process that are looked at.
const MANY: usize = 512;

/// A process as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// When it was started, in ticks since the machine was. Tells it from a later one with its number.
    pub born: u64,
    /// It has ended, and waits for its parent to ask.
    pub ended: bool,
    /// How it ended, where the system tells.
    pub exit: Option<i32>,
}

/// The words of its command line. None: it is gone, or has ended.
pub fn command(pid: i32) -> Option<Vec<String>> {
    let mut bytes = Vec::new();
    fs::File::open(format!("/proc/{pid}/cmdline")).ok()?.take(COMMAND).read_to_end(&mut bytes).ok()?;
    let words = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    (!words.is_empty())
        .then(|| words.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect())
}

/// None: it is gone.
pub fn status(pid: i32) -> Option<Status> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// `pid (name) state ...`: a name may have blanks and brackets.
fn parse(text: &str) -> Option<Status> {
    let (_, rest) = text.rsplit_once(')')?;
    let words: Vec<&str> = rest.split_ascii_whitespace().collect();
    let ended = matches!(*words.first()?, "Z" | "X" | "x");
    // The 22nd and the 52nd word of the line.
    let exit = words.get(49).and_then(|word| word.parse().ok()).map(exit_code).filter(|_| ended);
    Some(Status { born: words.get(19)?.parse().ok()?, ended, exit })
}

/// As Python tells it: of a signal the negative number.
pub fn exit_code(status: i32) -> i32 {
    if status & 0x7f == 0 { (status >> 8) & 0xff } else { -(status & 0x7f) }
}

/// The processes that it has started and that have not been waited for. None where the kernel does not list them.
pub fn children(pid: i32) -> Vec<i32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten().take(MANY);
    threads.flat_map(|thread| list(&thread.path().join("children").to_string_lossy())).take(MANY).collect()
}

/// Those of one of our own threads.
pub fn children_of_thread(thread: i64) -> Vec<i32> {
    list(&format!("/proc/self/task/{thread}/children"))
}

fn list(path: &str) -> Vec<i32> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_ascii_whitespace().take(MANY).filter_map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::{command, exit_code, parse, status};

    #[test]
    fn a_name_may_look_like_the_rest_of_the_line() {
        let numbers = (4..=51).map(|number| number.to_string()).collect::<Vec<_>>().join(" ");
        let of =
            |state: &str| parse(&format!("7 (a) S 1) {state} {numbers} 256")).map(|at| (at.born, at.ended, at.exit));
        assert_eq!(of("Z"), Some((22, true, Some(1))));
        assert_eq!(of("S"), Some((22, false, None)));
        assert_eq!(parse("7"), None);
    }

    #[test]
    fn exit_codes_are_pythons() {
        assert_eq!([0, 256, 9, 139].map(exit_code), [0, 1, -9, -11]);
    }

    #[test]
    fn this_process_is_there_and_one_that_cannot_be_is_not() {
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        assert!(status(own).is_some_and(|status| !status.ended));
        assert!(command(own).is_some_and(|words| !words.is_empty()));
        assert_eq!((status(-1), command(-1)), (None, None));
    }
}
