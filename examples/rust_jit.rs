//! A Rust program that compiles kernels itself, at run time and for the CPU (Cranelift), and says so on the span of the
//! request that waited. With NVRTC, or any other compiler, the call to `jitspan::record` is the same.
//!
//! ```sh
//! cargo run --manifest-path examples/rust/Cargo.toml --bin rust_jit
//! cargo run ... --bin rust_jit https://collector.example:4317 token.txt authority.pem
//! ```
//!
//! The second form sets everything in code; no variable is needed. What `jitspan::record` says is heard as a warning
//! through `tracing`, too.
//!
//! `JIT_MONITOR_MODE=error` makes a compile after the warm-up an error.

#[path = "rust/exporter.rs"]
mod exporter;
#[path = "rust/kernels.rs"]
mod kernels;

use std::error::Error;
use std::time::Duration;

use exporter::{Collector, exporter};
use jitspan::{Config, Mode, Settings};
use kernels::Kernels;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let [endpoint, token, authority] = std::array::from_fn(|_| arguments.next());
    let collector = Collector { endpoint, token, authority };
    let resource = Resource::builder().with_service_name("rust_jit").build();

    // The exporter's gRPC client needs a runtime around it; the program itself does not.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let _entered = runtime.enter();
    let builder = SdkTracerProvider::builder().with_resource(resource.clone());
    let provider = builder.with_batch_exporter(exporter(&collector)?).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("rust_jit"));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // Without a level, what the exporter's HTTP/2 client says of each frame would be spans too.
    tracing_subscriber::registry().with(LevelFilter::INFO).with(layer).with(lines).init();

    let mut kernels = Kernels::default();
    kernels.power(2, 3)?;
    // Warm-up is over.
    let mode = std::env::var("JIT_MONITOR_MODE").ok().and_then(|mode| Mode::from_word(&mode)).unwrap_or(Mode::Warn);
    let config = Config::from_environment(&Settings { mode, ..Settings::default() })?;
    jitspan::install_through(config, resource, move || exporter(&collector));

    for exponent in [2, 5] {
        let answer = tracing::info_span!("request", exponent).in_scope(|| kernels.power(exponent, 3));
        match answer {
            Ok(answer) => println!("3^{exponent} = {answer}"),
            Err(error) => println!("3^{exponent} failed: {error}"),
        }
    }
    jitspan::flush(Duration::from_secs(2));
    provider.shutdown()?;
    Ok(())
}
