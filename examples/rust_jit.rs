//! A Rust program that compiles kernels itself, at run time and for the CPU (Cranelift), and says so on the span of the
//! request that waited. With NVRTC, or any other compiler, the call to `jitspan::record` is the same.
//!
//! ```sh
//! cargo run --manifest-path examples/rust/Cargo.toml --bin rust_jit
//! ```
//!
//! `JIT_MONITOR_MODE=error` makes a compile after the warm-up an error.

use std::collections::HashMap;
use std::error::Error;
use std::time::Instant;

use cranelift_codegen::ir::{AbiParam, InstBuilder, types};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{Linkage, Module, default_libcall_names};
use jitspan::{CacheResult, Cause, CompileEvent, Config, Kernel, Kind, Mode, Settings};
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

fn main() -> Result<(), Box<dyn Error>> {
    // The exporter's gRPC client needs a runtime around it; the program itself does not.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let _entered = runtime.enter();
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic().build()?;
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("rust_jit"));
    tracing_subscriber::registry().with(layer).init();

    let mut kernels = Kernels::default();
    kernels.power(2, 3)?;
    // Warm-up is over.
    let mode = std::env::var("JIT_MONITOR_MODE").ok().and_then(|mode| Mode::from_word(&mode)).unwrap_or(Mode::Warn);
    jitspan::install(Config::from_environment(&Settings { mode, ..Settings::default() })?);

    for exponent in [2, 5] {
        let answer = tracing::info_span!("request", exponent).in_scope(|| kernels.power(exponent, 3));
        match answer {
            Ok(answer) => println!("3^{exponent} = {answer}"),
            Err(error) => println!("3^{exponent} failed: {error}"),
        }
    }
    jitspan::flush(std::time::Duration::from_secs(2));
    provider.shutdown()?;
    Ok(())
}

/// Kernels that raise to a fixed power, each compiled when it is first asked for.
#[derive(Default)]
struct Kernels(HashMap<u32, Compiled>);

struct Compiled {
    run: extern "C" fn(i64) -> i64,
    /// Holds the code that `run` points to.
    _module: JITModule,
}

impl Kernels {
    fn power(&mut self, exponent: u32, base: i64) -> Result<i64, Box<dyn Error>> {
        if !self.0.contains_key(&exponent) {
            let started = Instant::now();
            let compiled = compile(exponent)?;
            let first = self.0.is_empty();
            self.0.insert(exponent, compiled);
            let mut event = CompileEvent::new(Kind::Compile, "cranelift", Kernel::named("power"));
            event.duration = started.elapsed();
            event.cache = CacheResult::Miss;
            event.cause = Some(if first { Cause::FirstUse } else { Cause::NewSpecialization });
            event.changes = vec![format!("exponent: {exponent}")];
            // The kernel is kept before an error is returned: the next call works.
            jitspan::record(event)?;
        }
        Ok(self.0.get(&exponent).map_or(0, |compiled| (compiled.run)(base)))
    }
}

fn compile(exponent: u32) -> Result<Compiled, Box<dyn Error>> {
    let mut module = JITModule::new(JITBuilder::new(default_libcall_names())?);
    let mut context = module.make_context();
    context.func.signature.params.push(AbiParam::new(types::I64));
    context.func.signature.returns.push(AbiParam::new(types::I64));
    let mut scratch = FunctionBuilderContext::new();
    let mut builder = FunctionBuilder::new(&mut context.func, &mut scratch);
    let block = builder.create_block();
    builder.append_block_params_for_function_params(block);
    builder.switch_to_block(block);
    builder.seal_block(block);
    let base = builder.block_params(block)[0];
    let one = builder.ins().iconst(types::I64, 1);
    let product = (0..exponent).fold(one, |product, _| builder.ins().imul(product, base));
    builder.ins().return_(&[product]);
    builder.finalize();

    let function = module.declare_function("power", Linkage::Export, &context.func.signature)?;
    module.define_function(function, &mut context)?;
    module.finalize_definitions()?;
    let code = module.get_finalized_function(function);
    // SAFETY: Cranelift has compiled a function of exactly this signature, and `_module` keeps its code.
    let run = unsafe { std::mem::transmute::<*const u8, extern "C" fn(i64) -> i64>(code) };
    Ok(Compiled { run, _module: module })
}
