//! A text as it is compared: runs of five letters, and the numbers and signs that it states.

use crate::query::{Message, Part};

/// Letters of a run.
const RUN: usize = 5;
/// Signs that make another statement of the same words. A hyphen joins words too, so that it is none.
const SIGNS: &str = "+=<>^/\u{00d7}\u{00f7}\u{2264}\u{2265}";
/// So many of the smallest hashes of runs are kept: all of a text of that length, a fair sample of a longer one.
const KEPT: usize = 256;

/// What is kept of a text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Text {
    /// The smallest hashes of its runs, in order, each once.
    pub(super) runs: Box<[u32]>,
    /// Of its numbers and signs in order.
    pub(super) numbers: u64,
}

/// The messages as one text: who speaks, and where pictures stand.
pub(super) fn canonical(messages: &[Message]) -> String {
    let mut text = String::new();
    for message in messages {
        text.push_str(message.role.as_str());
        text.push('\u{1f}');
        for part in &message.content {
            match part {
                Part::Text { text: said } => text.push_str(said),
                Part::Image => text.push('\u{1c}'),
                Part::Video => text.push('\u{1d}'),
            }
        }
        text.push('\u{1e}');
    }
    text
}

/// The hashes of all runs of a text, with repeats, and what is kept of it. Case, spaces and punctuation do not count.
pub(super) fn read(text: &str) -> (Vec<u64>, Text) {
    let plain = plain(text);
    let letters: Vec<char> = plain.chars().collect();
    let runs: Vec<u64> = match letters.len() {
        0 => Vec::new(),
        length if length < RUN => vec![hash(letters.iter().copied())],
        _ => letters.windows(RUN).map(|run| hash(run.iter().copied())).collect(),
    };
    let mut kept: Vec<u32> = runs.iter().map(|run| (mix(*run) >> 32) as u32).collect();
    kept.sort_unstable();
    kept.dedup();
    kept.truncate(KEPT);
    let stated = plain.split(|letter: char| !letter.is_numeric() && letter != '.' && !SIGNS.contains(letter));
    let numbers = hash(
        stated
            .filter(|word| !word.trim_matches('.').is_empty())
            .flat_map(|word| word.trim_matches('.').chars().chain([' '])),
    );
    (runs, Text { runs: kept.into(), numbers })
}

/// In lower case, without punctuation, with single spaces; a point between digits stays.
fn plain(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut plain = String::with_capacity(text.len());
    for (at, letter) in letters.iter().enumerate() {
        let point = *letter == '.'
            && at > 0
            && letters[at - 1].is_numeric()
            && letters.get(at + 1).is_some_and(|next| next.is_numeric());
        let dropped = matches!(letter, '.' | ',' | ';' | ':' | '!' | '?' | '"' | '\'' | '*' | '`' | '_') && !point;
        if letter.is_whitespace() || letter.is_control() || dropped {
            if !plain.ends_with(' ') {
                plain.push(' ');
            }
        } else {
            plain.extend(letter.to_lowercase());
        }
    }
    plain.trim().to_owned()
}

/// The share of the runs of both texts that they share, of the smallest ones of both together: the Jaccard index, exact
/// for texts of few runs.
pub(super) fn similarity(one: &Text, other: &Text) -> f64 {
    let (mut at, mut there, mut both, mut all) = (0, 0, 0_usize, 0_usize);
    while all < KEPT {
        let order = match (one.runs.get(at), other.runs.get(there)) {
            (None, None) => break,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(here), Some(next)) => here.cmp(next),
        };
        all += 1;
        both += usize::from(order.is_eq());
        at += usize::from(order.is_le());
        there += usize::from(order.is_ge());
    }
    if all == 0 { 1.0 } else { both as f64 / all as f64 }
}

/// FNV-1a over letters.
pub(super) fn hash(letters: impl Iterator<Item = char>) -> u64 {
    letters.fold(0xcbf2_9ce4_8422_2325, |hash, letter| {
        (hash ^ u64::from(u32::from(letter))).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Spreads a hash over all its bits (the finaliser of SplitMix64).
pub(super) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn alike(one: &str, other: &str) -> (f64, bool) {
        let (one, other) = (read(one).1, read(other).1);
        (similarity(&one, &other), one.numbers == other.numbers)
    }

    #[test]
    fn case_spaces_and_punctuation_do_not_count() {
        assert_eq!(alike("What  is the area, of ABC?", "what is the area of abc"), (1.0, true));
        assert_eq!(alike("", " ?!"), (1.0, true));
        assert_eq!(alike("ab", "cd"), (0.0, true));
    }

    #[test]
    fn numbers_and_signs_make_another_question() {
        for (one, other) in [
            ("What is 12 + 30?", "What is 12 + 31?"),
            ("A circle of radius 2.5 cm", "A circle of radius 25 cm"),
            ("Solve x = 3", "Solve x < 3"),
            ("From 3 to 5 apples", "From 5 to 3 apples"),
        ] {
            assert!(!alike(one, other).1, "{one} and {other}");
        }
        assert!(alike("In 2.5 hours.", "in 2.5 hours").1);
    }

    proptest! {
        #[test]
        fn similarity_is_the_jaccard_index_of_short_texts(one in "[a-d ]{0,60}", other in "[a-d ]{0,60}") {
            use std::collections::BTreeSet;
            let set = |text: &str| read(text).0.into_iter().collect::<BTreeSet<u64>>();
            let (a, b) = (set(&one), set(&other));
            let (both, all) = (a.intersection(&b).count(), a.union(&b).count());
            let wanted = if all == 0 { 1.0 } else { both as f64 / all as f64 };
            prop_assert!((alike(&one, &other).0 - wanted).abs() < 1e-9);
            prop_assert_eq!(alike(&one, &other).0, alike(&other, &one).0);
        }

        #[test]
        fn long_texts_are_sampled_fairly(words in proptest::collection::vec("[a-z]{3,8}", 300..500), share in 0.0..1.0_f64) {
            let cut = (words.len() as f64 * share) as usize;
            let other: Vec<String> = words.iter().enumerate().map(|(at, word)| if at < cut { word.clone() } else { format!("{word}q{at}") }).collect();
            let (one, other) = (words.join(" "), other.join(" "));
            use std::collections::BTreeSet;
            let set = |text: &str| read(text).0.into_iter().collect::<BTreeSet<u64>>();
            let (a, b) = (set(&one), set(&other));
            let wanted = a.intersection(&b).count() as f64 / a.union(&b).count() as f64;
            prop_assert!((alike(&one, &other).0 - wanted).abs() < 0.16, "five deviations of 256 draws");
        }
    }
}
