//! The `sapo` command.
fn main() {}
