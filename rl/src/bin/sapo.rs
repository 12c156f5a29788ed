//! The `sapo` command, with the rewards of the house alone.

use std::process::ExitCode;

/// Tensors come and go by the thousand in a step: an allocator that keeps freed pages saves asking the system for them again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    sapo::main(sapo::Kinds::default())
}
