//! Traces onto an output, each in one piece and flushed, so that a reader behind a pipe sees it at once.

use std::io::{self, Write};

use super::options::Format;
use super::record::Trace;
use super::text::Palette;
use super::{json, waterfall};

/// Prints one trace.
///
/// # Errors
/// When the output cannot be written.
pub fn print(trace: &Trace, format: Format, output: &mut impl Write) -> io::Result<()> {
    let mut text = Vec::new();
    match format {
        Format::Json => json::write(trace, &mut text)?,
        Format::Waterfall { width, color } => {
            text.extend(waterfall::render(trace, width, Palette { color }).into_bytes());
        }
    }
    output.write_all(&text)?;
    output.flush()
}
