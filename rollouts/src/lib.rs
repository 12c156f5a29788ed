//! Turning queries into groups of rollouts.
