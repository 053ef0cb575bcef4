//! What a process says of itself on the board. Every text has a bound: a record fits into its page.

use opentelemetry::trace::SpanContext;
use serde::{Deserialize, Serialize};

use super::life::Identity;
use crate::model::attribute::{Attributes, Value, bounded};
use crate::model::event::{Kind, UnixNanos};
use crate::propagation::traceparent;
use crate::scope::Scope;
use crate::semconv::engine;

/// Operations that are shown while they go on; more are counted.
pub const NOW_SHOWN: usize = 8;
/// Requests of one of them whose trace contexts are kept.
pub const REQUESTS_SHOWN: usize = 4;
/// Operations that have ended, for ranks that waited for them.
pub const PAST_SHOWN: usize = 12;
const NAME_LENGTH: usize = 120;
const ID_LENGTH: usize = 64;

/// One process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Which process it is.
    pub process: Identity,
    /// Its name, as the system has it.
    pub program: String,
    /// jitspan's version in it.
    pub version: String,
    /// What it is in its server.
    pub who: Who,
    /// Since when a compile is unexpected, in nanoseconds since the Unix epoch.
    pub armed: Option<UnixNanos>,
    /// Why it is not armed.
    pub why_not_armed: Option<String>,
    /// What goes on now, the outermost first.
    pub now: Vec<Now>,
    /// Operations that go on and are not in `now`.
    pub more: usize,
    /// What it has lost so far, while armed.
    pub lost: Lost,
    /// The last operations that took long, the newest last.
    pub past: Vec<Past>,
    /// The number of the newest of them, counted from 1.
    pub past_count: u64,
}

/// What a process is in its server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Who {
    /// `service.name`.
    pub service: String,
    /// `vllm`, `sglang`.
    pub engine: Option<String>,
    /// Rank of the worker within its engine.
    pub rank: Option<i64>,
    /// Which of several engines it is.
    pub data_parallel_rank: Option<i64>,
    /// The same for all processes of one server on this host.
    pub server: Option<String>,
    /// The same for all engines that take their steps together, so that one that compiles holds the others.
    pub lockstep: Option<String>,
}

/// Something that compiles now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Now {
    /// What does it.
    pub runtime: String,
    /// What is done: `compile`, `autotune`, `load`, `launcher`.
    pub kind: String,
    /// The kernel.
    pub kernel: String,
    /// Since when, in nanoseconds since the Unix epoch.
    pub started: UnixNanos,
    /// Whether it nests in the one before it.
    pub nested: bool,
    /// Whether it began after warm-up.
    pub armed: bool,
    /// Requests that wait.
    pub waiting: usize,
    /// Name of their spans.
    pub span: Option<String>,
    /// The first of them.
    pub requests: Vec<Waiting>,
}

/// A request that waits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Waiting {
    /// Its id, the one that its caller knows.
    pub id: Option<String>,
    /// The span that its client started for it.
    pub traceparent: Option<String>,
}

/// What compiled before, and took long.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Past {
    /// What did it.
    pub runtime: String,
    /// The kernel.
    pub kernel: String,
    /// When it began.
    pub started: UnixNanos,
    /// When it ended.
    pub ended: UnixNanos,
}

/// What a process has lost so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lost {
    /// Compiles and autotunes.
    pub compiles: u64,
    /// Time in which it compiled, in seconds; what nests in another counts once.
    pub seconds: f64,
    /// Requests that waited, each time that one did.
    pub requests: u64,
}

/// What begins.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// What does it, as on the wire.
    pub runtime: &'a str,
    /// What is done.
    pub kind: Kind,
    /// The kernel, as its runtime names it.
    pub kernel: &'a str,
}

impl Who {
    /// As spans show it.
    pub fn attributes(&self) -> Attributes {
        let mut attributes = Attributes::new();
        let ranks = [(engine::RANK, self.rank), (engine::DATA_PARALLEL_RANK, self.data_parallel_rank)];
        for (name, rank) in ranks {
            rank.iter().for_each(|rank| attributes.int(name, *rank));
        }
        attributes
    }
}

impl Now {
    /// What begins in `scope`.
    pub fn new(about: About<'_>, scope: &Scope, (started, nested, armed): (UnixNanos, bool, bool)) -> Self {
        let mut now = Now {
            runtime: bounded(about.runtime, NAME_LENGTH).into_owned(),
            kind: about.kind.word().to_owned(),
            kernel: bounded(about.kernel, NAME_LENGTH).into_owned(),
            started,
            nested,
            armed,
            waiting: scope.waiting(),
            span: None,
            requests: Vec::new(),
        };
        // What nests waits with the outermost, and so do its requests.
        if !nested && now.waiting > 0 {
            let (name, requests) = scope.served(REQUESTS_SHOWN);
            now.span = Some(bounded(&name, ID_LENGTH).into_owned());
            now.requests =
                requests.iter().map(|(parent, attributes)| Waiting::new(parent.as_ref(), attributes)).collect();
        }
        now
    }
}

impl Waiting {
    fn new(parent: Option<&SpanContext>, attributes: &Attributes) -> Self {
        let id = match attributes.get(engine::REQUEST_ID) {
            Some(Value::Text(id)) => Some(bounded(id, ID_LENGTH).into_owned()),
            _ => None,
        };
        Waiting { id, traceparent: parent.map(traceparent) }
    }
}
