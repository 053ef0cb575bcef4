//! The environment, as the engine in this process means it: vLLM has flags for what are variables elsewhere, and a service
//! without a name is called as its engine is.

use crate::config;
use crate::process::lock::Mutex;

/// The engine that has called us.
static ENGINE: Mutex<Option<&'static str>> = Mutex::new(None);

/// Where the engine's own flag sends spans.
static ENDPOINT: Mutex<Option<String>> = Mutex::new(None);

/// An engine has called us.
pub fn is_of(engine: &'static str) {
    *ENGINE.lock() = Some(engine);
}

/// Its own flag says where spans go. That is meant for us, too.
pub fn sends_to(endpoint: String) {
    *ENDPOINT.lock() = Some(endpoint);
}

/// Where its own flag sends spans, if it said so.
pub fn endpoint() -> Option<String> {
    ENDPOINT.lock().clone()
}

/// A variable: what the engine's flags say of it, else the environment.
pub fn variable(name: &str) -> Option<String> {
    let said = flag(name).or_else(|| config::variable(name));
    config::environment::service_of(*ENGINE.lock(), name, said)
}

/// vLLM speaks gRPC unless the variable for traces says otherwise.
fn flag(name: &str) -> Option<String> {
    let endpoint = endpoint()?;
    match name {
        config::OTLP_TRACES_ENDPOINT => Some(endpoint),
        config::OTLP_TRACES_PROTOCOL => config::variable(name).or_else(|| Some("grpc".to_owned())),
        _ => None,
    }
}
