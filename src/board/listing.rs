//! All processes of the board, for the command line.

use std::path::PathBuf;
use std::time::SystemTime;

use super::folder::{self, CLAIMED};
use super::life::{self, Identity, Life};
use super::page::Unreadable;
use super::record::Record;
use crate::clock::unix;
use crate::config::BoardPlace;
use crate::model::event::UnixNanos;

/// One process.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its file.
    pub file: PathBuf,
    /// What it says.
    pub record: Record,
    /// Whether it lives.
    pub life: Life,
    /// Somebody has sent the spans that it could not.
    pub claimed: bool,
    /// Until when it is known to have lived.
    pub until: UnixNanos,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Listing {
    /// Processes that can be read: those that compile first, the longest at the top.
    pub rows: Vec<Row>,
    /// Files that say nothing, and why.
    pub unreadable: Vec<(PathBuf, Unreadable)>,
    /// Folders that are not read, and why.
    pub refused: Vec<String>,
    /// Folders that were read.
    pub folders: usize,
}

/// Reads them. Changes nothing.
pub fn read(place: &BoardPlace) -> Listing {
    let (mut listing, here) = (Listing::default(), Identity::own());
    for folder in folder::readable(place) {
        let files = match folder::files(&folder) {
            Ok(files) => files,
            Err(reason) => {
                listing.refused.push(format!("{}: {reason}", folder.display()));
                continue;
            }
        };
        listing.folders += 1;
        for path in files {
            let Some(found) = folder::read(&path) else { continue };
            match found.record {
                Ok(record) => {
                    let claimed = path.extension().is_some_and(|end| end == CLAIMED);
                    let life = if claimed {
                        Life::Ended
                    } else {
                        life::of(&record.process, &found.file, found.modified, &here)
                    };
                    let is_empty = life == Life::Ended && record.now.is_empty();
                    // It ended with nothing to say; the next process that starts cleans it away.
                    if !is_empty {
                        let until = if life == Life::Ended { found.modified } else { SystemTime::now() };
                        listing.rows.push(Row { file: path, record, life, claimed, until: unix(until) });
                    }
                }
                Err(reason) => listing.unreadable.push((path, reason)),
            }
        }
    }
    let order = |row: &Row| {
        let since = row.record.now.first().map_or(UnixNanos::MAX, |now| now.started);
        (row.life == Life::Ended, row.record.now.is_empty(), since, row.record.process.pid)
    };
    listing.rows.sort_by_key(order);
    listing
}
