//! Texts that end an answer, found in the bytes of its tokens as they come.

/// The end of an answer's text, as far as a stop text could still begin in it.
#[derive(Clone, Debug, Default)]
pub(super) struct StopTexts {
    tail: Vec<u8>,
}

impl StopTexts {
    /// Takes the bytes of the next token, and gives the text of `texts` that is reached with them: the one that begins first,
    /// and of those the longest.
    pub(super) fn push<'a>(&mut self, bytes: &[u8], texts: &'a [String]) -> Option<&'a str> {
        let longest = texts.iter().map(String::len).max()?;
        self.tail.extend_from_slice(bytes);
        let found = texts.iter().filter_map(|text| {
            let start = self.tail.windows(text.len()).position(|window| window == text.as_bytes())?;
            Some((start, std::cmp::Reverse(text.len()), text.as_str()))
        });
        let found = found.min();
        let kept = self.tail.len().saturating_sub(longest - 1);
        self.tail.drain(..kept);
        found.map(|(_, _, text)| text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_text_may_span_tokens_and_characters() {
        let stops = texts(&["</answer>", "über"]);
        let mut found = StopTexts::default();
        for part in ["5 </ans", "wer </", "answ", "er"] {
            assert_eq!(found.push(part.as_bytes(), &stops), None);
        }
        assert_eq!(found.push(b"> more", &stops), Some("</answer>"));
        let mut found = StopTexts::default();
        let letter = "ü".as_bytes();
        assert_eq!(found.push(&letter[..1], &stops), None);
        assert_eq!(found.push(&letter[1..], &stops), None);
        assert_eq!(found.push(b"ber", &stops), Some("über"));
    }

    #[test]
    fn the_first_and_longest_is_reached() {
        let stops = texts(&["b", "ab", "abc"]);
        assert_eq!(StopTexts::default().push(b"xabcd", &stops), Some("abc"));
        assert_eq!(StopTexts::default().push(b"xabcd", &[]), None);
    }

    proptest! {
        #[test]
        fn what_is_found_is_in_the_text_as_soon_as_it_is_whole(
            text in "[ab]{0,24}",
            cuts in prop::collection::vec(0_usize..24, 0..6),
            stops in prop::collection::vec("[ab]{1,4}", 1..4),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= text.len()).collect();
            cuts.push(text.len());
            cuts.sort_unstable();
            let (mut start, mut found) = (0, StopTexts::default());
            for end in cuts {
                let reached = found.push(&text.as_bytes()[start..end], &stops);
                let whole = stops.iter().any(|stop| text[..end].contains(stop.as_str()));
                prop_assert_eq!(reached.is_some(), whole);
                if let Some(reached) = reached {
                    prop_assert!(text[..end].contains(reached));
                    break;
                }
                start = end;
            }
        }
    }
}
