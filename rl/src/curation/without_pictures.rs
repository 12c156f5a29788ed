//! Multimodal necessity: a query that is solved without its pictures teaches nothing about them.

use sapo_datasets::{Part, Query};
use sapo_rewards::verifiers::multiple_choice::read_choices;
use serde::{Deserialize, Serialize};

use super::{LEAST_SCORED, tally};
use crate::stats::binomial_tail;

/// The share of pure guessers that may be taken for solvers.
const MOST_GUESSERS: f64 = 0.03;

/// What was answered to a query without its pictures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blind {
    /// How many answers there are to choose from; absent where the answer is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choices: Option<usize>,
    /// 1 passed, 0 failed the check, `None` could not be scored.
    pub outcomes: Vec<Option<u8>>,
    /// Samples that passed.
    pub passed: usize,
    /// Samples that were scored.
    pub scored: usize,
    /// The passes from which on it counts as solved; absent where so few samples cannot tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least: Option<usize>,
}

impl Blind {
    /// From outcomes.
    pub fn of(outcomes: Vec<Option<u8>>, choices: Option<usize>) -> Self {
        let (passed, scored) = tally(&outcomes);
        let enough = scored * LEAST_SCORED.1 >= outcomes.len() * LEAST_SCORED.0;
        let least = least_solved(scored, choices).filter(|_| enough);
        Self { choices, outcomes, passed, scored, least }
    }

    /// Whether it was solved without pictures.
    pub fn is_solved(&self) -> bool {
        self.least.is_some_and(|least| self.passed >= least)
    }

    /// In words.
    pub fn words(&self) -> String {
        let least = self.least.map_or("too few to tell".to_owned(), |least| format!("solved from {least} on"));
        format!("{} of {} right without pictures, {least}", self.passed, self.scored)
    }
}

/// The passes of `samples` from which on an answer is no guess: any, where it is free; among `choices` the least that a
/// pure guesser reaches in at most 3 %. `None` where even all of so few samples can be guessed.
pub fn least_solved(samples: usize, choices: Option<usize>) -> Option<usize> {
    match choices {
        None => (samples > 0).then_some(1),
        Some(choices) => {
            let guess = 1.0 / choices.max(1) as f64;
            (1..=samples).find(|passed| binomial_tail(*passed, samples, guess) <= MOST_GUESSERS)
        }
    }
}

/// How many samples are asked for without pictures: `samples` where the answer is free, twice as many among choices and
/// four times as many among two, and in any case enough to tell a solver from a guesser.
pub fn blind_samples(samples: usize, choices: Option<usize>) -> usize {
    let wanted = match choices {
        None => samples,
        Some(0..=2) => 4 * samples,
        Some(_) => 2 * samples,
    };
    // One choice alone is always guessed; 64 samples tell any others apart.
    (wanted..64).find(|samples| least_solved(*samples, choices).is_some()).unwrap_or(wanted)
}

/// How many answers a query offers: its column `choices` (as multiple choice reads it), else `otherwise`.
pub fn choices_of(query: &Query, otherwise: Option<usize>) -> Option<usize> {
    query.columns.get("choices").and_then(read_choices).map(|choices| choices.len()).or(otherwise)
}

/// The query without its pictures and videos: their marks are taken out, and nothing takes their place. `None` where it
/// has none.
pub fn without_pictures(query: &Query) -> Option<Query> {
    if query.images.is_empty() && query.videos.is_empty() {
        return None;
    }
    let mut blind = query.clone();
    blind.images.clear();
    blind.videos.clear();
    for message in &mut blind.messages {
        message.content.retain(|part| matches!(part, Part::Text { .. }));
        // A line that held nothing but the mark goes with it.
        if let Some(Part::Text { text }) = message.content.first_mut() {
            *text = text.trim_start().to_owned();
        }
    }
    Some(blind)
}

#[cfg(test)]
mod tests {
    use sapo_datasets::{Split, Task, synthetic};

    use super::*;

    #[test]
    fn a_guesser_is_hardly_ever_taken_for_a_solver() {
        assert_eq!((blind_samples(4, None), least_solved(4, None)), (4, Some(1)));
        assert_eq!((blind_samples(4, Some(4)), least_solved(8, Some(4))), (8, Some(5)));
        assert_eq!((blind_samples(4, Some(5)), least_solved(8, Some(5))), (8, Some(5)));
        assert_eq!((blind_samples(4, Some(2)), least_solved(16, Some(2))), (16, Some(13)));
        assert_eq!(least_solved(4, Some(2)), None, "four coins are all heads in 6 %");
        assert_eq!(least_solved(5, Some(2)), None, "five in 3.1 %");
        assert_eq!(least_solved(6, Some(2)), Some(6));
        for (samples, choices) in (1..6).flat_map(|samples| (2..9).map(move |choices| (samples, choices))) {
            let asked = blind_samples(samples, Some(choices));
            let least = least_solved(asked, Some(choices)).unwrap();
            assert!(binomial_tail(least, asked, 1.0 / choices as f64) <= 0.03);
            assert!(least == 1 || binomial_tail(least - 1, asked, 1.0 / choices as f64) > 0.03);
        }
        assert_eq!(least_solved(16, Some(1)), None);
    }

    #[test]
    fn too_few_scored_samples_solve_nothing() {
        let solved = Blind::of(vec![Some(0), Some(1), None, Some(0)], None);
        assert!(solved.is_solved(), "{}", solved.words());
        let unsure = Blind::of(vec![Some(1), None, None, Some(1)], None);
        assert!(!unsure.is_solved() && unsure.words().contains("too few"), "{}", unsure.words());
    }

    #[test]
    fn pictures_leave_no_trace_in_the_question() {
        let query = synthetic::query(Task::Count, Split::Train, 1, 3);
        let blind = without_pictures(&query).unwrap();
        assert!(
            blind.images.is_empty() && blind.messages.iter().all(|message| !message.content.contains(&Part::Image))
        );
        assert_eq!(blind.question().trim(), query.question().trim());
        assert_eq!(blind.ground_truth, query.ground_truth);
        assert_eq!(without_pictures(&blind), None);
        let mut lined = query;
        lined.messages[0].content = vec![Part::Image, Part::text("\nHow many?")];
        assert_eq!(without_pictures(&lined).unwrap().messages[0].content, [Part::text("How many?")]);
    }
}
