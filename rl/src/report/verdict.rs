//! The verdict: words that the numbers write, and the opposite words when the numbers say the opposite.

use super::figures::{interval, percent, points};
use super::model::{EvalSet, GainRow, RunFacts, Sentence, ShareChange, TaskRow, Tone, Verdict};
use super::words::{stage_phrase, stage_title};

/// What a control run may gain.
const CONTROL_GAIN: f64 = 0.03;
/// Tasks that a sentence names on each side at most.
const NAMED_TASKS: usize = 6;
/// Further pairs of evaluations that get a sentence each.
const PAIRS: usize = 8;

/// What came of a run; `shuffled` holds the evaluations that follow a phase with permuted rewards.
pub(super) fn verdict(run: &RunFacts, sets: &[EvalSet], shuffled: &[String]) -> Verdict {
    let compared: Vec<(&EvalSet, &GainRow)> =
        sets.iter().filter_map(|set| main_gain(set).map(|gain| (set, gain))).collect();
    let Some(((set, main), others)) = compared.split_first() else { return unfinished(run, sets) };
    let many = sets.len() > 1;
    let mut sentences = Vec::new();
    if run.shuffled {
        sentences.push(control(control_gain(set, shuffled).unwrap_or(main)));
    }
    sentences.push(gain_sentence(set, main, many));
    sentences.extend(main.reasoning.map(reasoning_sentence));
    sentences.extend(by_task(set, main));
    sentences.extend(further_pairs(set, main));
    sentences.extend(others.iter().map(|(set, gain)| gain_sentence(set, gain, many)));
    Verdict { headline: headline(run, set, main, many), sentences, figures: figures(set, main) }
}

/// What an evaluation alone says: how much passes, and how it stands to its baseline.
pub(super) fn of_evaluation(sets: &[EvalSet]) -> Verdict {
    let all = |set: &EvalSet| set.stages.last().and_then(|stage| stage.row("all").cloned());
    let Some((set, row)) = sets.iter().find_map(|set| Some((set, all(set)?))) else {
        let text = "No row of the evaluation is recorded.".to_owned();
        return Verdict { headline: Sentence { tone: Tone::Note, text }, ..Verdict::default() };
    };
    let gain = main_gain(set);
    let passes = format!("{} of the answers pass, {}", in_percent(row.pass_at_1), interval(row.ci95));
    let headline = match gain {
        None => Sentence { tone: Tone::Note, text: format!("{passes}.") },
        Some(gain) => {
            let tone = tone_of(gain.ci95);
            let are = match tone {
                Tone::Better => "better than",
                Tone::Worse => "worse than",
                Tone::Same | Tone::Note => "not clearly better or worse than",
            };
            Sentence { tone, text: format!("The answers are {are} those of {}.", gain.from) }
        }
    };
    let mut sentences = Vec::new();
    if let Some(gain) = gain {
        let greedy = gain.greedy_gain.map_or(String::new(), |gain| format!("; greedily {} points", points(gain)));
        let text = format!("Against {}: {}{greedy}, paired by query. {passes}.", gain.from, with_interval(gain));
        sentences.push(Sentence { tone: tone_of(gain.ci95), text });
        sentences.extend(by_task(set, gain));
    }
    for (other, row) in sets.iter().filter(|other| other.name != set.name).filter_map(|one| Some((one, all(one)?))) {
        let text = format!("{}: {} pass, {}.", other.name, in_percent(row.pass_at_1), interval(row.ci95));
        sentences.push(Sentence { tone: Tone::Note, text });
    }
    let figure = |label: &str, value: String, remark: &str| (label.to_owned(), value, remark.to_owned());
    let mut figures = vec![figure("pass@1", in_percent(row.pass_at_1), &format!("95 % {}", interval(row.ci95)))];
    figures.extend(row.greedy.map(|greedy| figure("greedy", in_percent(greedy), "one answer a query")));
    figures.extend(row.truncated.map(|cut| figure("cut", in_percent(cut), "of the answers, by the token limit")));
    Verdict { headline, sentences, figures }
}

/// The gain that the run is about: that of the first pair, over all tasks.
fn main_gain(set: &EvalSet) -> Option<&GainRow> {
    set.gains.iter().find(|gain| gain.task == "all")
}

/// Which way an interval points.
pub(super) fn tone_of(interval: [f64; 2]) -> Tone {
    match interval {
        [low, _] if low > 0.0 => Tone::Better,
        [_, high] if high < 0.0 => Tone::Worse,
        _ => Tone::Same,
    }
}

/// A gain with its interval: `+29.1 points [26.4, 31.4]`.
fn with_interval(gain: &GainRow) -> String {
    format!("{} points {}", points(gain.gain), interval(gain.ci95))
}

fn all_row<'a>(set: &'a EvalSet, after: &str) -> Option<&'a TaskRow> {
    set.stage(after).and_then(|stage| stage.row("all"))
}

fn unfinished(run: &RunFacts, sets: &[EvalSet]) -> Verdict {
    let last = sets.iter().find_map(|set| set.stages.last().map(|stage| (set, stage)));
    let text = match last {
        None => format!("No evaluation is recorded yet: this run is {}.", run.status),
        Some((set, stage)) if set.stages.len() > 1 => {
            let phrase = stage_phrase(&stage.after);
            format!("Evaluated {} times, last {phrase}; what is to be compared is not there yet.", set.stages.len())
        }
        Some((_, stage)) => {
            format!("Evaluated once, {}; there is nothing to compare with yet.", stage_phrase(&stage.after))
        }
    };
    let figure = last
        .and_then(|(_, stage)| stage.row("all").map(|row| (stage, row)))
        .map(|(stage, row)| ("held-out pass@1".to_owned(), in_percent(row.pass_at_1), stage_title(&stage.after)));
    Verdict {
        headline: Sentence { tone: Tone::Note, text },
        sentences: Vec::new(),
        figures: figure.into_iter().collect(),
    }
}

fn headline(run: &RunFacts, set: &EvalSet, main: &GainRow, many: bool) -> Sentence {
    let tone = tone_of(main.ci95);
    let answers = if many { format!("Answers to {}", set.name) } else { "Held-out answers".to_owned() };
    let are = match tone {
        Tone::Better => "are better",
        Tone::Worse => "are worse",
        Tone::Same | Tone::Note => "are not clearly better or worse",
    };
    let control = if run.shuffled { "Control run with permuted rewards. " } else { "" };
    let (to, from) = (stage_phrase(&main.to), stage_phrase(&main.from));
    Sentence { tone, text: format!("{control}{answers} {are} {to} than {from}.") }
}

fn gain_sentence(set: &EvalSet, gain: &GainRow, many: bool) -> Sentence {
    let (before, after) = (all_row(set, &gain.from), all_row(set, &gain.to));
    let levels = before.zip(after).map_or(String::new(), |(before, after)| {
        format!(", from {} to {}", in_percent(before.pass_at_1), in_percent(after.pass_at_1))
    });
    let greedy = gain.greedy_gain.map_or(String::new(), |gain| format!("; decoded greedily {} points", points(gain)));
    let tone = tone_of(gain.ci95);
    let doubt = if tone == Tone::Same { " The interval holds 0: this may be chance." } else { "" };
    let name = if many { format!(" of {}", set.name) } else { String::new() };
    let (to, from) = (stage_phrase(&gain.to), stage_phrase(&gain.from));
    let amount = with_interval(gain);
    Sentence { tone, text: format!("Held-out pass@1{name}, {to} against {from}: {amount}{levels}{greedy}.{doubt}") }
}

fn reasoning_sentence(change: ShareChange) -> Sentence {
    let way = match tone_of(change.ci95) {
        Tone::Better => "rose",
        Tone::Worse => "fell",
        Tone::Same | Tone::Note => "did not clearly change",
    };
    let text = format!(
        "The share of answers with reasoning before the answer {way}: from {} to {}, {} points {}.",
        in_percent(change.before),
        in_percent(change.after),
        points(change.after - change.before),
        interval(change.ci95)
    );
    Sentence { tone: Tone::Note, text }
}

fn by_task(set: &EvalSet, main: &GainRow) -> Option<Sentence> {
    let counts = |task: &str| set.stage(&main.to).is_none_or(|stage| stage.averages(task)) && task != "all";
    let mut tasks: Vec<&GainRow> = set
        .gains
        .iter()
        .filter(|gain| (&gain.from, &gain.to) == (&main.from, &main.to) && counts(&gain.task))
        .collect();
    tasks.sort_by(|left, right| right.gain.total_cmp(&left.gain));
    let said = |(word, tone): (&str, Tone)| {
        let mut tasks: Vec<&&GainRow> = tasks.iter().filter(|gain| tone_of(gain.ci95) == tone).collect();
        if tone == Tone::Worse {
            tasks.reverse();
        }
        let named = tasks.iter().take(NAMED_TASKS).map(|gain| format!("{} {}", gain.task, points(gain.gain)));
        let named = named.collect::<Vec<_>>().join(", ");
        match tasks.len() {
            0 => None,
            count if count > NAMED_TASKS => Some(format!("{word}: {named} and {} more", count - NAMED_TASKS)),
            _ => Some(format!("{word}: {named}")),
        }
    };
    let groups = [("better", Tone::Better), ("no clear change", Tone::Same), ("worse", Tone::Worse)];
    let said: Vec<String> = groups.into_iter().filter_map(said).collect();
    (!said.is_empty()).then(|| Sentence { tone: Tone::Note, text: format!("By task, in points: {}.", said.join("; ")) })
}

/// The other pairs, a sentence each.
fn further_pairs(set: &EvalSet, main: &GainRow) -> Vec<Sentence> {
    let others = set.gains.iter().filter(|gain| gain.task == "all" && (&gain.from, &gain.to) != (&main.from, &main.to));
    let others: Vec<&GainRow> = others.collect();
    let sentence = |gain: &&GainRow| {
        let (to, from) = (stage_phrase(&gain.to), stage_phrase(&gain.from));
        let greedy = gain.greedy_gain.map_or(String::new(), |gain| format!("; greedily {}", points(gain)));
        let tone = tone_of(gain.ci95);
        let doubt = if tone == Tone::Same { ": no clear change" } else { "" };
        let text = format!("{to} against {from}: {}{greedy}{doubt}.", with_interval(gain));
        Sentence { tone, text: capitalised(&text) }
    };
    let mut sentences: Vec<Sentence> = others.iter().take(PAIRS).map(sentence).collect();
    if let Some(more) = others.len().checked_sub(PAIRS).filter(|more| *more > 0) {
        let text = format!("{more} more pairs stand under Gains.");
        sentences.push(Sentence { tone: Tone::Note, text });
    }
    sentences
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// The gain over a phase with permuted rewards: from the nearest evaluation before it.
fn control_gain<'a>(set: &'a EvalSet, shuffled: &[String]) -> Option<&'a GainRow> {
    let place = |after: &str| set.stages.iter().rposition(|stage| stage.after == after);
    let gains = set.gains.iter().filter(|gain| gain.task == "all" && shuffled.contains(&gain.to));
    gains.max_by_key(|gain| place(&gain.from))
}

fn control(gain: &GainRow) -> Sentence {
    let (tone, outcome) = if gain.gain <= CONTROL_GAIN {
        (Tone::Note, "as it should be, nothing above 3 points is learned from noise")
    } else {
        (Tone::Worse, "more than the 3 points that noise may give: something besides the reward teaches here")
    };
    let amount = format!("{} points {}", points(gain.gain), stage_phrase(&gain.to));
    Sentence {
        tone,
        text: format!("Rewards were permuted within each group, so they say nothing; {outcome} ({amount})."),
    }
}

fn figures(set: &EvalSet, main: &GainRow) -> Vec<(String, String, String)> {
    let figure = |label: &str, value: String, remark: String| (label.to_owned(), value, remark);
    let mut figures = Vec::new();
    if let Some((before, after)) = all_row(set, &main.from).zip(all_row(set, &main.to)) {
        let value = format!("{} \u{2192} {} %", percent(before.pass_at_1), percent(after.pass_at_1));
        let remark = format!("{} \u{2192} {}", stage_title(&main.from), stage_title(&main.to));
        figures.push(figure("held-out pass@1", value, remark));
    }
    figures.push(figure("gain", points(main.gain), format!("points, 95 % {}", interval(main.ci95))));
    if let Some(ShareChange { before, after, .. }) = main.reasoning {
        let value = format!("{} \u{2192} {} %", percent(before), percent(after));
        figures.push(figure("with reasoning", value, "share of answers, at temperature 1".to_owned()));
    }
    figures
}

fn in_percent(share: f64) -> String {
    format!("{} %", percent(share))
}
