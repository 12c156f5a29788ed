//! The verdict: words that the numbers write, and the opposite words when the numbers say the opposite.

use super::model::{GainRow, RunFacts, Sentence, Stage, TaskRow, Tone, Verdict, stage_title};

/// A change of the share of answers with working that is worth a word.
const WORKING_CHANGE: f64 = 0.1;
/// What General RL may cost on the reasoning tasks, and what a control run may gain.
const ALLOWED_LOSS: f64 = -0.02;
const CONTROL_GAIN: f64 = 0.03;

/// What came of a run.
pub(super) fn verdict(run: &RunFacts, stages: &[Stage], gains: &[GainRow]) -> Verdict {
    let Some(main) = main_gain(gains) else { return unfinished(run, stages) };
    let (before, after) = (all_row(stages, &main.from), all_row(stages, &main.to));
    let working = before.zip(after).and_then(|(before, after)| before.with_working.zip(after.with_working));
    let mut sentences = vec![gain_sentence(main, before, after)];
    let careful = careful_gain(main, gains);
    // Most of the gain was there before the mixed part hid it: then nothing new was learned to be seen.
    let won_back = careful.is_some_and(|careful| careful.gain < 0.5 * main.gain);
    sentences.extend(working_sentence(working, tone_of(main.ci95), won_back));
    sentences.extend(by_task(main, gains));
    sentences.extend(careful.map(|careful| over_careful(careful, stages)));
    sentences.extend(general(gains));
    if run.shuffled {
        sentences.insert(0, control(main));
    }
    Verdict { headline: headline(run, main, working), sentences, figures: figures(main, gains, before, after, working) }
}

/// The gain that the run is about: that of Reasoning RL where there is one.
pub(super) fn main_gain(gains: &[GainRow]) -> Option<&GainRow> {
    let wanted = [("cold_start", "reasoning"), ("careful", "reasoning"), ("reasoning", "general"), ("init", "general")];
    let all = || gains.iter().filter(|gain| gain.task == "all");
    wanted
        .iter()
        .find_map(|(from, to)| all().find(|gain| gain.from == *from && gain.to == *to))
        .or_else(|| all().next())
}

/// Which way an interval points.
pub(super) fn tone_of(interval: [f64; 2]) -> Tone {
    match interval {
        [low, _] if low > 0.0 => Tone::Better,
        [_, high] if high < 0.0 => Tone::Worse,
        _ => Tone::Same,
    }
}

/// A difference of rates in points, with its sign.
pub(super) fn points(value: f64) -> String {
    let text = tenths(value);
    if text.starts_with('-') || text == "0.0" { text } else { format!("+{text}") }
}

/// A difference of rates in points; one that rounds to 0 has no sign.
fn tenths(value: f64) -> String {
    format!("{:.1}", (value * 1000.0).round() / 10.0 + 0.0)
}

/// A gain with its interval: `+29.1 points [26.4, 31.4]`.
pub(super) fn with_interval(gain: &GainRow) -> String {
    format!("{} points [{}, {}]", points(gain.gain), tenths(gain.ci95[0]), tenths(gain.ci95[1]))
}

fn all_row<'a>(stages: &'a [Stage], after: &str) -> Option<&'a TaskRow> {
    stages.iter().rev().find(|stage| stage.after == after).and_then(|stage| stage.row("all"))
}

fn unfinished(run: &RunFacts, stages: &[Stage]) -> Verdict {
    let text = match stages.last() {
        None => format!("No evaluation is recorded yet: this run is {}.", run.status),
        Some(stage) => format!("Evaluated once, {}; there is nothing to compare with yet.", stage_title(&stage.after)),
    };
    let figure = stages
        .last()
        .and_then(|stage| stage.row("all").map(|row| (stage, row)))
        .map(|(stage, row)| ("held-out pass@1".to_owned(), percent(row.pass_at_1), stage_title(&stage.after)));
    Verdict {
        headline: Sentence { tone: Tone::Note, text },
        sentences: Vec::new(),
        figures: figure.into_iter().collect(),
    }
}

fn headline(run: &RunFacts, main: &GainRow, working: Option<(f64, f64)>) -> Sentence {
    let tone = tone_of(main.ci95);
    let change = working.map_or(0.0, |(before, after)| after - before);
    let learned = main.to == "reasoning";
    let text = match tone {
        Tone::Better if learned && change >= WORKING_CHANGE => "RL learned to work before it answers.",
        Tone::Better => "RL made the answers to held-out queries better.",
        Tone::Worse if learned && change <= -WORKING_CHANGE => "RL unlearned to work before it answers, and got worse.",
        Tone::Worse => "RL made the answers to held-out queries worse.",
        Tone::Same | Tone::Note => "RL changed nothing that these held-out queries can show.",
    };
    let text = if run.shuffled { format!("Control run with permuted rewards. {text}") } else { text.to_owned() };
    Sentence { tone, text }
}

fn gain_sentence(main: &GainRow, before: Option<&TaskRow>, after: Option<&TaskRow>) -> Sentence {
    let levels = before.zip(after).map_or(String::new(), |(before, after)| {
        format!(", from {} to {}", percent(before.pass_at_1), percent(after.pass_at_1))
    });
    let greedy = main.greedy_gain.map_or(String::new(), |gain| format!("; decoded greedily {} points", points(gain)));
    let doubt = match tone_of(main.ci95) {
        Tone::Same => " The interval holds 0: this may be chance.",
        _ => "",
    };
    let text = format!(
        "Held-out pass@1 after {}: {} over the {}{levels}{greedy}.{doubt}",
        stage_title(&main.to),
        with_interval(main),
        stage_title(&main.from)
    );
    Sentence { tone: tone_of(main.ci95), text }
}

fn working_sentence(working: Option<(f64, f64)>, gain: Tone, won_back: bool) -> Option<Sentence> {
    let (before, after) = working?;
    let shares = format!("{before:.2} \u{2192} {after:.2}");
    let text = match (after - before, gain) {
        (change, Tone::Better) if change >= WORKING_CHANGE => format!(
            "Share of answers with working before the answer: {shares}. RL found out that working pays, since answers \
             with working are right more often{}.",
            if won_back { ": a choice of strategy, not new perception" } else { "" }
        ),
        (change, _) if change >= WORKING_CHANGE => {
            format!("Share of answers with working before the answer: {shares}, but it did not pay.")
        }
        (change, _) if change <= -WORKING_CHANGE => {
            format!("Share of answers with working before the answer fell: {shares}. RL learned to skip the working.")
        }
        _ => format!(
            "Share of answers with working before the answer hardly moved: {shares}. What changed is not whether it works."
        ),
    };
    Some(Sentence { tone: Tone::Note, text })
}

fn by_task(main: &GainRow, gains: &[GainRow]) -> Option<Sentence> {
    let mut tasks: Vec<&GainRow> =
        gains.iter().filter(|gain| (&gain.from, &gain.to) == (&main.from, &main.to)).collect();
    tasks.retain(|gain| gain.task != "all" && !super::sections::APART.contains(&gain.task.as_str()));
    tasks.sort_by(|left, right| right.gain.total_cmp(&left.gain));
    let named = |tone: Tone| {
        let named = tasks.iter().filter(|gain| tone_of(gain.ci95) == tone);
        named.map(|gain| format!("{} {}", gain.task, points(gain.gain))).collect::<Vec<_>>()
    };
    let groups = [("better", Tone::Better), ("no clear change", Tone::Same), ("worse", Tone::Worse)];
    let groups = groups.map(|(word, tone)| (word, named(tone)));
    let said: Vec<String> = groups
        .into_iter()
        .filter(|(_, tasks)| !tasks.is_empty())
        .map(|(word, tasks)| format!("{word}: {}", tasks.join(", ")))
        .collect();
    (!said.is_empty()).then(|| Sentence { tone: Tone::Note, text: format!("By task, in points: {}.", said.join("; ")) })
}

/// What RL adds to the strategy that the demonstrations had taught already.
fn over_careful(careful: &GainRow, stages: &[Stage]) -> Sentence {
    let greedy = careful.greedy_gain.map_or(String::new(), |gain| format!(" (greedy {})", points(gain)));
    let level = all_row(stages, "careful").map_or(String::new(), |row| format!(" at {}", percent(row.pass_at_1)));
    let amount = with_interval(careful);
    let text = match tone_of(careful.ci95) {
        Tone::Better => format!(
            "Over the careful part{level}, before any hasty demonstration, RL adds {amount}{greedy}: the honest measure \
             of what it adds. The rest of the gain wins back what the mixed part gave up."
        ),
        Tone::Worse => format!(
            "Against the careful part{level}, before any hasty demonstration, the policy is still behind: \
             {amount}{greedy}. RL won back only a part of what the mixed part gave up."
        ),
        _ => format!(
            "Over the careful part{level}, before any hasty demonstration, RL adds nothing that can be shown: \
             {amount}{greedy}. It won back what the mixed part gave up, and no more."
        ),
    };
    Sentence { tone: tone_of(careful.ci95), text }
}

/// The same gain over the careful part, where the start of RL was another.
fn careful_gain<'a>(main: &GainRow, gains: &'a [GainRow]) -> Option<&'a GainRow> {
    let find = |gain: &&GainRow| gain.task == "all" && gain.from == "careful" && gain.to == main.to;
    gains.iter().find(find).filter(|_| main.from != "careful")
}

fn general(gains: &[GainRow]) -> Option<Sentence> {
    let find = |gain: &&GainRow| gain.task == "all" && gain.from == "reasoning" && gain.to == "general";
    let gain = gains.iter().find(find)?;
    let kept = match (gain.ci95[1] > ALLOWED_LOSS, tone_of(gain.ci95)) {
        (false, _) => "it cost more than the 2 points that are allowed",
        (true, Tone::Worse) => "a small loss, within the 2 points that are allowed",
        (true, Tone::Better) => "they gained too",
        (true, _) => "they kept what they had",
    };
    let text = format!("General RL changed the reasoning tasks by {}: {kept}.", with_interval(gain));
    Some(Sentence { tone: tone_of(gain.ci95), text })
}

fn control(main: &GainRow) -> Sentence {
    let (tone, outcome) = if main.gain <= CONTROL_GAIN {
        (Tone::Note, "as it should be, nothing above 3 points is learned from noise")
    } else {
        (Tone::Worse, "more than the 3 points that noise may give: something besides the reward teaches here")
    };
    Sentence { tone, text: format!("Rewards were permuted within each group, so they say nothing; {outcome}.") }
}

fn figures(
    main: &GainRow,
    gains: &[GainRow],
    before: Option<&TaskRow>,
    after: Option<&TaskRow>,
    working: Option<(f64, f64)>,
) -> Vec<(String, String, String)> {
    let figure = |label: &str, value: String, remark: String| (label.to_owned(), value, remark);
    let mut figures = Vec::new();
    if let Some((before, after)) = before.zip(after) {
        let value = format!("{:.1} \u{2192} {:.1} %", before.pass_at_1 * 100.0, after.pass_at_1 * 100.0);
        let remark = format!("{} \u{2192} {}", stage_title(&main.from), stage_title(&main.to));
        figures.push(figure("held-out pass@1", value, remark));
    }
    let interval = |gain: &GainRow| format!("points, 95 % [{}, {}]", tenths(gain.ci95[0]), tenths(gain.ci95[1]));
    figures.push(figure(&format!("gain over the {}", stage_title(&main.from)), points(main.gain), interval(main)));
    if let Some(gain) = careful_gain(main, gains) {
        figures.push(figure("over the careful part", points(gain.gain), interval(gain)));
    }
    if let Some((before, after)) = working {
        let value = format!("{before:.2} \u{2192} {after:.2}");
        figures.push(figure("answers with working", value, "share, at temperature 1".to_owned()));
    }
    figures
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
