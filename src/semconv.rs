//! Every name jitspan puts on the wire, once. Knows nothing else.
//!
//! Two rules hold for all of them. A name is never both a leaf and a namespace (`jit.x` and `jit.x.y`): stores
//! that nest dotted keys lose one of the two. And a key on a span never means something else on an event, because
//! the Collector's `span_metrics` looks a dimension up on the span first and only then on the event.

/// Instrumentation scope of everything we send.
pub const SCOPE_NAME: &str = "jitspan";

/// Says which version of these names a message uses; the file is `otel-config/semconv/schema.yaml`.
/// A name, not a place: nobody can own a host under `.invalid` (RFC 2606), so nothing that follows it reaches strangers.
pub const SCHEMA_URL: &str = "https://jitspan.invalid/schemas/0.2.0";

/// Span that `jitspan doctor` sends to see whether the collector takes it.
pub const DOCTOR_SPAN: &str = "jitspan.doctor";

/// Names of span events, of the compile's own spans, and of log-based events.
pub mod event {
    /// A kernel was compiled, or failed to compile.
    pub const COMPILE: &str = "jit.compile";
    /// A kernel's configurations were benchmarked against each other.
    pub const AUTOTUNE: &str = "jit.autotune";
    /// A compiled kernel came from a cache on disk, or was loaded onto the device: slowly, or with little memory free.
    pub const LOAD: &str = "jit.load";
    /// No tuning covers what was asked for: a kernel runs that may be slow, each time, and nothing was compiled.
    pub const TUNER_MISS: &str = "jit.tuner_miss";
    /// The C launcher of a compiled kernel was built (Triton up to 3.6 does so at the first launch of a signature).
    pub const LAUNCHER: &str = "jit.launcher";
    /// A peer rank compiled or tuned a kernel, and held the request in a collective.
    pub const PEER: &str = "jit.stall";
    /// Span: a manifest was replayed, before the process took requests.
    pub const PRELOAD: &str = "jit.preload";
    /// Stands for the events that did not fit on the span.
    pub const SUMMARY: &str = "jit.summary";
    /// OpenTelemetry's event for an exception.
    pub const EXCEPTION: &str = "exception";
}

/// Attributes of the span of a request that waited. Each is one value, so that a search for equality finds it.
pub mod span {
    /// Bool: this span, or the request it belongs to, waited for a compile. False: for nothing but short loads from a
    /// cache on disk.
    pub const STALLED: &str = "jit.stalled";
    /// Int: compiles this request waited for.
    pub const COMPILE_COUNT: &str = "jit.compile.count";
    /// Int: autotunes this request waited for.
    pub const AUTOTUNE_COUNT: &str = "jit.autotune.count";
    /// Int: loads from a cache on disk this request waited for.
    pub const LOAD_COUNT: &str = "jit.load.count";
    /// Int: kernels that this request ran untuned.
    pub const TUNER_MISS_COUNT: &str = "jit.tuner_miss.count";
    /// Double, s: time in which at least one stall was going on (overlaps count once).
    pub const STALL_TIME: &str = "jit.stall.time";
    /// Double, s: the longest single stall.
    pub const STALL_LONGEST: &str = "jit.stall.longest";
    /// String: runtimes that stalled the request, sorted, joined by commas.
    pub const RUNTIMES: &str = "jit.runtimes";
    /// String: kernels that stalled the request, sorted, joined by commas, bounded.
    pub const KERNELS: &str = "jit.kernels";
    /// Int: id of the process that ended in the middle of a compile; another one has sent the span.
    pub const ENDED_PROCESS: &str = "jit.ended_process";
    /// Int: requests in the batch that waited together.
    pub const BATCH_SIZE: &str = "jit.batch.size";
    /// Int: requests of the batch that got no span of their own, because the batch was over the limit.
    pub const BATCH_OMITTED: &str = "jit.batch.omitted";
}

/// Names of spans and attributes that engines add.
pub mod engine {
    /// Span: a request in one step of vLLM's model runner.
    pub const VLLM_EXECUTE_MODEL: &str = "vllm.execute_model";
    /// Span: a whole request that came to vLLM without a trace context, the root of the trace it was given.
    pub const VLLM_REQUEST: &str = "vllm.request";
    /// Span: a request that waited in vLLM's queue, behind a step that compiled.
    pub const VLLM_QUEUED: &str = "vllm.queued";
    /// Span: a request that a peer engine held, which compiled and takes its steps together with its own.
    pub const VLLM_HELD: &str = "vllm.held";
    /// Span: a request in one step of SGLang's scheduler.
    pub const SGLANG_FORWARD: &str = "sglang.forward";
    /// String: the request's id, the one that its caller knows. vLLM's own name (`vllm/tracing/utils.py`); OpenTelemetry's
    /// registry has none, and one that vLLM's users search for already is better than another.
    pub const REQUEST_ID: &str = "gen_ai.request.id";
    /// Int: rank of the worker within its engine (tensor and pipeline parallel).
    pub const RANK: &str = "jit.worker.rank";
    /// Int: which of several engines it is (data parallel).
    pub const DATA_PARALLEL_RANK: &str = "jit.worker.data_parallel_rank";
    /// String: `running` or `queued`: whether the request was in the step that stalled, or waited for one. `held`: its engine
    /// waited for a peer.
    pub const REQUEST_STATE: &str = "jit.request.state";
    /// Double, s: on an event, how much of the stall a request waited for that was queued or held; it may have come in the
    /// middle.
    pub const WAITED: &str = "jit.request.waited";
    /// Int, on `jit.stall`: rank of the worker that compiled, within its engine.
    pub const PEER_RANK: &str = "jit.peer.rank";
    /// Int, on `jit.stall`: which engine it was (data parallel).
    pub const PEER_DATA_PARALLEL_RANK: &str = "jit.peer.data_parallel_rank";
    /// Int: sequences that vLLM ran for the one request (`n`), where they are several.
    pub const SEQUENCES: &str = "jit.request.sequences";
    /// Int: tokens of the request in this step.
    pub const SCHEDULED_TOKENS: &str = "jit.request.scheduled_tokens";
    /// Span: a whole request, by vLLM itself.
    pub const LLM_REQUEST: &str = "llm_request";
}

/// Attributes of one compile, autotune or load.
pub mod attribute {
    /// String: what compiled, in small letters: `triton`, `cutedsl`, ...
    pub const RUNTIME: &str = "jit.runtime";
    /// String: the runtime's version, as its package says.
    pub const RUNTIME_VERSION: &str = "jit.runtime_version";
    /// String: the kernel, as its runtime names it.
    pub const KERNEL_NAME: &str = "jit.kernel.name";
    /// String: the Python module that defines the kernel.
    pub const KERNEL_MODULE: &str = "jit.kernel.module";
    /// Double, s: the whole stall.
    pub const DURATION: &str = "jit.duration";
    /// String: `hit`, `miss` or `unknown`: whether the cache on disk had it.
    pub const CACHE_RESULT: &str = "jit.cache.result";
    /// String: the runtime's own id of the compile, as its logs have it (torch.compile: `0/1`).
    pub const COMPILE_ID: &str = "jit.compile.id";
    /// String: `first_use`, `new_specialization`, `recompile`, `retune`.
    pub const CAUSE: &str = "jit.cause";
    /// String: which arguments differ from the nearest specialization known, in words.
    pub const CHANGES: &str = "jit.changes";
    /// String: compile options as `name=value`, joined by commas.
    pub const OPTIONS: &str = "jit.options";
    /// Prefix of doubles, s: time of one stage of the compile, by the runtime's own stage name.
    pub const STAGE_PREFIX: &str = "jit.stage.";
    /// Bool: asked for by a manual warm-up call, so no accident.
    pub const MANUAL_WARMUP: &str = "jit.manual_warmup";
    /// Bool: kernels compile as requests come, by the server's own choice (vLLM's `--enforce-eager`), so no accident.
    pub const EXPECTED: &str = "jit.expected";
    /// Bool: no request waited for it, so far as can be seen.
    pub const BACKGROUND: &str = "jit.background";
    /// OpenTelemetry, int: how the process ended that compiled; negative: the signal that ended it.
    pub const EXIT_CODE: &str = "process.exit.code";
    /// Bool: the first compile of the process, which pays once for start-up costs of the runtime.
    pub const FIRST_IN_PROCESS: &str = "jit.first_in_process";
    /// Int: bytes of the device's memory that were free when a kernel was loaded onto it.
    pub const FREE_MEMORY: &str = "jit.device.free_memory";
    /// String, verbose: parameter types.
    pub const SIGNATURE: &str = "jit.signature";
    /// String, verbose: compile-time constants.
    pub const CONSTEXPRS: &str = "jit.constexprs";
    /// String, verbose: the runtime's own cache key.
    pub const KEY: &str = "jit.key";
    /// String: the tuning key, as `name=value`, joined by commas.
    pub const AUTOTUNE_KEY: &str = "jit.autotune.key";
    /// Int: configurations the kernel declares.
    pub const AUTOTUNE_DECLARED: &str = "jit.autotune.declared";
    /// Int: configurations that were benchmarked.
    pub const AUTOTUNE_BENCHMARKED: &str = "jit.autotune.benchmarked";
    /// String: the configuration that won.
    pub const AUTOTUNE_BEST: &str = "jit.autotune.best";
    /// String: each configuration with its time in milliseconds, bounded.
    pub const AUTOTUNE_TIMINGS: &str = "jit.autotune.timings";
    /// String: what it takes to compile it again, as JSON: a line of a manifest.
    pub const SPECIALIZATION: &str = "jit.specialization";
    /// Int, on `jit.summary`: events that stand nowhere else.
    pub const EVENTS_OMITTED: &str = "jit.events.omitted";
    /// OpenTelemetry: the kernel's function, qualified by its module.
    pub const CODE_FUNCTION_NAME: &str = "code.function.name";
    /// OpenTelemetry: the kernel's source file.
    pub const CODE_FILE_PATH: &str = "code.file.path";
    /// OpenTelemetry: the line the kernel starts at.
    pub const CODE_LINE_NUMBER: &str = "code.line.number";
    /// OpenTelemetry, verbose: the Python stack of the launch.
    pub const CODE_STACKTRACE: &str = "code.stacktrace";
    /// OpenTelemetry: class of the error, low in cardinality. `process_ended`: the process was killed, or died.
    pub const ERROR_TYPE: &str = "error.type";
    /// OpenTelemetry: class of an exception.
    pub const EXCEPTION_TYPE: &str = "exception.type";
    /// OpenTelemetry: message of an exception.
    pub const EXCEPTION_MESSAGE: &str = "exception.message";
    /// OpenTelemetry: id of the thread that waited.
    pub const THREAD_ID: &str = "thread.id";
    /// OpenTelemetry: name of the thread that waited.
    pub const THREAD_NAME: &str = "thread.name";
}

/// Attributes of `jit.preload`: what became of a manifest's lines.
pub mod preload {
    /// Begins each of them.
    pub const PREFIX: &str = "jit.preload.";
    /// Int: specializations in the manifest.
    pub const TOTAL: &str = "jit.preload.total";
    /// Int: specializations that are in memory now.
    pub const WARM: &str = "jit.preload.warm";
    /// Int: of these, those that were compiled now.
    pub const COMPILED: &str = "jit.preload.compiled";
    /// Int: of these, those that came from the runtime's cache on disk.
    pub const LOADED: &str = "jit.preload.loaded";
    /// Int: tunings in the manifest.
    pub const TUNINGS: &str = "jit.preload.tunings";
    /// Int: tunings whose result was put back.
    pub const TUNINGS_WARM: &str = "jit.preload.tunings_warm";
    /// Int: lines of which the process has no kernel.
    pub const GONE: &str = "jit.preload.gone";
    /// Int: specializations that were compiled from another source than then.
    pub const CHANGED: &str = "jit.preload.changed";
    /// Int: specializations that did not compile.
    pub const FAILED: &str = "jit.preload.failed";
    /// Int: lines that cannot be replayed.
    pub const UNSUPPORTED: &str = "jit.preload.unsupported";
    /// Int: lines that could not be read.
    pub const MALFORMED: &str = "jit.preload.malformed";
    /// Int: lines beyond the bounds of a replay.
    pub const DROPPED: &str = "jit.preload.dropped";
    /// Int: specializations for which no time was left.
    pub const LATE: &str = "jit.preload.late";
}

/// What Datadog's tracer calls things on its own spans.
pub mod datadog {
    /// OpenTelemetry, deprecated there: its message of an error.
    pub const ERROR_MESSAGE: &str = "error.message";
}

/// Attributes of the resource: who sends.
pub mod resource {
    /// OpenTelemetry: the service.
    pub const SERVICE_NAME: &str = "service.name";
    /// OpenTelemetry: this process of the service. Without it two ranks hide each other's metrics.
    pub const SERVICE_INSTANCE_ID: &str = "service.instance.id";
    /// OpenTelemetry: id of the process.
    pub const PROCESS_PID: &str = "process.pid";
    /// OpenTelemetry: file name of the program.
    pub const PROCESS_EXECUTABLE_NAME: &str = "process.executable.name";
    /// OpenTelemetry: `cpython`, ...
    pub const PROCESS_RUNTIME_NAME: &str = "process.runtime.name";
    /// OpenTelemetry: the version of that.
    pub const PROCESS_RUNTIME_VERSION: &str = "process.runtime.version";
    /// OpenTelemetry: name of the machine.
    pub const HOST_NAME: &str = "host.name";
    /// OpenTelemetry: `amd64`, `arm64`, ...
    pub const HOST_ARCH: &str = "host.arch";
    /// OpenTelemetry: `linux`, ...
    pub const OS_TYPE: &str = "os.type";
    /// OpenTelemetry: what made the telemetry.
    pub const SDK_NAME: &str = "telemetry.sdk.name";
    /// OpenTelemetry: the language of that.
    pub const SDK_LANGUAGE: &str = "telemetry.sdk.language";
    /// OpenTelemetry: the version of that.
    pub const SDK_VERSION: &str = "telemetry.sdk.version";
}

/// Metrics. Counters begin at 0 when the monitor is armed, for every runtime that is watched: the first compile is
/// then an increase, which Prometheus would not see in a series that begins with 1.
///
/// That is why no kernel's name is on the histograms and on `jit.compiles`: nearly every compile is the first
/// of its kernel. Which kernels cost how much says `jit.kernel.time`, of which the value itself is read.
///
/// Counters of whole things are plural nouns, as OpenTelemetry's naming guide wants; `.count` is for what also falls.
pub mod metric {
    /// Histogram, s: compiles. By runtime and cache result, and by `error.type` if it failed.
    pub const COMPILE_DURATION: &str = "jit.compile.duration";
    /// Histogram, s: autotunes. By runtime, and by `error.type` if it failed.
    pub const AUTOTUNE_DURATION: &str = "jit.autotune.duration";
    /// Counter, {compile}: by runtime and cause.
    pub const COMPILES: &str = "jit.compiles";
    /// Counter, {load}: compiled kernels that came from a cache on disk. By runtime.
    pub const LOADS: &str = "jit.loads";
    /// Counter, {miss}: kernels that ran untuned, each shape once. By runtime.
    pub const TUNER_MISSES: &str = "jit.tuner_misses";
    /// Counter, s: time lost to compiles, autotunes and launchers (a compile in an autotune counts once). By runtime and kernel,
    /// in a bounded number of series.
    pub const KERNEL_TIME: &str = "jit.kernel.time";
    /// Up-down counter, {compile}: compiles, autotunes and loads that go on now; what nests in another counts with it. By
    /// runtime.
    pub const ACTIVE_COMPILES: &str = "jit.active_compiles";
    /// Counter, {request}: requests that waited for at least one compile.
    pub const STALLED_REQUESTS: &str = "jit.stalled_requests";
    /// Counter, {event}: events that did not fit on their span. They are in its summary.
    pub const DROPPED_EVENTS: &str = "jitspan.dropped_events";
    /// OpenTelemetry, counter, {span}: spans of which the exporter is done: taken by the collector, or, with an
    /// `error.type`, dropped. Our queue is a part of the exporter: one that found it full is counted here too.
    pub const SPANS_EXPORTED: &str = "otel.sdk.exporter.span.exported";
    /// OpenTelemetry, up-down counter, {span}: spans that the exporter has, in its queue or on the way.
    pub const SPANS_IN_FLIGHT: &str = "otel.sdk.exporter.span.inflight";
    /// OpenTelemetry, counter, {log_record}: the same for log-based events.
    pub const LOGS_EXPORTED: &str = "otel.sdk.exporter.log.exported";
    /// OpenTelemetry, up-down counter, {log_record}: the same for log-based events.
    pub const LOGS_IN_FLIGHT: &str = "otel.sdk.exporter.log.inflight";
    /// OpenTelemetry, string attribute: whose counters these are; ours among those of the program's own SDK.
    pub const COMPONENT_NAME: &str = "otel.component.name";
    /// OpenTelemetry, string attribute: `otlp_grpc_span_exporter` and its like.
    pub const COMPONENT_TYPE: &str = "otel.component.type";
    /// OpenTelemetry, string attribute: the collector's host.
    pub const SERVER_ADDRESS: &str = "server.address";
    /// OpenTelemetry, int attribute: the collector's port.
    pub const SERVER_PORT: &str = "server.port";
    /// OpenTelemetry, bool attribute: the series that stands for all that did not get one of their own.
    pub const OVERFLOW: &str = "otel.metric.overflow";
}
