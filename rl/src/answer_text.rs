//! The text of an answer while its tokens come: whole characters as soon as they are whole, and nothing that could still
//! turn out to be the beginning of a stop text.

/// An answer's text on its way. What [`AnswerText::push`] and [`AnswerText::finish`] give joins to the lossy UTF-8 of all bytes, up to
/// the first stop text.
#[derive(Clone, Debug)]
pub struct AnswerText {
    /// Bytes of a character that is not whole yet.
    bytes: Vec<u8>,
    /// Text that is not handed out yet.
    held: String,
    stops: Vec<String>,
    /// The stop text that was met, by its number.
    stopped: Option<usize>,
}

impl AnswerText {
    /// An empty text that ends before the first of `stops`, none of which is empty.
    pub fn new(stops: &[String]) -> Self {
        Self { bytes: Vec::new(), held: String::new(), stops: stops.to_vec(), stopped: None }
    }

    /// Whether a stop text was met: nothing follows.
    pub fn is_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    /// Takes the bytes of a token and gives the text that is certain now.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        if self.is_stopped() {
            return String::new();
        }
        self.bytes.extend_from_slice(bytes);
        self.decode();
        self.release(false)
    }

    /// Gives what is left: no token follows.
    pub fn finish(&mut self) -> String {
        if self.is_stopped() {
            return String::new();
        }
        self.held.push_str(&String::from_utf8_lossy(&std::mem::take(&mut self.bytes)));
        self.release(true)
    }

    /// Moves all bytes into the text but those of a last character that more bytes may complete.
    fn decode(&mut self) {
        let mut rest = self.bytes.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    self.held.push_str(text);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (whole, after) = rest.split_at(error.valid_up_to());
                    self.held.push_str(&String::from_utf8_lossy(whole));
                    rest = after;
                    let Some(invalid) = error.error_len() else { break };
                    self.held.push(char::REPLACEMENT_CHARACTER);
                    rest = &rest[invalid..];
                }
            }
        }
        self.bytes = rest.to_vec();
    }

    fn release(&mut self, is_last: bool) -> String {
        let found = |(number, stop): (usize, &String)| Some((self.held.find(stop.as_str())?, number));
        if let Some((at, number)) = self.stops.iter().enumerate().filter_map(found).min() {
            self.stopped = Some(number);
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let kept = if is_last { 0 } else { self.beginning_of_a_stop() };
        let later = self.held.split_off(self.held.len() - kept);
        std::mem::replace(&mut self.held, later)
    }

    /// Bytes at the end of the text that a stop text may begin with.
    fn beginning_of_a_stop(&self) -> usize {
        let longest = |stop: &String| {
            let ends = stop.char_indices().map(|(at, _)| at).skip(1).filter(|at| *at <= self.held.len());
            ends.filter(|at| self.held.ends_with(&stop[..*at])).max().unwrap_or(0)
        };
        self.stops.iter().map(longest).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stops(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn pieces(text: &mut AnswerText, tokens: &[&[u8]]) -> Vec<String> {
        let mut pieces: Vec<String> = tokens.iter().map(|token| text.push(token)).collect();
        pieces.push(text.finish());
        pieces
    }

    #[test]
    fn a_character_waits_until_it_is_whole() {
        let euro = "\u{20ac}".as_bytes();
        let mut text = AnswerText::new(&[]);
        assert_eq!(
            pieces(&mut text, &[b"1 ", &euro[..1], &euro[1..2], &euro[2..], b"!"]),
            ["1 ", "", "", "€", "!", ""]
        );
        let mut text = AnswerText::new(&[]);
        assert_eq!(
            pieces(&mut text, &[&euro[..2], b"a", &[0xff], &euro[..2]]),
            ["", "\u{fffd}a", "\u{fffd}", "", "\u{fffd}"]
        );
    }

    #[test]
    fn what_may_begin_a_stop_text_is_held_back() {
        let mut text = AnswerText::new(&stops(&["</end>", "</stop>"]));
        assert_eq!(pieces(&mut text, &[b"a <", b"b", b" </", b"en", b"d> c", b"d"]), ["a ", "<b", " ", "", "", "", ""]);
        assert!(text.is_stopped());
        let mut text = AnswerText::new(&stops(&["</end>"]));
        assert_eq!(pieces(&mut text, &[b"a </en"]), ["a ", "</en"], "it did not come");
        assert!(!text.is_stopped());
    }

    #[test]
    fn the_first_of_several_stop_texts_ends_the_answer() {
        let mut text = AnswerText::new(&stops(&["b", "ab"]));
        assert_eq!(pieces(&mut text, &[b"xab"]), ["x", ""]);
        let mut text = AnswerText::new(&stops(&["aab"]));
        assert_eq!(pieces(&mut text, &[b"a", b"a", b"a", b"b"]), ["", "", "a", "", ""]);
    }

    /// The tokens of a text are the record, and their bytes its text: for any ids, also those without a token.
    #[test]
    fn deltas_join_to_what_the_tokenizer_says_of_all_ids() {
        let processor = sapo_policies::preset::processor_of("tiny").unwrap();
        let largest = processor.tokenizer().largest_id();
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let ids = prop::collection::vec(0..largest + 3, 0..40);
        let joins = |ids: Vec<u32>| {
            let mut text = AnswerText::new(&[]);
            let joined: String = ids.iter().map(|id| text.push(processor.token_bytes(*id))).collect();
            prop_assert_eq!(joined + &text.finish(), processor.decode(&ids, true));
            Ok(())
        };
        runner.run(&ids, joins).unwrap();
    }

    proptest! {
        /// Deltas join to the lossy decoding of all bytes, up to the first stop text, wherever tokens are cut.
        #[test]
        fn deltas_join_to_the_whole_text(
            tokens in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(0xe2), Just(0x82), Just(0xac), any::<u8>()], 0..4),
                    "[ab€]{0,3}".prop_map(String::into_bytes),
                ],
                0..24,
            ),
            stop in prop::collection::vec("[ab€]{1,3}", 0..3),
        ) {
            let mut text = AnswerText::new(&stop);
            let joined: String = tokens.iter().map(|token| text.push(token)).collect::<String>() + &text.finish();
            let whole = String::from_utf8_lossy(&tokens.concat()).into_owned();
            // Token by token, the text ends before the first stop text that it holds.
            let mut expected = whole.clone();
            for count in 0..=tokens.len() {
                let bytes = tokens[..count].concat();
                // A character that is not whole yet is no part of the text.
                let whole_bytes = match std::str::from_utf8(&bytes) {
                    Err(error) if error.error_len().is_none() => error.valid_up_to(),
                    _ => bytes.len(),
                };
                let so_far = String::from_utf8_lossy(&bytes[..whole_bytes]);
                let ends = stop.iter().filter_map(|stop| so_far.find(stop.as_str())).min();
                if let Some(at) = ends {
                    expected = whole[..at].to_owned();
                    break;
                }
            }
            prop_assert_eq!(joined, expected);
        }
    }
}
