//! Packs a message, and unpacks an answer as far as one may be long.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::Compression as Level;
use flate2::read::{GzDecoder, GzEncoder};

use crate::config::Compression;

impl Compression {
    /// Its name in a header.
    pub fn word(self) -> &'static str {
        match self {
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
        }
    }
}

/// The message, packed.
///
/// # Errors
/// The library fails; there is no input that it refuses.
pub fn pack(compression: Compression, message: &[u8]) -> io::Result<Bytes> {
    let mut packed = Vec::new();
    match compression {
        Compression::Gzip => drop(GzEncoder::new(message, Level::fast()).read_to_end(&mut packed)?),
        Compression::Zstd => packed = zstd::stream::encode_all(message, zstd::DEFAULT_COMPRESSION_LEVEL)?,
    }
    Ok(packed.into())
}

/// None: packed in a way that we did not ask for, longer than `limit`, or broken.
pub fn unpack(encoding: &str, packed: &[u8], limit: usize) -> Option<Bytes> {
    let mut unpacked = Vec::new();
    let limited = |reader: &mut dyn Read, to: &mut Vec<u8>| reader.take(limit as u64 + 1).read_to_end(to);
    match encoding {
        "gzip" => limited(&mut GzDecoder::new(packed), &mut unpacked).ok()?,
        "zstd" => limited(&mut zstd::stream::read::Decoder::new(packed).ok()?, &mut unpacked).ok()?,
        _ => return None,
    };
    (unpacked.len() <= limit).then(|| unpacked.into())
}
