//! Misuses of flags and commands.
