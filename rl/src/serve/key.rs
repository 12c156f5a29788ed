//! The key that a server may want of its clients.

use sha2::{Digest, Sha256};

/// A key, kept as its digest: comparing digests takes as long for a key that is nearly right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key([u8; 32]);

impl Key {
    /// A key by its text.
    pub(super) fn new(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }

    /// Whether an `Authorization` header has it.
    pub(super) fn opens(&self, given: Option<&str>) -> bool {
        let bearer = given.and_then(|given| {
            let (scheme, key) = given.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
        });
        bearer.is_some_and(|key| Self::new(key) == *self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_opens() {
        let key = Key::new("secret");
        assert!(key.opens(Some("Bearer secret")) && key.opens(Some("bearer  secret ")));
        for wrong in [None, Some(""), Some("secret"), Some("Basic secret"), Some("Bearer Secret"), Some("Bearer ")] {
            assert!(!key.opens(wrong), "{wrong:?}");
        }
    }
}
