//! The check before a run: gold answers must get the most, and answers that say nothing must not.

mod gold;
mod traps;
mod watch;

use sapo_datasets::{Demonstration, Query, Transcript};
use serde::Serialize;

use crate::reward::Reward;
pub use crate::reward::Role;
use crate::rubric::Rubric;
use crate::score::{CORRECT, FailureKind, Outcome, Score};
use gold::Form;
pub use gold::of_truth as answer_of_truth;
pub use traps::Trap;
pub use watch::{Heard, Tokenizer, Watch};

/// Values that differ by less are equal.
const EPSILON: f64 = 1e-9;
/// So much of its range a right answer may stay below the most.
const LITTLE: f64 = 0.02;
/// What finds an answer that was asked about as gold.
const GOLD: &str = "gold";
/// Answers without a value in time after which nothing more is asked.
const MOST_STALLS: usize = 3;

/// What is asked of a part of a rubric.
fn role_of(reward: &dyn Reward, part: &str, weight: f64) -> Role {
    match reward.spec().role {
        _ if weight < 0.0 => Role::Penalty,
        Some(role) => role,
        None if part == CORRECT => Role::Verifier,
        None => Role::Form,
    }
}

/// A query to check with, and its gold response (thinking and answer) where the data has one; else it is made from the
/// ground truth.
#[derive(Clone, Debug)]
pub struct GoldRow {
    /// The query.
    pub query: Query,
    /// The whole response.
    pub response: Option<String>,
}

impl From<Demonstration> for GoldRow {
    fn from(shown: Demonstration) -> Self {
        Self { query: shown.query, response: Some(shown.response) }
    }
}

/// An answer that got what it should not, or did not get what it should.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The query.
    pub query_id: String,
    /// Which answer: `gold`, or the name of the trap.
    pub answer: &'static str,
    /// The part of the rubric that is to blame.
    pub part: String,
    /// What it gave: a value, or the reason for none.
    pub got: String,
    /// The evidence of the reward.
    pub evidence: Option<String>,
    /// The beginning of what was said.
    pub said: String,
}

/// How one trap fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TrapCount {
    /// The trap.
    pub trap: Trap,
    /// Rows on which it was tried.
    pub tried: usize,
    /// Rows on which it got as much as gold.
    pub accepted: usize,
}

/// What was seen of one reward.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RewardFacts {
    /// The part of the rubric.
    pub part: String,
    /// Its kind and version.
    pub version: String,
    /// What is asked of it.
    pub role: Role,
    /// The range that it promises.
    pub range: [f64; 2],
    /// The least and the greatest value that it gave; empty when it gave none.
    pub seen: Option<[f64; 2]>,
    /// Gold answers that it was asked about.
    pub gold: usize,
    /// Gold answers that got what they should of it.
    pub gold_right: usize,
    /// Answers to which it gave no value where it should have.
    pub failed: usize,
    /// Whether it promises equal values for equal inputs.
    pub promises_determinism: bool,
    /// Whether a second time gave the same values.
    pub deterministic: bool,
    /// Seconds of single answers, sorted.
    #[serde(skip)]
    pub secs: Vec<f64>,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CheckReport {
    /// Rows that were checked.
    pub rows: usize,
    /// Rows without a gold answer, of which only what needs none was tried.
    pub without_gold: usize,
    /// Gold answers that were tried.
    pub gold: usize,
    /// Whether the rubric tells right from wrong at all; else traps are not held against it.
    pub verifies: bool,
    /// The traps.
    pub traps: Vec<TrapCount>,
    /// The rewards.
    pub rewards: Vec<RewardFacts>,
    /// Gold answers that did not get the most.
    pub false_rejects: Vec<Finding>,
    /// Traps that got as much as gold.
    pub false_accepts: Vec<Finding>,
    /// Answers for which a reward had no value: it must tell a wrong answer from a fault. Gold is among them only where no
    /// value came in time, or none ever can.
    pub failures: Vec<Finding>,
    /// Why the check was given up before all rows were asked about.
    pub stopped: Option<String>,
}

/// What a check comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing was found.
    Good,
    /// Something was.
    NotGood,
    /// Nothing was found since nothing could be: there was no gold, or every answer got the same.
    NotTested,
}

impl CheckReport {
    /// Traps that were tried, all together.
    pub fn tried(&self) -> usize {
        self.traps.iter().map(|count| count.tried).sum()
    }

    /// Whether every reward that promises determinism kept it.
    pub fn deterministic(&self) -> bool {
        self.rewards.iter().all(|reward| reward.deterministic || !reward.promises_determinism)
    }

    /// What it comes to.
    pub fn verdict(&self) -> Verdict {
        let found = !(self.false_rejects.is_empty() && self.false_accepts.is_empty() && self.failures.is_empty());
        if found || !self.deterministic() || self.stopped.is_some() {
            Verdict::NotGood
        } else if self.untested().is_some() {
            Verdict::NotTested
        } else {
            Verdict::Good
        }
    }

    /// Whether something was tested, and nothing was found.
    pub fn is_good(&self) -> bool {
        self.verdict() == Verdict::Good
    }

    /// Why the check shows nothing, if so.
    pub fn untested(&self) -> Option<String> {
        let first = self.rewards.first()?;
        match first.seen {
            _ if self.gold == 0 => Some("no row has a gold answer".to_owned()),
            None => Some(format!("`{}` gave no value to any answer", first.part)),
            Some([least, most]) if most - least < EPSILON => {
                Some(format!("`{}` gave {least} to every answer, right or wrong", first.part))
            }
            Some(_) => None,
        }
    }

    /// Gold answers that did not get what they should, or got nothing.
    pub fn lost_gold(&self) -> impl Iterator<Item = &Finding> {
        let failed = self.failures.iter().filter(|finding| finding.answer == GOLD);
        self.false_rejects.iter().chain(failed)
    }
}

/// Checks a rubric on rows of one task.
///
/// A gold answer is right when every verifier gives its greatest value or nearly so, every penalty its least, and nothing fails. A
/// trap is accepted when `correct` gives its greatest value and the total is not below that of the row's gold answer. Each
/// answer without a value in time costs a whole deadline: after a few of them the check is given up.
pub async fn check(rubric: &Rubric, rows: &[GoldRow], watch: &mut Watch<'_>) -> CheckReport {
    let mut check = Check::new(rubric, rows.len(), watch);
    // The form in which gold was right last is tried first.
    let mut forms = Form::ALL.to_vec();
    for (at, row) in rows.iter().enumerate() {
        let gold = check.gold(rubric, row, &mut forms).await;
        for (trap, text) in traps::of(rows, at, &gold, check.truth_is_answer) {
            // What a reward cannot stand is tried once.
            if !check.stalled.contains(&trap) && check.report.stopped.is_none() {
                check.trap(rubric, row, trap, &text, &gold).await;
            }
        }
        if check.report.stopped.is_some() {
            break;
        }
        check.watch.hear(Heard::Row(at + 1));
    }
    for facts in &mut check.report.rewards {
        facts.secs.sort_by(f64::total_cmp);
    }
    check.report
}

/// A gold answer that was tried.
struct Gold {
    /// The answer alone; `None` when the row has none.
    text: Option<String>,
    form: Form,
    /// What stands before every answer: the given response's thinking.
    thinking: String,
    total: Option<f64>,
}

struct Check<'w, 'a> {
    report: CheckReport,
    watch: &'w mut Watch<'a>,
    /// Answers without a value in time.
    stalls: usize,
    truth_is_answer: bool,
    /// Traps on which a reward ran into its deadline.
    stalled: Vec<Trap>,
    /// What `correct` gives at most, nearly, and what its most counts.
    most: f64,
    worth: f64,
}

impl<'w, 'a> Check<'w, 'a> {
    fn new(rubric: &Rubric, rows: usize, watch: &'w mut Watch<'a>) -> Self {
        let parts = rubric.rewards().zip(rubric.weights());
        let facts = parts.map(|((part, reward), (_, weight))| {
            let spec = reward.spec();
            RewardFacts {
                part: part.to_owned(),
                version: spec.version.clone(),
                role: role_of(reward, part, weight),
                range: spec.range.into(),
                seen: None,
                gold: 0,
                gold_right: 0,
                failed: 0,
                promises_determinism: spec.deterministic,
                deterministic: true,
                secs: Vec::new(),
            }
        });
        let rewards: Vec<RewardFacts> = facts.collect();
        let correct = rubric.rewards().next().map(|(_, reward)| reward);
        let range = correct.map_or([0.0, 1.0], |reward| reward.spec().range.into());
        Self {
            truth_is_answer: correct.is_none_or(|reward| reward.spec().truth_is_answer),
            worth: rubric.weights().next().map_or(1.0, |(_, weight)| weight) * range[1],
            most: nearly(range),
            stalled: Vec::new(),
            stalls: 0,
            watch,
            report: CheckReport {
                rows,
                verifies: rewards.first().is_some_and(|first| first.role == Role::Verifier),
                traps: Trap::ALL.map(|trap| TrapCount { trap, tried: 0, accepted: 0 }).into(),
                rewards,
                ..CheckReport::default()
            },
        }
    }

    /// Tries the gold answer of a row in its forms until one is right.
    async fn gold(&mut self, rubric: &Rubric, row: &GoldRow, forms: &mut Vec<Form>) -> Gold {
        let given = row.response.as_deref().map(gold::split);
        let (thinking, text) = match given {
            Some((thinking, answer)) => (thinking.to_owned(), Some(answer.to_owned())),
            // What looks at the form alone takes any answer.
            None if self.truth_is_answer || !self.report.verifies => (String::new(), gold::of_truth(&row.query)),
            None => (String::new(), None),
        };
        let Some(text) = text else {
            self.report.without_gold += 1;
            return Gold { text: None, form: Form::Plain, thinking, total: None };
        };
        self.report.gold += 1;
        let tried = if row.response.is_some() { vec![Form::Plain] } else { forms.clone() };
        let mut right: Option<(Form, Score)> = None;
        let mut worst: Option<(Score, String)> = None;
        for form in tried {
            let said = format!("{thinking}{}", form.of(&text));
            let score = self.ask(rubric, row, &said, true).await;
            let stalled = score.failure().is_some_and(|(_, kind, _)| is_costly(kind));
            match self.gold_fault(&score) {
                None => _ = right.get_or_insert((form, score)),
                Some(_) => _ = worst.get_or_insert((score, said)),
            }
            // What looks at the form alone shows in its forms what it tells apart.
            if stalled || right.is_some() && self.report.verifies {
                break;
            }
        }
        match (right, worst) {
            (Some((form, score)), _) => {
                forms.retain(|known| *known != form);
                forms.insert(0, form);
                self.count_gold(&score);
                return Gold { text: Some(text), form, thinking, total: score.total };
            }
            (None, Some((score, said))) => self.lost(row, &score, &said),
            (None, None) => {}
        }
        Gold { text: Some(text), form: Form::Plain, thinking, total: None }
    }

    /// Counts a gold answer that did not get what it should: what never came is no rejection.
    fn lost(&mut self, row: &GoldRow, score: &Score, said: &str) {
        self.count_gold(score);
        let part = self.gold_fault(score).unwrap_or_default();
        let finding = finding(row, GOLD, &part, score, said);
        match score.failure().is_some_and(|(_, kind, _)| is_costly(kind)) {
            true => self.report.failures.push(finding),
            false => self.report.false_rejects.push(finding),
        }
    }

    /// The part for which a gold answer does not get what it should.
    fn gold_fault(&self, score: &Score) -> Option<String> {
        if let Some((part, ..)) = score.failure() {
            return Some(part.to_owned());
        }
        let wrong = self.report.rewards.iter().find(|facts| {
            let part = score.part(&facts.part);
            let blocked = facts.role == Role::Verifier && part.is_none_or(|part| part.weight == 0.0);
            blocked || !part.is_some_and(|part| is_as_gold_should(facts, &part.score.outcome))
        });
        wrong.map(|facts| facts.part.clone())
    }

    fn count_gold(&mut self, score: &Score) {
        for facts in &mut self.report.rewards {
            facts.gold += 1;
            let right = score.part(&facts.part).is_some_and(|part| is_as_gold_should(facts, &part.score.outcome));
            facts.gold_right += usize::from(right);
        }
    }

    async fn trap(&mut self, rubric: &Rubric, row: &GoldRow, trap: Trap, text: &str, gold: &Gold) {
        let said = match trap {
            Trap::UnclosedThinking => text.to_owned(),
            _ => format!("{}{}", gold.thinking, if trap.is_bare() { text.to_owned() } else { gold.form.of(text) }),
        };
        let score = self.ask(rubric, row, &said, trap != Trap::Repeated).await;
        // A judge that cannot make out another script gives nothing away; its own labelled items tell how well it reads.
        let is_judge = |part: &str| {
            self.report.rewards.iter().any(|facts| facts.part == part && facts.version.starts_with("judge/"))
        };
        if trap == Trap::Foreign && score.failure().is_some_and(|(part, ..)| is_judge(part)) {
            return;
        }
        let count = &mut self.report.traps[trap as usize];
        count.tried += 1;
        if let Some((part, kind, _)) = score.failure() {
            let part = part.to_owned();
            if is_costly(kind) {
                self.stalled.push(trap);
            }
            self.report.failures.push(finding(row, trap.name(), &part, &score, &said));
            return;
        }
        let correct = score.part(CORRECT).and_then(|part| part.score.outcome.value());
        let enough = gold.total.unwrap_or(self.worth) - EPSILON;
        if self.report.verifies
            && correct.is_some_and(|value| value >= self.most)
            && score.total.is_some_and(|total| total >= enough)
        {
            count.accepted += 1;
            self.report.false_accepts.push(finding(row, trap.name(), CORRECT, &score, &said));
        }
    }

    /// Scores one answer, twice when it is asked for, and keeps what that shows of the rewards.
    async fn ask(&mut self, rubric: &Rubric, row: &GoldRow, said: &str, twice: bool) -> Score {
        let opened = said.contains("</think>") && !said.contains("<think>");
        // A response without its closing tag is one that is still thinking, when the row's response thinks.
        let thinks = row.response.as_deref().is_some_and(|gold| gold.contains("</think>") && !gold.contains("<think>"));
        let token_ids = self.watch.tokens(said);
        let transcript = Transcript {
            thinking_open: opened || thinks,
            tokens: token_ids.len(),
            token_ids,
            ..Transcript::of_answer(&row.query.id, said)
        };
        let scored = rubric.score_with_calls(&row.query, &transcript).await;
        for (facts, asked) in self.report.rewards.iter_mut().zip(&scored.calls) {
            facts.secs.extend(asked.secs);
            match &asked.outcome {
                Outcome::Value(value) => {
                    let [least, greatest] = facts.seen.unwrap_or([*value; 2]);
                    facts.seen = Some([least.min(*value), greatest.max(*value)]);
                }
                Outcome::Failed { .. } => facts.failed += 1,
                Outcome::Skip(_) => {}
            }
        }
        let stalled = scored.score.failure().filter(|(_, kind, _)| is_costly(*kind));
        if let Some((part, kind, message)) = stalled {
            self.stall(part, kind, message);
        } else if twice {
            let again = rubric.score_with_calls(&row.query, &transcript).await;
            for ((facts, one), other) in self.report.rewards.iter_mut().zip(&scored.calls).zip(&again.calls) {
                facts.deterministic &= one.outcome == other.outcome;
            }
        }
        scored.score
    }

    /// Counts an answer without a value in time; says the first, and gives up after the last.
    fn stall(&mut self, part: &str, kind: FailureKind, message: &str) {
        self.stalls += 1;
        if self.stalls == 1 {
            self.watch.hear(Heard::Stalled(&format!("`{part}`: {message}")));
        }
        if kind == FailureKind::Unavailable {
            self.report.stopped = Some(format!("`{part}`: {message}"));
        } else if self.stalls >= MOST_STALLS {
            self.report.stopped = Some(format!("{MOST_STALLS} answers got no value, the last of `{part}`: {message}"));
        }
    }
}

/// Whether a failure comes after a deadline, or is the same for every other answer.
fn is_costly(kind: FailureKind) -> bool {
    matches!(kind, FailureKind::Timeout | FailureKind::Unreachable | FailureKind::Unavailable)
}

/// What counts as the most of a range: a right answer may get a little less for its length.
fn nearly([least, greatest]: [f64; 2]) -> f64 {
    greatest - LITTLE * (greatest - least)
}

/// A skip is no fault of a reward: it does not apply to this row.
fn is_as_gold_should(facts: &RewardFacts, outcome: &Outcome) -> bool {
    match (facts.role, outcome) {
        (Role::Verifier, Outcome::Value(value)) => *value >= nearly(facts.range),
        (Role::Penalty, Outcome::Value(value)) => *value <= facts.range[0] + EPSILON,
        (Role::Form, Outcome::Value(_)) | (_, Outcome::Skip(_)) => true,
        (_, Outcome::Failed { .. }) => false,
    }
}

fn finding(row: &GoldRow, answer: &'static str, part: &str, score: &Score, said: &str) -> Finding {
    let found = score.part(part);
    let got = match found.map(|found| &found.score.outcome) {
        Some(Outcome::Value(value)) => value.to_string(),
        Some(Outcome::Skip(reason)) => format!("skipped: {reason}"),
        Some(Outcome::Failed { message, .. }) => format!("failed: {message}"),
        None => "nothing".to_owned(),
    };
    Finding {
        query_id: row.query.id.clone(),
        answer,
        part: part.to_owned(),
        got,
        evidence: found.and_then(|found| found.score.evidence.clone()),
        said: said.chars().take(80).collect(),
    }
}

#[cfg(test)]
mod tests;
