//! What trains, and how what trains comes to gradients: frozen parts, low-rank adapters, packed and decoded rows,
//! turns with what was put in between them, layers that run again.

mod completion;
mod freeze;
mod lora;
mod pictures;
mod prompt;
mod recompute;
