//! What a comparison found.

/// What a comparison found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The same answer.
    Equal,
    /// Another answer, or none.
    Different,
    /// One side cannot be read or evaluated; on the gold side this is an error in the data.
    Unknown,
}

impl Verdict {
    pub(super) fn when(equal: bool) -> Self {
        if equal { Self::Equal } else { Self::Different }
    }

    /// Both must be equal; a difference outweighs a doubt.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Different, _) | (_, Self::Different) => Self::Different,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            _ => Self::Equal,
        }
    }
}
