//! Kernels that a program compiles itself, with Cranelift, each told to jitspan.

use std::collections::HashMap;
use std::error::Error;
use std::time::Instant;

use cranelift_codegen::ir::{AbiParam, InstBuilder, types};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{Linkage, Module, default_libcall_names};
use jitspan::{CacheResult, Cause, CompileEvent, Kernel, Kind};

/// Kernels that raise to a fixed power, each compiled when it is first asked for.
#[derive(Default)]
pub struct Kernels(HashMap<u32, Compiled>);

struct Compiled {
    run: extern "C" fn(i64) -> i64,
    /// Holds the code that `run` points to.
    _module: JITModule,
}

impl Kernels {
    pub fn power(&mut self, exponent: u32, base: i64) -> Result<i64, Box<dyn Error>> {
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
