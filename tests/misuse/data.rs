//! Misuses of data: sources, rows, pictures, memory.
