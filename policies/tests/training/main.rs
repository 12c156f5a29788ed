//! What trains, and how what trains comes to gradients: frozen parts, low-rank adapters, packed and decoded rows.

mod freeze;
mod lora;
mod pictures;
mod prompt;
