//! The board: what each process of this host compiles now, in one small file a process. Others read it (`jitspan top`,
//! `jitspan busy`, a rank that waits for a peer), and it outlives the process, as a black box.
//!
//! It is written when a stall begins and when it ends, never in between but for the file's time, and read by nobody on a
//! warm path. Nothing here may fail a start: what goes wrong is told once, and the process goes on without.
//!
//! | file | knows |
//! |---|---|
//! | `record` | what a process says of itself |
//! | `page` | how that stands in the file, so that nobody believes half of it |
//! | `folder` | where the files are, and whom we trust |
//! | `life` | whether the process of a file lives |
//! | `own` | this process's file |
//! | `pulse` | says while something compiles that we still live |
//! | `claim` | who sends what the dead could not; what is cleaned away |
//! | `peers`, `waits` | what others of a group compiled, and how much of it somebody waited for |
//! | `listing` | all files, for the command line |

pub mod claim;
pub mod folder;
pub mod life;
pub mod listing;
mod own;
pub mod page;
pub mod peers;
mod pulse;
pub mod record;
pub mod waits;

pub use own::{Board, Entry};
