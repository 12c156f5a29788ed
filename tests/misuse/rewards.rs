//! Misuses of rewards: plugins, rubrics, judges.
