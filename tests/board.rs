//! The board from outside: files as processes leave them, and what `jitspan top` and `jitspan busy` make of them.
#![cfg(feature = "view")]

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant, SystemTime};

use jitspan::board::claim::{Ended, claim};
use jitspan::board::life::Identity;
use jitspan::board::record::{About, Now, Record, Waiting, Who};
use jitspan::board::{Board, page};
use jitspan::clock::unix;
use jitspan::config::BoardPlace;
use jitspan::scope::Scope;
use jitspan::{CompileEvent, Kernel, Kind};
use serde_json::Value;
use tempfile::TempDir;

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const SECOND: Duration = Duration::from_secs(1);

/// This test binary stands in for the console script: asked for one ignored test, it becomes `jitspan`.
#[test]
#[ignore = "the child process of the other tests"]
fn jitspan_itself() {
    let arguments = std::env::var("JITSPAN_TEST_ARGUMENTS").unwrap();
    let arguments = ["jitspan"].into_iter().chain(arguments.split('\n'));
    std::process::exit(jitspan::cli::main(arguments.map(Into::into)).into());
}

fn jitspan(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", "--quiet", "jitspan_itself"]);
    command.env("JITSPAN_TEST_ARGUMENTS", arguments.join("\n")).env("JITSPAN_BOARD", folder).env_remove("COLUMNS");
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    // The test harness says first that it runs one test.
    let text = String::from_utf8(stdout).unwrap();
    let text = text.trim_start_matches('\n').strip_prefix("running 1 test\n").unwrap_or(&text).to_owned();
    (status.code().unwrap(), text, String::from_utf8(stderr).unwrap())
}

fn rows(folder: &Path) -> Vec<Value> {
    let (status, text, errors) = jitspan(folder, &["top", "--json"]);
    assert_eq!((status, &*errors), (0, ""));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
    folder
}

fn now(kernel: &str) -> Now {
    Now {
        runtime: "triton".to_owned(),
        kind: "compile".to_owned(),
        kernel: kernel.to_owned(),
        started: unix(SystemTime::now() - 7 * SECOND),
        armed: true,
        waiting: 2,
        span: Some("vllm.execute_model".to_owned()),
        requests: vec![Waiting { id: Some("cmpl-1".to_owned()), traceparent: Some(TRACEPARENT.to_owned()) }],
        ..Now::default()
    }
}

fn record(process: Identity, kernel: &str) -> Record {
    let who = Who { service: "serve".to_owned(), rank: Some(3), ..Who::default() };
    Record { process, program: "python".to_owned(), who, armed: Some(1), now: vec![now(kernel)], ..Record::default() }
}

/// A process that has ended.
fn dead() -> Identity {
    let mut child = Command::new("true").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    Identity { pid, started: 1, ..Identity::own() }
}

fn leave(folder: &Path, name: &str, record: &Record) -> PathBuf {
    let path = folder.join(format!("{name}.board"));
    let file = File::create(&path).unwrap();
    file.set_len(page::FILE as u64).unwrap();
    let (at, page) = page::write(record, 1);
    file.write_all_at(&page, at).unwrap();
    path
}

fn age(path: &Path, age: Duration) {
    File::options().write(true).open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
}

fn claimed(folder: &Path) -> Vec<Ended> {
    claim(folder, Path::new(""), &Identity::own(), "serve").0
}

#[test]
fn top_and_busy_show_what_a_living_process_compiles_for_whom_and_since_when() {
    let folder = folder();
    leave(folder.path(), "one", &record(Identity::own(), "attention"));
    let (status, text, _) = jitspan(folder.path(), &["top", "--once"]);
    assert_eq!(status, 0);
    assert!(text.starts_with("1 process, 1 of them compiling"), "{text}");
    for said in
        ["serve", "triton compile attention for 7.", "2 requests wait", "request cmpl-1, trace 0af7651916cd43dd"]
    {
        assert!(text.contains(said), "{said}: {text}");
    }
    let [row] = &rows(folder.path())[..] else { panic!() };
    assert_eq!((&row["state"], &row["rank"], &row["pid"]), (&"alive".into(), &3.into(), &std::process::id().into()));
    let compiling = &row["compiling"][0];
    assert_eq!((&compiling["kernel"], &compiling["waiting"]), (&"attention".into(), &2.into()));
    assert_eq!(compiling["requests"][0]["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert!(compiling["duration_s"].as_f64().unwrap() >= 7.0);

    let (status, text, _) = jitspan(folder.path(), &["busy"]);
    assert!(status == 0 && text.contains("triton compile attention"), "{status} {text}");
    // Of what started it, too.
    let own = std::process::id().to_string();
    assert_eq!(jitspan(folder.path(), &["busy", "--pid", &own]).0, 0);
}

#[test]
fn busy_tells_idle_from_what_it_cannot_know() {
    let folder = folder();
    let (status, _, errors) = jitspan(folder.path(), &["busy"]);
    assert_eq!((status, &*errors), (2, "jitspan: no process on the board: nobody here has jitspan switched on\n"));
    let idle = Record { now: Vec::new(), ..record(Identity::own(), "") };
    leave(folder.path(), "idle", &idle);
    assert_eq!(jitspan(folder.path(), &["busy"]), (1, String::new(), String::new()));
    // Process 1 has started none of ours that is on the board of this folder, or it has: never an error of another kind.
    let (status, _, errors) = jitspan(folder.path(), &["busy", "--pid", "4194304"]);
    assert!(status == 2 && errors.contains("neither process 4194304 nor one that it has started"), "{status} {errors}");
    assert_eq!(jitspan(folder.path(), &["busy", "--pid", "many"]).0, 2);
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    let (status, _, errors) = jitspan(folder.path(), &["busy"]);
    assert!(status == 2 && errors.contains("others may write it"), "{status} {errors}");
    assert_eq!(jitspan(Path::new("off"), &["busy"]).0, 2);
    assert_eq!(jitspan(Path::new("off"), &["top", "--once"]).0, 1);
}

#[test]
fn a_dead_process_is_claimed_once_and_shown_as_ended() {
    let folder = folder();
    let path = leave(folder.path(), "dead", &record(dead(), "attention"));
    assert_eq!(rows(folder.path())[0]["state"], "ended");
    let barrier = Arc::new(Barrier::new(6));
    let claims = (0..6).map(|_| {
        let (barrier, folder) = (Arc::clone(&barrier), folder.path().to_owned());
        std::thread::spawn(move || {
            barrier.wait();
            claimed(&folder)
        })
    });
    let claims: Vec<_> = claims.collect();
    let ended: Vec<Ended> = claims.into_iter().flat_map(|claim| claim.join().unwrap()).collect();
    let [ended] = &ended[..] else { panic!("{ended:?}") };
    assert_eq!(ended.record.now[0].kernel, "attention");
    assert!(!path.exists());
    let row = &rows(folder.path())[0];
    assert_eq!((&row["state"], &row["spans_sent"]), (&"ended".into(), &true.into()));
    assert_eq!(jitspan(folder.path(), &["busy"]).0, 2, "nobody who lives is there");
    // An hour later it is cleaned away.
    age(&path.with_extension("ended"), 3601 * SECOND);
    claimed(folder.path());
    assert!(rows(folder.path()).is_empty());
}

#[test]
fn a_number_that_was_given_again_is_another_process() {
    let folder = folder();
    let former = Identity { started: 1, ..Identity::own() };
    leave(folder.path(), "former", &record(former, "attention"));
    leave(folder.path(), "living", &record(Identity::own(), "attention"));
    let states: Vec<_> = rows(folder.path()).iter().map(|row| row["state"].clone()).collect();
    assert_eq!(states, ["alive", "ended"]);
    assert_eq!(claimed(folder.path()).len(), 1);
}

#[test]
fn who_may_live_is_never_called_dead() {
    let folder = folder();
    let elsewhere = Identity { namespace: "pid:[1]".to_owned(), ..dead() };
    let paths = [
        leave(folder.path(), "boot", &record(Identity { boot: "another".to_owned(), ..dead() }, "k")),
        leave(folder.path(), "none", &record(Identity::default(), "k")),
        leave(folder.path(), "unlocked", &record(elsewhere.clone(), "k")),
        // Heard of a moment ago: it may have lost its lock.
        leave(folder.path(), "lately", &record(Identity { locked: true, ..elsewhere.clone() }, "k")),
    ];
    for (path, age_of) in paths.iter().zip([60, 60, 60, 5]) {
        age(path, age_of * SECOND);
    }
    for row in rows(folder.path()) {
        assert_eq!(row["state"], "unknown");
        assert!(row["why_unknown"].is_string());
    }
    let (_, text, _) = jitspan(folder.path(), &["top", "--once"]);
    assert!(text.contains("whether it lives is not known: it runs in another PID namespace"), "{text}");
    assert_eq!(claimed(folder.path()), []);
    // In another container, without its lock, and silent: it was killed.
    age(&paths[3], 11 * SECOND);
    assert_eq!(claimed(folder.path()).len(), 1);
}

#[test]
fn a_lock_says_that_a_process_in_another_container_lives() {
    let folder = folder();
    let board = Arc::new(Board::default());
    board.open(&BoardPlace::Folder(folder.path().to_owned()), "serve");
    board.armed(1);
    let about = About { runtime: "triton", kind: Kind::Compile, kernel: "attention" };
    let entry = board.begin(about, &Scope::orphan(5), (5, false, true)).unwrap();
    let path = board.path().unwrap();
    let elsewhere = Identity { namespace: "pid:[1]".to_owned(), ..Identity::own() };
    age(&path, 60 * SECOND);
    let there = claim(folder.path(), Path::new(""), &elsewhere, "serve");
    assert_eq!(there, (vec![], vec![]));
    assert_eq!(rows(folder.path())[0]["state"], "alive");

    let mut event = CompileEvent::new(Kind::Compile, "triton", Kernel::named("attention"));
    event.duration = 2 * SECOND;
    board.ended(Some(entry), &event, (3, true));
    let row = &rows(folder.path())[0];
    assert_eq!(row["compiling"], Value::Array(vec![]));
    assert_eq!(row["lost"], serde_json::json!({"compiles": 1, "seconds": 2.0, "requests": 3}));
    board.close();
    assert!(!path.exists() && rows(folder.path()).is_empty());
}

#[test]
fn what_is_no_record_is_passed_over_and_nothing_of_it_is_trusted() {
    let folder = folder();
    let whole = fs::read(leave(folder.path(), "whole", &record(dead(), "attention"))).unwrap();
    let broken = |name: &str, bytes: &[u8]| fs::write(folder.path().join(format!("{name}.board")), bytes).unwrap();
    broken("truncated", &whole[..5000]);
    broken("empty", b"");
    broken("long", &[whole.clone(), vec![0]].concat());
    broken("foreign", &vec![b'x'; page::FILE]);
    let edited = |at: usize| {
        let mut bytes = whole.clone();
        bytes[page::FILE / 2 + at] ^= 1;
        bytes
    };
    broken("torn", &edited(100));
    broken("version", &edited(8));
    fs::create_dir(folder.path().join("folder.board")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", folder.path().join("link.board")).unwrap();
    let fifo = folder.path().join("fifo.board");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    assert_eq!(rows(folder.path()).len(), 1);
    let (_, text, _) = jitspan(folder.path(), &["top", "--once"]);
    for said in ["truncated.board: it is 5000 bytes long", "torn.board: neither", "version.board: it has version 0"] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert_eq!(claimed(folder.path()).len(), 1);
    // After a day what nobody can read goes, and what is no file stays.
    for name in ["truncated", "foreign", "torn"] {
        age(&folder.path().join(format!("{name}.board")), 25 * 3600 * SECOND);
    }
    claimed(folder.path());
    assert!(!folder.path().join("torn.board").exists() && fifo.exists());
}

#[test]
fn a_folder_that_others_may_write_is_neither_written_nor_believed() {
    let folder = folder();
    leave(folder.path(), "one", &record(dead(), "attention"));
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    let board = Board::default();
    board.open(&BoardPlace::Folder(folder.path().to_owned()), "serve");
    assert_eq!(board.path(), None);
    let [notice] = &board.notices()[..] else { panic!() };
    assert!(notice.contains("the board is off") && notice.ends_with("others may write it"), "{notice}");
    assert_eq!(claimed(folder.path()), []);
    let (status, text, errors) = jitspan(folder.path(), &["top", "--once"]);
    assert!(status == 1 && text.is_empty() && errors.contains("others may write it"), "{status} {text} {errors}");
}

#[test]
fn another_service_does_not_tell_of_it() {
    let folder = folder();
    leave(folder.path(), "one", &record(dead(), "attention"));
    assert_eq!(claim(folder.path(), Path::new(""), &Identity::own(), "another").0, []);
    assert_eq!(claimed(folder.path()).len(), 1);
}

#[test]
fn what_ended_with_nothing_to_say_is_cleaned_away() {
    let folder = folder();
    let idle = Record { now: Vec::new(), ..record(dead(), "") };
    let warm_up = Record { now: vec![Now { armed: false, ..now("k") }], ..record(dead(), "") };
    leave(folder.path(), "idle", &idle);
    leave(folder.path(), "warm-up", &warm_up);
    assert_eq!(claimed(folder.path()), []);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_thousand_processes_are_read_at_once() {
    let folder = folder();
    let dead = dead();
    for number in 0..1000 {
        let mut record = record(Identity::own(), &format!("kernel_{number}"));
        if number % 10 == 0 {
            record.process = dead.clone();
        }
        leave(folder.path(), &number.to_string(), &record);
    }
    let began = Instant::now();
    assert_eq!(rows(folder.path()).len(), 1000);
    let took = began.elapsed();
    let began = Instant::now();
    // At most so many at one start; the rest is the next one's.
    assert_eq!(claimed(folder.path()).len(), 64);
    println!("1,000 files: top {took:?}, claim {:?}", began.elapsed());
    assert!(took < 5 * SECOND && began.elapsed() < 5 * SECOND);
    assert_eq!(claimed(folder.path()).len(), 36);
}

#[test]
fn a_file_that_somebody_took_away_is_made_again() {
    let folder = folder();
    let board = Board::default();
    board.open(&BoardPlace::Folder(folder.path().to_owned()), "serve");
    fs::remove_file(board.path().unwrap()).unwrap();
    board.armed(1);
    assert_eq!(rows(folder.path())[0]["state"], "alive");
    assert_eq!(board.notices(), Vec::<String>::new());
    board.close();
}

#[test]
fn text_of_strangers_cannot_steer_a_terminal() {
    let folder = folder();
    let mut record = record(Identity::own(), "\u{1b}[2Jevil\n");
    record.program = "\u{1b}]0;title\u{7}".to_owned();
    leave(folder.path(), "one", &record);
    for arguments in [&["top", "--once"][..], &["busy"], &["top", "--json"]] {
        let (_, text, _) = jitspan(folder.path(), arguments);
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'), "{text:?}");
    }
}

#[test]
fn a_reader_never_believes_half_a_record_while_it_is_written() {
    let folder = folder();
    let path = leave(folder.path(), "one", &record(Identity::own(), "0"));
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let writer = std::thread::spawn(move || {
        for number in 2..5_000 {
            let mut record = record(Identity::default(), &number.to_string());
            record.past_count = number;
            let (at, page) = page::write(&record, number);
            file.write_all_at(&page, at).unwrap();
        }
    });
    let (mut last, mut reads) = (0, 0);
    while !writer.is_finished() {
        // Both pages may have been written meanwhile: then there is nothing to believe, and it is read again.
        if let Ok(read) = page::read(&fs::read(&path).unwrap()) {
            assert_eq!(read.now[0].kernel, read.past_count.to_string());
            assert!(read.past_count >= last, "{} after {last}", read.past_count);
            last = read.past_count;
            reads += 1;
        }
    }
    writer.join().unwrap();
    assert!(reads > 10, "{reads}");
}
