//! What was found in a text.

/// What was found in a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// Running text changes its language without a reason.
    pub mixed: bool,
    /// The text is wholly in another language.
    pub wrong_language: bool,
    /// The words that gave it away.
    pub evidence: Option<String>,
}

impl Finding {
    pub(super) fn mixed(evidence: impl Into<String>) -> Self {
        Self { mixed: true, wrong_language: false, evidence: Some(evidence.into()) }
    }

    pub(super) fn wrong(evidence: impl Into<String>) -> Self {
        Self { mixed: false, wrong_language: true, evidence: Some(evidence.into()) }
    }
}
