//! A record in its file: two pages, written in turn. Whoever reads while one is written, or after a process was killed in
//! the middle of it, finds the other whole; a page whose sum is wrong is nobody's word.
//!
//! A page: magic (8 bytes), version of the format (4), length of the record (4), number of the writing (8), sum of all
//! these and of the record (8), the record as JSON, zeros. Numbers are little-endian.

use super::record::Record;

/// Bytes of a file.
pub const FILE: usize = 2 * PAGE;

const PAGE: usize = 8192;
const HEAD: usize = 32;
const MAGIC: &[u8; 8] = b"jitspan\0";
/// Of the format. A field that is added to the record changes nothing here.
const VERSION: u32 = 1;

/// Why a file says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It has another size.
    #[error("it is {0} bytes long")]
    Length(u64),
    /// Nobody of us wrote it.
    #[error("it is no board file")]
    Foreign,
    /// Another jitspan wrote it.
    #[error("it has version {0} of the format, and this jitspan reads {VERSION}")]
    Version(u32),
    /// Neither page is whole.
    #[error("neither of its pages is whole")]
    Torn,
}

/// Where the page with this number stands in the file, and its bytes. What does not fit is left out: first what is over,
/// then what is the least of what goes on.
pub fn write(record: &Record, number: u64) -> (u64, Vec<u8>) {
    let mut record = std::borrow::Cow::Borrowed(record);
    let json = loop {
        let json = serde_json::to_vec(&*record).unwrap_or_default();
        if json.len() <= PAGE - HEAD || !shorten(record.to_mut()) {
            break json;
        }
    };
    // Longer than a page by its fixed texts alone, which have bounds: not to be seen. An empty one is torn to a reader.
    let json = if json.len() <= PAGE - HEAD { json } else { Vec::new() };
    let mut page = vec![0; PAGE];
    page[..8].copy_from_slice(MAGIC);
    page[8..12].copy_from_slice(&VERSION.to_le_bytes());
    page[12..16].copy_from_slice(&(json.len() as u32).to_le_bytes());
    page[16..24].copy_from_slice(&number.to_le_bytes());
    page[HEAD..HEAD + json.len()].copy_from_slice(&json);
    let sum = sum(&page[..24], &json);
    page[24..HEAD].copy_from_slice(&sum.to_le_bytes());
    ((number % 2) * PAGE as u64, page)
}

fn shorten(record: &mut Record) -> bool {
    if !record.past.is_empty() {
        record.past.remove(0);
    } else if record.now.len() > 1 {
        record.now.pop();
        record.more += 1;
    } else if let Some(now) = record.now.first_mut().filter(|now| !now.requests.is_empty()) {
        now.requests.pop();
    } else {
        return false;
    }
    true
}

/// The newest record that is whole.
///
/// # Errors
/// There is none.
pub fn read(file: &[u8]) -> Result<Record, Unreadable> {
    if file.len() != FILE {
        return Err(Unreadable::Length(file.len() as u64));
    }
    let pages = file.chunks_exact(PAGE).map(read_page);
    let mut why = Unreadable::Foreign;
    let mut newest: Option<(u64, Record)> = None;
    for page in pages {
        match page {
            Ok(found) if newest.as_ref().is_none_or(|newest| found.0 > newest.0) => newest = Some(found),
            Ok(_) | Err(Unreadable::Foreign) => {}
            Err(reason) => why = reason,
        }
    }
    newest.map(|(_, record)| record).ok_or(why)
}

fn read_page(page: &[u8]) -> Result<(u64, Record), Unreadable> {
    let number =
        |from: usize| page.get(from..from + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes);
    let long =
        |from: usize| page.get(from..from + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
    if !page.starts_with(MAGIC) {
        return Err(Unreadable::Foreign);
    }
    if number(8) != VERSION {
        return Err(Unreadable::Version(number(8)));
    }
    let json = page.get(HEAD..HEAD + number(12) as usize).ok_or(Unreadable::Torn)?;
    if sum(&page[..24], json) != long(24) {
        return Err(Unreadable::Torn);
    }
    let record = serde_json::from_slice(json).map_err(|_| Unreadable::Torn)?;
    Ok((long(16), record))
}

/// FNV-1a, 64 bits: enough to tell half a page from a whole one. It keeps nobody out; the folder's mode does.
fn sum(head: &[u8], json: &[u8]) -> u64 {
    let bytes = head.iter().chain(json);
    bytes.fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::super::record::{Now, Past, Waiting};
    use super::*;

    fn record(program: &str) -> Record {
        Record { program: program.to_owned(), ..Record::default() }
    }

    fn file(records: &[Record]) -> Vec<u8> {
        let mut file = vec![0; FILE];
        for (number, record) in records.iter().enumerate() {
            let (at, page) = write(record, number as u64 + 1);
            file[at as usize..][..PAGE].copy_from_slice(&page);
        }
        file
    }

    #[test]
    fn the_newest_of_two_pages_counts_and_half_a_page_is_nobodys_word() {
        let whole = file(&[record("one"), record("two"), record("three")]);
        assert_eq!(read(&whole).unwrap().program, "three");
        // At each place where a writer may have been stopped, the one before it is believed.
        let (at, page) = write(&record("four, which is longer"), 4);
        let at = at as usize;
        let differing = (0..PAGE).filter(|byte| page[*byte] != whole[at + byte]).collect::<Vec<_>>();
        for stop in &differing {
            let mut torn = whole.clone();
            torn[at..at + stop].copy_from_slice(&page[..*stop]);
            assert_eq!(read(&torn).unwrap().program, "three", "stopped at {stop}");
        }
        let mut after = whole;
        after[at..at + PAGE].copy_from_slice(&page);
        assert_eq!(read(&after).unwrap().program, "four, which is longer");
    }

    #[test]
    fn each_way_to_be_unreadable_has_its_name() {
        assert_eq!(read(&[0; 100]), Err(Unreadable::Length(100)));
        assert_eq!(read(&[0; FILE]), Err(Unreadable::Foreign));
        let mut other = file(&[record("one")]);
        other[PAGE + 8] = 9;
        assert_eq!(read(&other), Err(Unreadable::Version(9)));
        let mut torn = file(&[record("one")]);
        torn[PAGE + HEAD + 3] ^= 1;
        assert_eq!(read(&torn), Err(Unreadable::Torn));
        torn[PAGE + 12..PAGE + 16].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(read(&torn), Err(Unreadable::Torn));
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_the_outermost_stays() {
        let mut full = record("full");
        let waiting = Waiting { id: Some("\u{1}".repeat(64)), traceparent: Some("0".repeat(55)) };
        let now = |kernel: &str| Now {
            kernel: format!("{kernel}{}", "\u{1}".repeat(118)),
            requests: vec![waiting.clone(); 4],
            ..Now::default()
        };
        full.now = (0..8).map(|number| now(&number.to_string())).collect();
        full.past = vec![Past { kernel: "\u{1}".repeat(120), ..Past::default() }; 12];
        let read = read(&file(&[full])).unwrap();
        assert!(read.past.is_empty());
        assert_eq!(read.now.len() + read.more, 8);
        assert!(read.now[0].kernel.starts_with('0'), "{:?}", read.now);
    }
}
