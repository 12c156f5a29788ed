//! The words that lead up to an answer that a reply announces, where they take it back.

use std::ops::Range;

use crate::closings::Closings;
use crate::sentence::last_sentence;

/// Longer leads to an announcement are cut, in bytes.
const LONGEST_LEAD_BYTES: usize = 400;

/// Whether the words that lead up to an announcement deny it, make a guess of it, let it depend on a bound or say who else
/// said it: those behind the last "so" or "and".
pub(super) fn takes_back(before: &str, closings: &Closings) -> bool {
    let around = closings.around();
    let sentence = &before[last_sentence(before, LONGEST_LEAD_BYTES)..];
    let lead = around.own(sentence);
    around.is_others(before)
        || around.is_conditional(lead)
        || !lead.trim().is_empty() && (closings.takes_back(lead) || closings.hedges(lead) || around.is_whose(lead))
}

/// Whether the sentence of a box announces its answer and takes it back, or says who else gives it.
pub(super) fn denies_box(text: &str, place: &Range<usize>, closings: &Closings) -> bool {
    let around = closings.around();
    let (before, from) = (&text[..place.start], last_sentence(&text[..place.start], LONGEST_LEAD_BYTES));
    let announced = closings.all(&text[from..place.end]).pop().filter(|last| last.phrase.end <= before.len() - from);
    let taken_back = announced.is_some_and(|last| {
        let lead = around.own(&before[from..from + last.phrase.start]);
        last.denied || around.is_whose(lead) || around.is_conditional(around.own(&before[from..]))
    });
    taken_back || closings.reports(before) || around.is_others(before) || around.is_others_behind(&text[place.end..])
}
