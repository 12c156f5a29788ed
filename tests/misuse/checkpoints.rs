//! Misuses of checkpoints and models: folders, hub ids, other architectures, resumes.
