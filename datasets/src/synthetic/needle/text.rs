//! A needle in a text: a sentence that names a number, among sentences that do not.

use rand::RngExt;

use super::super::dice::{Dice, pick};
use super::filler::Filler;
use super::{Asked, Place};

const COLOURS: [&str; 12] = [
    "crimson",
    "turquoise",
    "violet",
    "amber",
    "ivory",
    "scarlet",
    "emerald",
    "indigo",
    "silver",
    "copper",
    "pearl",
    "golden",
];
const THINGS: [&str; 16] = [
    "lantern",
    "suitcase",
    "bicycle",
    "umbrella",
    "compass",
    "kettle",
    "violin",
    "ladder",
    "mirror",
    "anchor",
    "teapot",
    "basket",
    "telescope",
    "carriage",
    "drum",
    "saddle",
];
/// Needles that are tried until one is found whose words a haystack does not have.
const TRIES: usize = 200;

/// What texts are made of, and how long they are.
pub struct Haystack<'a> {
    /// The sentences.
    pub filler: Filler,
    /// What is counted.
    pub unit: String,
    /// Counts a text.
    pub count: &'a dyn Fn(&str) -> usize,
}

/// A fact, and what it is asked by.
struct Needle {
    name: String,
    number: u32,
}

impl Needle {
    fn any(dice: &mut Dice) -> Self {
        let name = format!("{} {}", pick(dice, &COLOURS), pick(dice, &THINGS));
        Self { name, number: dice.random_range(10_000..100_000) }
    }

    fn sentence(&self) -> String {
        format!("The number of the {} is {}.", self.name, self.number)
    }
}

impl Haystack<'_> {
    /// Words, as spaces part them, of our own sentences.
    pub fn words() -> Haystack<'static> {
        let count: &dyn Fn(&str) -> usize = &|text| text.split_whitespace().count();
        Haystack { filler: Filler::default(), unit: "words".to_owned(), count }
    }

    pub(super) fn unit(&self) -> &str {
        &self.unit
    }

    /// Hides a fact in a text that counts at most the length, and less by no more than a sentence.
    ///
    /// # Errors
    /// When the length is too short for the fact and a sentence on each side, or the text has the words of every fact.
    pub(super) fn hide(&self, Place { length, depth, .. }: Place, dice: &mut Dice) -> Result<Asked, String> {
        let longest = usize::try_from(length).unwrap_or(usize::MAX);
        // Which needle it is to be is not known yet; they count about alike.
        let mut sum = (self.count)(&Needle::any(dice).sentence());
        let (mut sentences, mut counts) = (Vec::new(), Vec::new());
        for sentence in self.filler.drawn(dice) {
            let count = (self.count)(&format!(" {sentence}")).max(1);
            sum = sum.saturating_add(count);
            if sum > longest {
                break;
            }
            counts.push(count);
            sentences.push(sentence.into_owned());
        }
        let all = sentences.join(" ");
        let is_new = |needle: &Needle| !all.contains(&needle.name) && !all.contains(&needle.number.to_string());
        let found = (0..TRIES).map(|_| Needle::any(dice)).find(is_new);
        let reason = "the haystack has the words of every needle that was tried; take another text";
        let needle = found.ok_or_else(|| reason.to_owned())?;
        loop {
            if sentences.len() < 2 {
                let least = "the needle and a sentence on each side of it do not fit";
                return Err(format!("a length of {length} {} is too short: {least}; take longer ones", self.unit));
            }
            let before = before(&counts, depth);
            let needle_text = needle.sentence();
            let (head, tail) = sentences.split_at(before);
            let all = head.iter().chain([&needle_text]).chain(tail);
            let haystack = all.map(String::as_str).collect::<Vec<_>>().join(" ");
            // A whole text may count a little more than its sentences.
            let counted = (self.count)(&haystack);
            if counted <= longest {
                let question = format!("What is the number of the {}?", needle.name);
                let counted = counted as u64;
                return Ok(Asked { question, answer: needle.number, haystack, pictures: Vec::new(), counted });
            }
            sentences.pop();
            counts.pop();
        }
    }
}

/// How many sentences stand before a depth: as many as come nearest to its share of what all count.
fn before(counts: &[usize], depth: f64) -> usize {
    let wanted = depth / 100.0 * counts.iter().sum::<usize>() as f64;
    let mut sum = 0.0;
    for (at, count) in counts.iter().enumerate() {
        let next = sum + *count as f64;
        if next - wanted > wanted - sum {
            return at;
        }
        sum = next;
    }
    counts.len()
}
