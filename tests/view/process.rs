//! `jitspan view` in a process of its own, on ports the system chose, and the ways to talk to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tonic::transport::{Channel, Endpoint};

const PATIENCE: Duration = Duration::from_secs(30);

/// This test binary stands in for the console script: asked for one ignored test, it becomes `jitspan`.
pub fn spawn(arguments: &[&str]) -> Child {
    spawn_in(Command::new(std::env::current_exe().unwrap()), arguments)
}

fn spawn_in(mut command: Command, arguments: &[&str]) -> Child {
    command.args(["--ignored", "--exact", "--nocapture", "--quiet", "jitspan_itself"]);
    command.env("JITSPAN_TEST_ARGUMENTS", arguments.join("\n")).env_remove("COLUMNS");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The other side of [`spawn`].
pub fn become_jitspan() {
    let arguments = std::env::var("JITSPAN_TEST_ARGUMENTS").unwrap();
    let arguments = arguments.split('\n').filter(|argument| !argument.is_empty());
    std::process::exit(jitspan::cli::main(["jitspan", "view"].into_iter().chain(arguments).map(Into::into)).into());
}

pub struct Viewer {
    child: Child,
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    output: Option<BufReader<ChildStdout>>,
    errors: mpsc::Receiver<String>,
}

pub struct Answer {
    pub status: u16,
    pub media_type: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

impl Viewer {
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_in(Command::new(std::env::current_exe().unwrap()), arguments)
    }

    /// With so many file descriptors and no more.
    pub fn start_with_descriptors(most: u32, arguments: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {most}; exec \"$0\" \"$@\"")]).arg(std::env::current_exe().unwrap());
        Self::start_in(shell, arguments)
    }

    fn start_in(command: Command, arguments: &[&str]) -> Self {
        let ports = ["--grpc-port", "0", "--http-port", "0"];
        let settle: &[&str] = if arguments.contains(&"--settle") { &[] } else { &["--settle", "0.3"] };
        let mut child = spawn_in(command, &[&ports, settle, arguments].concat());
        let mut output = BufReader::new(child.stdout.take().unwrap());
        // What the test harness says before it hands over: an empty line, and how many tests it runs.
        output.read_line(&mut String::new()).unwrap();
        output.read_line(&mut String::new()).unwrap();

        let (sender, errors) = mpsc::channel();
        let reader = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || reader.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let ready = errors.recv_timeout(PATIENCE).expect("a line that says it listens");
        let addresses = ready.strip_prefix("jitspan view: listening on grpc ").expect(&ready);
        let (grpc, http) = addresses.split_once(", http ").expect(&ready);
        Self { grpc: grpc.parse().unwrap(), http: http.parse().unwrap(), child, output: Some(output), errors }
    }

    pub async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.grpc)).unwrap().connect().await.unwrap()
    }

    pub async fn trace_client(&self) -> TraceServiceClient<Channel> {
        TraceServiceClient::new(self.channel().await)
    }

    pub fn connect(&self) -> TcpStream {
        TcpStream::connect(self.http).unwrap()
    }

    pub fn connect_grpc(&self) -> TcpStream {
        TcpStream::connect(self.grpc).unwrap()
    }

    /// The most memory that it has had so far.
    pub fn peak_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }

    pub fn post(&self, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        self.post_to(self.http, path, headers, body)
    }

    pub fn post_to(&self, address: SocketAddr, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let length = body.len();
        write!(stream, "POST {path} HTTP/1.1\r\nHost: viewer\r\nConnection: close\r\n").unwrap();
        write!(stream, "{headers}Content-Length: {length}\r\n\r\n").unwrap();
        // Who refuses a body does not read all of it.
        let _ = stream.write_all(body);
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        assert!(read.is_ok() || !answer.is_empty(), "{read:?}");
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("headers and a body");
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let media_type = head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or_default();
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            media_type: media_type.to_owned(),
            body: answer[end + 4..].to_vec(),
        }
    }

    pub fn next_line(&mut self) -> serde_json::Value {
        let line = self.next_raw_line();
        serde_json::from_str(&line).expect(&line)
    }

    pub fn next_raw_line(&mut self) -> String {
        let mut line = String::new();
        self.output.as_mut().expect("an output").read_line(&mut line).unwrap();
        line
    }

    /// Sends a signal; returns what it said since it began to listen.
    pub fn stop_and_say_all(mut self, signal: &str) -> Vec<String> {
        // What was sent has been taken, but perhaps not looked at.
        std::thread::sleep(Duration::from_millis(500));
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        self.child.wait().unwrap();
        self.errors.iter().collect()
    }

    pub fn close_output(&mut self) {
        self.output = None;
    }

    /// Sends a signal; returns the exit code, the output not yet read, and the last line of the errors.
    pub fn stop(mut self, signal: &str) -> (Option<i32>, String, String) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        let mut output = String::new();
        self.output.take().expect("an output").read_to_string(&mut output).unwrap();
        let (code, errors) = self.wait();
        (code, output, errors)
    }

    /// Waits for its end; returns the exit code and the last line of the errors.
    pub fn wait(&mut self) -> (Option<i32>, String) {
        let code = self.child.wait().unwrap().code();
        (code, self.errors.iter().last().unwrap_or_default())
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
