//! What a runtime did: one finished or failed compile, load or autotune. Plain data: no clock, no SDK, no Python.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::model::attribute::{Attributes, Seen, bounded};
use crate::model::recipe::Recipe;
use crate::semconv::{attribute as key, event as name};

/// Nanoseconds since the Unix epoch, as OTLP counts time.
pub type UnixNanos = u64;

/// What was done with the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Compiled, successfully or not.
    Compile,
    /// Taken from a cache on disk, or loaded onto the device.
    Load,
    /// Configurations were benchmarked against each other; compiles may nest in it.
    Autotune,
    /// No tuning covers what was asked for: a kernel runs that may be slow. It takes no time by itself.
    TunerMiss,
    /// A launcher was built for a compiled kernel: a stall of its own, at the kernel's first launch.
    Launcher,
    /// A peer rank compiled, and held this one in a collective.
    Peer,
}

impl Kind {
    /// Those that have a word in a setting.
    pub const ALL: [Kind; 4] = [Kind::Compile, Kind::Autotune, Kind::Load, Kind::TunerMiss];

    /// The name of the span event and of the compile's own span.
    pub fn event_name(self) -> &'static str {
        match self {
            Kind::Compile => name::COMPILE,
            Kind::Load => name::LOAD,
            Kind::Autotune => name::AUTOTUNE,
            Kind::TunerMiss => name::TUNER_MISS,
            Kind::Launcher => name::LAUNCHER,
            Kind::Peer => name::PEER,
        }
    }

    /// Its word, which a setting uses for those that have one (`JITSPAN_ERROR_ON=compile,autotune,load,tuner_miss`).
    pub fn word(self) -> &'static str {
        match self {
            Kind::Compile => "compile",
            Kind::Load => "load",
            Kind::Autotune => "autotune",
            Kind::TunerMiss => "tuner_miss",
            Kind::Launcher => "launcher",
            Kind::Peer => "peer",
        }
    }

    /// The one that a word means.
    pub fn from_word(word: &str) -> Option<Self> {
        let all = Self::ALL.into_iter().chain([Kind::Launcher, Kind::Peer]);
        all.into_iter().find(|kind| kind.word() == word)
    }
}

/// Whether the runtime's cache on disk had what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheResult {
    /// It had it: nothing was compiled or benchmarked.
    Hit,
    /// It had it not.
    Miss,
    /// The runtime does not say.
    #[default]
    Unknown,
}

impl CacheResult {
    /// The value on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            CacheResult::Hit => "hit",
            CacheResult::Miss => "miss",
            CacheResult::Unknown => "unknown",
        }
    }
}

/// Why it happened, seen from the kernels this process already had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// No specialization of this kernel was known.
    FirstUse,
    /// Others were known; [`CompileEvent::changes`] says what differs.
    NewSpecialization,
    /// This very specialization was known: a cache was dropped, or another device asked.
    Recompile,
    /// The kernel was tuned before, for another tuning key.
    Retune,
}

impl Cause {
    /// The value on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::FirstUse => "first_use",
            Cause::NewSpecialization => "new_specialization",
            Cause::Recompile => "recompile",
            Cause::Retune => "retune",
        }
    }
}

/// The kernel, as its runtime names it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kernel {
    /// Name, [`Kernel::UNKNOWN`] where the runtime gave none.
    pub name: String,
    /// Module that defines it.
    pub module: Option<String>,
    /// Source file.
    pub file: Option<String>,
    /// First line of its source, from 1.
    pub line: Option<u32>,
}

impl Kernel {
    /// The name of a kernel whose runtime gave none.
    pub const UNKNOWN: &str = "<unknown>";

    /// A kernel of which only the name is known.
    pub fn named(name: impl Into<String>) -> Self {
        Kernel { name: name.into(), ..Kernel::default() }
    }
}

/// One stage of a compile, by the runtime's own name for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// `ttir`, `llir`, `ptx`, ...
    pub name: Cow<'static, str>,
    /// Time spent in it.
    pub duration: Duration,
}

/// What failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Class of the exception, qualified as the language does.
    pub error_type: String,
    /// Its message.
    pub message: String,
}

/// What an autotune did.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Autotune {
    /// The tuning key: argument and value.
    pub key: Vec<(String, String)>,
    /// Configurations that the kernel declares.
    pub declared: Option<u64>,
    /// Configurations that were benchmarked.
    pub benchmarked: Option<u64>,
    /// The configuration that won.
    pub best: Option<String>,
    /// Each configuration with its time in milliseconds (infinite: it could not run).
    pub timings: Vec<(String, f64)>,
}

/// What only verbose mode sends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Detail {
    /// Parameter types.
    pub signature: Option<String>,
    /// Compile-time constants.
    pub constexprs: Option<String>,
    /// The runtime's own cache key.
    pub key: Option<String>,
    /// The Python stack of the launch.
    pub stack: Option<String>,
}

/// One finished (or failed) compile, disk-cache load, or autotune.
///
/// ```
/// use std::time::Duration;
/// use jitspan::{CompileEvent, Kernel, Kind};
///
/// let mut event = CompileEvent::new(Kind::Compile, "nvrtc", Kernel::named("saxpy"));
/// event.duration = Duration::from_millis(180);
/// assert_eq!(event.kind.event_name(), "jit.compile");
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CompileEvent {
    /// What was done.
    pub kind: Kind,
    /// What did it, as on the wire: `triton`, `cutedsl`, ...
    pub runtime: Cow<'static, str>,
    /// The same as people write it, for the log: `Triton`, `CuTeDSL`.
    pub runtime_title: Cow<'static, str>,
    /// The runtime's version.
    pub runtime_version: Option<String>,
    /// The kernel.
    pub kernel: Kernel,
    /// When the stall began. None: [`crate::Monitor::record`] takes it as now, less the duration.
    pub started: Option<UnixNanos>,
    /// The whole stall.
    pub duration: Duration,
    /// Whether the cache on disk had it.
    pub cache: CacheResult,
    /// The runtime's own id of this compile.
    pub id: Option<String>,
    /// Why it happened.
    pub cause: Option<Cause>,
    /// Which arguments differ from the nearest specialization known, one phrase each.
    pub changes: Vec<String>,
    /// Stages, in the order they ran.
    pub stages: Vec<Stage>,
    /// Compile options that the runtime was called with, as it names them.
    pub options: Vec<(String, String)>,
    /// What the autotune did, for [`Kind::Autotune`].
    pub autotune: Option<Autotune>,
    /// It was asked for by a manual warm-up call, so it is neither warned of nor raised.
    pub manual_warmup: bool,
    /// The first compile of the process, which pays once for start-up costs of the runtime.
    pub first_in_process: bool,
    /// Bytes of the device's memory that were free when a kernel was loaded onto it.
    pub free_memory: Option<u64>,
    /// Kernels compile as requests come, by the server's own choice: neither warned of nor raised.
    pub expected: bool,
    /// Nobody's request waited for it, so far as we can see: neither warned of nor raised.
    pub background: bool,
    /// How the process ended that did it, if one of its own did: as Python tells it, of a signal the negative number.
    pub exit_code: Option<i32>,
    /// Whether it is long enough to be called a stall. A load from a cache on disk may not be.
    pub stalls: bool,
    /// What failed, if it did.
    pub failure: Option<Failure>,
    /// The thread that waited: id of the operating system, and name.
    pub thread: Option<(i64, String)>,
    /// What it takes to compile it again.
    pub recipe: Option<Arc<Recipe>>,
    /// The same as JSON, where it is sent.
    pub specialization: Option<Arc<str>>,
    /// What only verbose mode sends.
    pub detail: Option<Box<Detail>>,
}

impl CompileEvent {
    /// The launcher that was built for the kernel of this one, for so long.
    pub fn launcher(&self, started: UnixNanos, duration: Duration) -> Self {
        let stage = Stage { name: Cow::Borrowed(Kind::Launcher.word()), duration };
        CompileEvent {
            runtime_version: self.runtime_version.clone(),
            started: Some(started),
            duration,
            cache: CacheResult::Miss,
            stages: vec![stage],
            manual_warmup: self.manual_warmup,
            thread: self.thread.clone(),
            ..CompileEvent::new(Kind::Launcher, self.runtime.clone(), self.kernel.clone())
        }
    }

    /// An event of which only the kind, the runtime and the kernel are known.
    pub fn new(kind: Kind, runtime: impl Into<Cow<'static, str>>, kernel: Kernel) -> Self {
        let runtime = runtime.into();
        CompileEvent {
            kind,
            runtime_title: runtime.clone(),
            runtime,
            runtime_version: None,
            kernel,
            started: None,
            duration: Duration::ZERO,
            cache: CacheResult::Unknown,
            id: None,
            cause: None,
            changes: Vec::new(),
            stages: Vec::new(),
            options: Vec::new(),
            autotune: None,
            manual_warmup: false,
            first_in_process: false,
            free_memory: None,
            expected: false,
            background: false,
            exit_code: None,
            stalls: true,
            failure: None,
            thread: None,
            recipe: None,
            specialization: None,
            detail: None,
        }
    }

    /// As what error mode and the log take it: what a cache on disk had cost no compile and no benchmark.
    pub fn severity(&self) -> Kind {
        if self.cache == CacheResult::Hit { Kind::Load } else { self.kind }
    }

    /// When the stall began; 0 where nobody has said so yet. A monitor always does.
    pub fn began(&self) -> UnixNanos {
        self.started.unwrap_or_default()
    }

    /// When the stall ended.
    pub fn ended(&self) -> UnixNanos {
        self.began().saturating_add(nanos(self.duration))
    }

    /// The attributes of the span event, of the compile's own span and of the log-based event.
    pub fn attributes(&self) -> Attributes {
        // Room for all that a compile usually has.
        let mut attributes = Attributes::with_capacity(16 + self.stages.len());
        self.each_attribute(&mut |key, value| attributes.add(key, value));
        attributes
    }

    /// Shows each of them, in their order. A storm is written to the wire from here: a list of copies that live for
    /// microseconds was a quarter of what recording a stall cost.
    pub(crate) fn each_attribute(&self, show: &mut dyn FnMut(Cow<'static, str>, Seen<'_>)) {
        let mut show_at = |key: &'static str, value: Seen<'_>| show(Cow::Borrowed(key), value);
        show_at(
            key::RUNTIME,
            match &self.runtime {
                Cow::Borrowed(runtime) => Seen::Word(runtime),
                Cow::Owned(runtime) => Seen::Text(runtime),
            },
        );
        show_text(&mut show_at, key::RUNTIME_VERSION, self.runtime_version.as_deref());
        show_at(key::KERNEL_NAME, Seen::Text(&self.kernel.name));
        show_text(&mut show_at, key::KERNEL_MODULE, self.kernel.module.as_deref());
        match &self.kernel.module {
            Some(module) => show_at(key::CODE_FUNCTION_NAME, Seen::Text(&[module, ".", &*self.kernel.name].concat())),
            None => show_at(key::CODE_FUNCTION_NAME, Seen::Text(&self.kernel.name)),
        }
        show_text(&mut show_at, key::CODE_FILE_PATH, self.kernel.file.as_deref());
        if let Some(line) = self.kernel.line {
            show_at(key::CODE_LINE_NUMBER, Seen::Int(i64::from(line)));
        }
        show_at(key::DURATION, Seen::Double(self.duration.as_secs_f64()));
        show_at(key::CACHE_RESULT, Seen::Word(self.cache.as_str()));
        show_text(&mut show_at, key::COMPILE_ID, self.id.as_deref());
        if let Some(cause) = self.cause {
            show_at(key::CAUSE, Seen::Word(cause.as_str()));
        }
        match &*self.changes {
            [] => {}
            [change] => show_at(key::CHANGES, Seen::Text(change)),
            changes => show_at(key::CHANGES, Seen::Text(&changes.join("; "))),
        }
        self.each_stage(show);
        let mut show_at = |key: &'static str, value: Seen<'_>| show(Cow::Borrowed(key), value);
        if !self.options.is_empty() {
            show_at(key::OPTIONS, Seen::Text(&assignments(&self.options)));
        }
        if self.manual_warmup {
            show_at(key::MANUAL_WARMUP, Seen::Bool(true));
        }
        if self.first_in_process {
            show_at(key::FIRST_IN_PROCESS, Seen::Bool(true));
        }
        if let Some(free) = self.free_memory {
            show_at(key::FREE_MEMORY, Seen::Int(i64::try_from(free).unwrap_or(i64::MAX)));
        }
        if self.expected {
            show_at(key::EXPECTED, Seen::Bool(true));
        }
        if self.background {
            show_at(key::BACKGROUND, Seen::Bool(true));
        }
        if let Some(code) = self.exit_code {
            show_at(key::EXIT_CODE, Seen::Int(i64::from(code)));
        }
        if let Some(autotune) = &self.autotune {
            autotune.each_attribute(&mut show_at);
        }
        if let Some(failure) = &self.failure {
            show_at(key::ERROR_TYPE, Seen::Text(&failure.error_type));
            show_at(key::EXCEPTION_MESSAGE, Seen::Text(&failure.message));
        }
        if let Some((id, name)) = &self.thread {
            show_at(key::THREAD_ID, Seen::Int(*id));
            show_at(key::THREAD_NAME, Seen::Text(name));
        }
        show_text(&mut show_at, key::SPECIALIZATION, self.specialization.as_deref());
        if let Some(detail) = &self.detail {
            show_text(&mut show_at, key::SIGNATURE, detail.signature.as_deref());
            show_text(&mut show_at, key::CONSTEXPRS, detail.constexprs.as_deref());
            show_text(&mut show_at, key::KEY, detail.key.as_deref());
            show_text(&mut show_at, key::CODE_STACKTRACE, detail.stack.as_deref());
        }
    }

    /// A stage that ran twice has one attribute, the time of the second: an attribute is set once.
    fn each_stage(&self, show: &mut dyn FnMut(Cow<'static, str>, Seen<'_>)) {
        for (at, stage) in self.stages.iter().enumerate() {
            let same = |other: &&Stage| other.name == stage.name;
            if self.stages[..at].iter().any(|other| same(&other)) {
                continue;
            }
            let last = self.stages.iter().rfind(same).unwrap_or(stage);
            let key = [key::STAGE_PREFIX, &*stage.name].concat();
            show(Cow::Owned(key), Seen::Double(last.duration.as_secs_f64()));
        }
    }

    /// The short form for a log line: `add_kernel (n: divisible by 16 -> not), 0.213 s`.
    pub fn headline(&self) -> String {
        let mut line = bounded(&self.kernel.name, 200).into_owned();
        if !self.changes.is_empty() {
            line.push_str(&format!(" ({})", bounded(&self.changes.join("; "), 400)));
        }
        line.push_str(&format!(", {:.3} s", self.duration.as_secs_f64()));
        line
    }
}

impl Autotune {
    /// Timings are one string: 100 configurations stay readable, and one attribute.
    const TIMINGS_SHOWN: usize = 64;

    fn each_attribute(&self, show_at: &mut impl FnMut(&'static str, Seen<'_>)) {
        if !self.key.is_empty() {
            show_at(key::AUTOTUNE_KEY, Seen::Text(&assignments(&self.key)));
        }
        if let Some(declared) = self.declared {
            show_at(key::AUTOTUNE_DECLARED, Seen::Int(declared as i64));
        }
        if let Some(benchmarked) = self.benchmarked {
            show_at(key::AUTOTUNE_BENCHMARKED, Seen::Int(benchmarked as i64));
        }
        show_text(show_at, key::AUTOTUNE_BEST, self.best.as_deref());
        if !self.timings.is_empty() {
            let mut shown: Vec<String> = self
                .timings
                .iter()
                .take(Self::TIMINGS_SHOWN)
                .map(|(configuration, milliseconds)| format!("{configuration} = {milliseconds:.4} ms"))
                .collect();
            if self.timings.len() > Self::TIMINGS_SHOWN {
                shown.push(format!("and {} more", self.timings.len() - Self::TIMINGS_SHOWN));
            }
            show_at(key::AUTOTUNE_TIMINGS, Seen::Text(&shown.join("; ")));
        }
    }
}

/// A text that may be unknown.
fn show_text(show_at: &mut impl FnMut(&'static str, Seen<'_>), key: &'static str, text: Option<&str>) {
    if let Some(text) = text {
        show_at(key, Seen::Text(text));
    }
}

/// A duration in whole nanoseconds, at most `u64::MAX` (584 years).
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// `name=value` pairs with commas between them.
pub fn assignments(pairs: &[(String, String)]) -> String {
    let mut text = String::with_capacity(pairs.iter().map(|(name, value)| name.len() + value.len() + 3).sum());
    for (name, value) in pairs {
        let parts = [if text.is_empty() { "" } else { ", " }, name, "=", value];
        parts.iter().for_each(|part| text.push_str(part));
    }
    text
}
