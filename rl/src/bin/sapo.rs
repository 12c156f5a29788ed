//! The `sapo` command, with the rewards of the house alone.

use std::process::ExitCode;

fn main() -> ExitCode {
    sapo::main(sapo::Kinds::default())
}
