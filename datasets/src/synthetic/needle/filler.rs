//! What needles are hidden in: sentences of our own that say nothing of numbers, or those of a text.

use std::borrow::Cow;

use super::super::dice::{Dice, pick};
use rand::RngExt;

/// Words of a sentence of a text at most: what is longer comes in pieces.
const LONGEST: usize = 30;

const WHO: [&str; 16] = [
    "The baker",
    "A gardener",
    "The ferryman",
    "My aunt",
    "The young teacher",
    "A postman",
    "The miller",
    "Our neighbour",
    "The carpenter",
    "A fisherman",
    "The librarian",
    "An old sailor",
    "The shepherd",
    "A painter",
    "The clockmaker",
    "The night nurse",
];
const DID: [&str; 16] = [
    "swept the yard",
    "told a long story",
    "mended the gate",
    "carried water from the well",
    "watched the clouds",
    "baked bread for the village",
    "wrote a letter home",
    "fed the geese",
    "sang by the open window",
    "looked for a lost glove",
    "painted the fence",
    "read the morning paper",
    "picked apples",
    "cleaned the lamps",
    "walked along the river",
    "played a slow tune",
];
const WHEN: [&str; 16] = [
    "before the rain came",
    "while the others slept",
    "as the bells began to ring",
    "on the way to the market",
    "until the evening grew cold",
    "because nobody else would",
    "with a smile",
    "without saying a word",
    "after the harvest was in",
    "when the fog had lifted",
    "under the old lime tree",
    "and then went home",
    "although it was late",
    "as every spring",
    "to pass the time",
    "while the kettle boiled",
];

/// The sentences of a haystack.
#[derive(Clone, Debug, Default)]
pub struct Filler {
    /// Those of a text; none stands for our own.
    sentences: Vec<String>,
}

impl Filler {
    /// The sentences of a text: up to a full stop, question or exclamation mark, or an empty line; long ones in pieces.
    ///
    /// # Errors
    /// When it holds no word.
    pub fn of_text(text: &str) -> Result<Self, &'static str> {
        let mut sentences = Vec::new();
        for paragraph in text.split("\n\n") {
            let mut sentence: Vec<&str> = Vec::new();
            for word in paragraph.split_whitespace() {
                sentence.push(word);
                if sentence.len() == LONGEST || word.ends_with(['.', '!', '?', '。', '！', '？']) {
                    sentences.push(sentence.join(" "));
                    sentence.clear();
                }
            }
            if !sentence.is_empty() {
                sentences.push(sentence.join(" "));
            }
        }
        if sentences.is_empty() { Err("it holds no word") } else { Ok(Self { sentences }) }
    }

    /// Sentences without end: those of the text from any one on, and from its first again after its last; or our own.
    pub(super) fn drawn<'a>(&'a self, dice: &'a mut Dice) -> impl Iterator<Item = Cow<'a, str>> + 'a {
        let known = self.sentences.len();
        let mut at = if known > 0 { dice.random_range(0..known) } else { 0 };
        std::iter::from_fn(move || {
            if known == 0 {
                return Some(format!("{} {} {}.", pick(dice, &WHO), pick(dice, &DID), pick(dice, &WHEN)).into());
            }
            let sentence = self.sentences.get(at).map(|text| Cow::from(text.as_str()));
            at = (at + 1) % known;
            sentence
        })
    }
}
