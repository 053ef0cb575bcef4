//! A gRPC server that is written frame by frame, so that it can do what no server's library does.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// What is done with one request.
#[derive(Debug, Clone)]
pub enum Act {
    /// It is taken.
    Take,
    /// Trailers alone, with this code and these details as they stand.
    Refuse(u8, String),
    /// The server leaves: this request was not processed (RFC 9113 6.8), and the connection is closed.
    GoAway(u32),
    /// The stream is reset, for this reason.
    Reset(u32),
    /// The answer begins, and the stream ends without trailers.
    NoTrailers,
    /// The connection is closed without a word.
    Close,
}

/// Takes every request that it has no other order for.
#[derive(Clone)]
pub struct Frames {
    pub address: SocketAddr,
    acts: Arc<Mutex<VecDeque<Act>>>,
    taken: Arc<Mutex<usize>>,
}

impl Frames {
    pub fn start(acts: impl IntoIterator<Item = Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let acts = Arc::new(Mutex::new(acts.into_iter().collect()));
        let frames = Frames { address: listener.local_addr().unwrap(), acts, taken: Arc::default() };
        let server = frames.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let server = server.clone();
                std::thread::spawn(move || drop(server.serve(stream)));
            }
        });
        frames
    }

    /// Requests that were taken.
    pub fn taken(&self) -> usize {
        *self.taken.lock().unwrap()
    }

    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut preface = [0; 24];
        stream.read_exact(&mut preface)?;
        send(&mut stream, SETTINGS, 0, 0, &[])?;
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head)?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let number = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let (kind, flags) = (head[3], head[4]);
            let mut payload = vec![0; length as usize];
            stream.read_exact(&mut payload)?;
            match kind {
                SETTINGS if flags & ACK == 0 => send(&mut stream, SETTINGS, ACK, 0, &[])?,
                PING if flags & ACK == 0 => send(&mut stream, PING, ACK, 0, &payload)?,
                DATA => {
                    if length > 0 {
                        send(&mut stream, WINDOW_UPDATE, 0, 0, &length.to_be_bytes())?;
                    }
                    if flags & END_STREAM != 0 {
                        let act = self.acts.lock().unwrap().pop_front().unwrap_or(Act::Take);
                        self.act(act, number, &mut stream)?;
                    }
                }
                _ => {}
            }
        }
    }

    fn act(&self, act: Act, number: u32, stream: &mut TcpStream) -> io::Result<()> {
        let answer = literal(&[(":status", "200"), ("content-type", "application/grpc")]);
        let leave = || Err(io::Error::other("closed"));
        match act {
            Act::Take => {
                *self.taken.lock().unwrap() += 1;
                send(stream, HEADERS, END_HEADERS, number, &answer)?;
                send(stream, DATA, 0, number, &[0; 5])?;
                send(stream, HEADERS, END_HEADERS | END_STREAM, number, &literal(&[("grpc-status", "0")]))
            }
            Act::Refuse(code, details) => {
                let code = code.to_string();
                let trailers = literal(&[
                    (":status", "200"),
                    ("content-type", "application/grpc"),
                    ("grpc-status", &code),
                    ("grpc-status-details-bin", &details),
                ]);
                send(stream, HEADERS, END_HEADERS | END_STREAM, number, &trailers)
            }
            Act::GoAway(reason) => {
                let last = number.saturating_sub(2);
                send(stream, GOAWAY, 0, 0, &[last.to_be_bytes(), reason.to_be_bytes()].concat())?;
                std::thread::sleep(Duration::from_millis(50));
                leave()
            }
            Act::Reset(reason) => send(stream, RST_STREAM, 0, number, &reason.to_be_bytes()),
            Act::NoTrailers => {
                send(stream, HEADERS, END_HEADERS, number, &answer)?;
                send(stream, DATA, END_STREAM, number, &[])
            }
            Act::Close => leave(),
        }
    }
}

fn send(stream: &mut TcpStream, kind: u8, flags: u8, number: u32, payload: &[u8]) -> io::Result<()> {
    let length = (payload.len() as u32).to_be_bytes();
    let head = [&length[1..], &[kind, flags], &number.to_be_bytes()].concat();
    stream.write_all(&[&head[..], payload].concat())
}

/// HPACK without a table and without packing (RFC 7541 6.2.2); each text is shorter than 127 bytes.
fn literal(headers: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    headers.iter().flat_map(|(name, value)| [&[0][..], &text(name), &text(value)].concat()).collect()
}
