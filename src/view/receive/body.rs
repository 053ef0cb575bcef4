//! Reads the body of a request: whole, in time, and only as long as all bodies together fit. Unpacks it, too.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use super::{MAX_MESSAGE_BYTES, Refusal};

/// How long a body may take from its headers to its last byte.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Bytes of all bodies that are on their way.
const MAX_BYTES: usize = 4 * MAX_MESSAGE_BYTES;

/// What may be on its way, shared by all connections to both ports.
#[derive(Clone, Debug, Default)]
pub struct Budget(Arc<AtomicUsize>);

/// A body, and its share of the budget.
#[derive(Debug)]
pub struct Held {
    /// What came.
    pub bytes: Vec<u8>,
    budget: Budget,
}

impl Budget {
    fn take(&self, bytes: usize) -> Result<(), Refusal> {
        let add = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= MAX_BYTES);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).map(drop).map_err(|_| Refusal::Busy)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// Reads a body.
///
/// # Errors
/// [`Refusal::TooLarge`], [`Refusal::Busy`], [`Refusal::Late`], or [`Refusal::Unreadable`] where the connection ended.
pub async fn read(body: Incoming, budget: &Budget) -> Result<Held, Refusal> {
    let limit = MAX_MESSAGE_BYTES as u64;
    if body.size_hint().lower() > limit {
        return Err(Refusal::TooLarge);
    }
    tokio::time::timeout(DEADLINE, read_frames(body, budget)).await.unwrap_or(Err(Refusal::Late))
}

async fn read_frames(mut body: Incoming, budget: &Budget) -> Result<Held, Refusal> {
    let mut held = Held { bytes: Vec::new(), budget: budget.clone() };
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal::Unreadable(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        if held.bytes.len() + data.len() > MAX_MESSAGE_BYTES {
            return Err(Refusal::TooLarge);
        }
        budget.take(data.len())?;
        held.bytes.extend_from_slice(&data);
    }
    Ok(held)
}

/// Members of one gzip body. A sender has one, or one for each buffer; a million of nothing would take half a minute.
const MAX_MEMBERS: usize = 1000;

/// Unpacks gzip, of several members as RFC 1952 allows.
///
/// # Errors
/// [`Refusal::TooLarge`] or [`Refusal::Unreadable`].
pub fn unzip(packed: &[u8]) -> Result<Vec<u8>, Refusal> {
    let (mut rest, mut unpacked) = (packed, Vec::new());
    for _ in 0..MAX_MEMBERS {
        let mut member = flate2::bufread::GzDecoder::new(rest);
        unpack("gzip", &mut member, &mut unpacked)?;
        rest = member.into_inner();
        if rest.is_empty() {
            return Ok(unpacked);
        }
    }
    Err(Refusal::Unreadable(format!("it has more than {MAX_MEMBERS} gzip members")))
}

/// Unpacks Zstandard.
///
/// # Errors
/// As [`unzip`].
pub fn unzstd(packed: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut decoder = zstd::Decoder::new(packed).map_err(|error| unreadable("zstd", &error))?;
    // The window is memory that the sender asks for: 8 MiB, as the format recommends to decoders.
    decoder.window_log_max(23).map_err(|error| unreadable("zstd", &error))?;
    let mut unpacked = Vec::new();
    unpack("zstd", decoder, &mut unpacked)?;
    Ok(unpacked)
}

fn unpack(name: &'static str, reader: impl Read, unpacked: &mut Vec<u8>) -> Result<(), Refusal> {
    // One byte over the limit tells that there is more, without unpacking all of it.
    let room = (MAX_MESSAGE_BYTES + 1).saturating_sub(unpacked.len());
    reader.take(room as u64).read_to_end(unpacked).map_err(|error| unreadable(name, &error))?;
    if unpacked.len() > MAX_MESSAGE_BYTES { Err(Refusal::TooLarge) } else { Ok(()) }
}

fn unreadable(name: &str, error: &std::io::Error) -> Refusal {
    Refusal::Unreadable(format!("it is not valid {name}: {error}"))
}
