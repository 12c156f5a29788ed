//! Turning a query and its transcript into a score.
