//! What users call: the functions and classes of the module, and the commands.

pub mod api;
pub mod doctor;
mod doctor_text;
pub mod instrumentor;
pub mod middleware;
pub mod private_folder;
pub mod run;
pub mod scope;
pub mod status;
