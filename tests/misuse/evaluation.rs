//! Misuses of evaluations: sets, baselines, comparisons.
