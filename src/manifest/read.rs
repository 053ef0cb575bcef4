//! Reads manifests within bounds: what is no line is counted, what is told twice is added up, and of too much the
//! costliest is kept.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::time::Instant;

use super::folder;
use super::line::{LINE, Line};
use crate::model::recipe::{SCHEMA, What};

/// Lines that are kept.
const LINES: usize = 10_000;

/// Bytes of the lines that are kept.
const BYTES: usize = 64 << 20;

/// Bytes that are read in all: some seconds.
const READ: u64 = 1 << 30;

/// What a manifest holds.
#[derive(Debug, Default)]
pub struct Manifest {
    /// Each thing once, the costliest first.
    pub lines: Vec<Line>,
    /// Lines that are none: torn, too long, another schema, no JSON.
    pub malformed: usize,
    /// Lines that were beyond the bounds, the cheapest.
    pub dropped: usize,
    /// Files that could not be read, and why.
    pub refused: Vec<String>,
    /// Whether the deadline came first, or there was too much.
    pub cut: bool,
}

/// Reads a file, or each file of a folder.
///
/// # Errors
/// It is not there, or not trusted: see [`folder::check`].
pub fn read(path: &Path, deadline: Option<Instant>) -> io::Result<Manifest> {
    let mut reading = Reading { deadline, ..Reading::default() };
    let files = folder::files(path)?;
    let alone = files.as_slice() == [path];
    for file in files {
        if reading.manifest.cut {
            break;
        }
        match folder::open(&file) {
            Ok(opened) => reading.file(BufReader::new(opened)),
            Err(error) if alone => return Err(error),
            Err(error) => reading.manifest.refused.push(format!("{}: {error}", file.display())),
        }
    }
    Ok(reading.finish())
}

/// Reads the lines of a text.
pub fn read_lines(text: impl BufRead) -> Manifest {
    let mut reading = Reading::default();
    reading.file(text);
    reading.finish()
}

/// Adds up lines that were made otherwise.
pub fn merge(lines: impl IntoIterator<Item = Line>) -> Manifest {
    let mut reading = Reading::default();
    for line in lines {
        let size = line.bytes().map_or(0, |bytes| bytes.len());
        reading.add(line, size);
    }
    reading.finish()
}

#[derive(Default)]
struct Reading {
    manifest: Manifest,
    known: HashMap<String, (Line, usize)>,
    bytes: usize,
    read: u64,
    deadline: Option<Instant>,
}

impl Reading {
    fn file(&mut self, mut file: impl BufRead) {
        let mut raw = Vec::new();
        loop {
            raw.clear();
            let ended = match next(&mut file, &mut raw) {
                Ok(0) => break,
                Ok(bytes) => {
                    self.read = self.read.saturating_add(bytes);
                    raw.last() == Some(&b'\n')
                }
                Err(_) => {
                    self.manifest.malformed += 1;
                    break;
                }
            };
            match parse(&raw).filter(|_| ended) {
                Some(line) => self.add(line, raw.len()),
                None if raw.trim_ascii().is_empty() && ended => {}
                None => self.manifest.malformed += 1,
            }
            if self.read > READ || self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                self.manifest.cut = true;
                break;
            }
        }
    }

    fn add(&mut self, line: Line, size: usize) {
        match self.known.entry(line.recipe.identity()) {
            std::collections::hash_map::Entry::Occupied(mut known) => known.get_mut().0.add(line),
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert((line, size));
                self.bytes += size;
            }
        }
        // Well beyond the bounds, so that not each line sorts all of them.
        if self.known.len() > 2 * LINES || self.bytes > 2 * BYTES {
            self.shrink();
        }
    }

    /// Keeps the costliest.
    fn shrink(&mut self) {
        let mut known: Vec<_> = self.known.drain().collect();
        known.sort_by(|(one_name, (one, _)), (other_name, (other, _))| {
            other.duration.total_cmp(&one.duration).then_with(|| one_name.cmp(other_name))
        });
        let all = known.len();
        let mut bytes = 0;
        let kept = known.into_iter().take(LINES).take_while(|(_, (_, size))| {
            bytes += size;
            bytes <= BYTES
        });
        self.known = kept.collect();
        self.bytes = self.known.values().map(|(_, size)| size).sum();
        self.manifest.dropped += all - self.known.len();
    }

    fn finish(mut self) -> Manifest {
        self.shrink();
        let mut lines: Vec<(String, Line)> = self.known.into_iter().map(|(name, (line, _))| (name, line)).collect();
        lines.sort_by(|(one_name, one), (other_name, other)| {
            other.duration.total_cmp(&one.duration).then_with(|| one_name.cmp(other_name))
        });
        self.manifest.lines = lines.into_iter().map(|(_, line)| line).collect();
        self.manifest
    }
}

/// The next line, of which no more is kept than a line may have. Returns the bytes it took.
fn next(file: &mut impl BufRead, to: &mut Vec<u8>) -> io::Result<u64> {
    let mut taken = 0;
    loop {
        let buffer = match file.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if buffer.is_empty() {
            return Ok(taken);
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = buffer.get(..end.map_or(buffer.len(), |at| at + 1)).unwrap_or(buffer);
        if to.len() <= LINE {
            to.extend_from_slice(part);
        } else if end.is_some() {
            to.push(b'\n');
        }
        let length = part.len();
        file.consume(length);
        taken += length as u64;
        // A line without an end must not be read for ever.
        if end.is_some() || taken > READ {
            return Ok(taken);
        }
    }
}

fn parse(raw: &[u8]) -> Option<Line> {
    if raw.len() > LINE {
        return None;
    }
    let line: Line = serde_json::from_slice(raw).ok()?;
    let whole = line.recipe.v == SCHEMA
        && line.duration.is_finite()
        && line.duration >= 0.0
        && (line.recipe.kind == What::Specialization
            || line.recipe.tuning.is_some()
            || line.recipe.unsupported.is_some());
    whole.then_some(line)
}

/// Whether it is worth compiling: not what lost a tuning.
pub fn is_wanted(line: &Line, all: &[Line]) -> bool {
    !line.recipe.tuned
        || all.iter().any(|other| {
            other.recipe.kernel == line.recipe.kernel
                && other.recipe.tuning.as_ref().is_some_and(|tuning| line.recipe.is_of(&tuning.best))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::recipe::{KernelName, Recipe};

    fn line(name: &str, duration: f64) -> Line {
        let kernel = KernelName { module: "m".to_owned(), name: name.to_owned(), ..KernelName::default() };
        let event = crate::CompileEvent::new(crate::Kind::Compile, "triton", crate::Kernel::named(name));
        let mut line = Line::of(&event, 1);
        line.recipe = Recipe::new(What::Specialization, "triton", kernel);
        line.duration = duration;
        line
    }

    fn text(lines: &[Line]) -> Vec<u8> {
        lines.iter().flat_map(|line| line.bytes().unwrap()).collect()
    }

    #[test]
    fn the_costliest_comes_first_and_what_is_told_twice_is_added_up() {
        let manifest = read_lines(&*text(&[line("a", 1.0), line("b", 1.5), line("a", 1.0)]));
        let told: Vec<_> =
            manifest.lines.iter().map(|line| (&*line.recipe.kernel.name, line.duration, line.times)).collect();
        assert_eq!(told, [("a", 2.0, 2), ("b", 1.5, 1)]);
        assert_eq!(manifest.lines[0].requests, 2);
    }

    #[test]
    fn garbage_is_counted_and_the_rest_is_read() {
        let mut all = text(&[line("a", 1.0)]);
        all.extend_from_slice(b"garbage\n\n{\"v\":1}\n\xff\xfe\n[1,2]\n{\"v\":2,\"kind\":\"specialization\",\"runtime\":\"triton\",\"kernel\":{\"module\":\"m\",\"name\":\"n\"}}\n");
        all.extend_from_slice(&b"[".repeat(100_000));
        all.push(b'\n');
        all.extend(text(&[line("b", 1.0)]));
        let whole = text(&[line("c", 1.0)]);
        all.extend_from_slice(&whole[..whole.len() - 1]);
        let manifest = read_lines(&*all);
        assert_eq!((manifest.lines.len(), manifest.malformed), (2, 7));
    }

    #[test]
    fn a_line_without_an_end_takes_no_memory_and_hides_no_line_behind_it() {
        let mut all = vec![b'x'; 4 * LINE];
        all.push(b'\n');
        all.extend(text(&[line("a", 1.0)]));
        let manifest = read_lines(&*all);
        assert_eq!((manifest.lines.len(), manifest.malformed), (1, 1));
    }

    #[test]
    fn of_too_many_lines_the_costliest_are_kept_and_the_rest_is_counted() {
        let lines = (0..25_000).map(|number| line(&format!("k{number}"), f64::from(number)));
        let manifest = merge(lines);
        assert_eq!((manifest.lines.len(), manifest.dropped), (LINES, 15_000));
        assert_eq!(manifest.lines.last().unwrap().duration, 15_000.0);
    }
}
