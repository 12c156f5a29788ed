//! The check of a configuration's rewards on a sample of its data: before a run, and on demand.

use std::collections::{BTreeMap, BTreeSet};

use sapo_datasets::Dataset;
use sapo_policies::preset::processor_of;
use sapo_rewards::check::{CheckReport, Finding, GoldRow, Heard, RewardFacts, Tokenizer, Verdict, Watch, check};
use sapo_rewards::{RewardConfig, RubricConfig};
use serde::Serialize;
use serde_json::{Value, json};

use crate::config::Config;
use crate::data;
use crate::data_check::{KnownRubrics, Remarks};
use crate::error::{Result, RunError};
use crate::figures;
use crate::metrics::quantile;
use crate::progress::Progress;
use crate::score::Rewards;
use crate::stats::wilson;

/// Findings that are named at most.
const NAMED: usize = 10;

/// The check of one rubric on the rows of one task.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The rubric, or the reward that was checked alone.
    pub rubric: String,
    /// The task.
    pub task: String,
    /// What was found.
    pub report: CheckReport,
}

/// Rows by task.
pub type Rows = BTreeMap<String, Vec<GoldRow>>;

/// The first rows of a source, with their responses as gold; what cannot be used is counted and told, and what is odd about
/// the others as well.
pub fn rows_of(dataset: &Dataset, rows_per_source: usize, known: &KnownRubrics, progress: &dyn Progress) -> Rows {
    let mut rows = Rows::new();
    let most = dataset.len().unwrap_or(u64::MAX).min(rows_per_source as u64);
    let (mut unusable, mut first, mut remarks) = (0, None, Remarks::default());
    for index in 0..most {
        let place = dataset.place(index);
        match dataset.get(index).and_then(|example| known.check(&example, &place).map(|()| example)) {
            Ok(example) => {
                remarks.add(&example, &place, known);
                let row = GoldRow { response: example.response, query: example.query };
                rows.entry(row.query.task.clone()).or_default().push(row);
            }
            Err(error) => {
                unusable += 1;
                first.get_or_insert(error);
            }
        }
    }
    remarks.lines().iter().for_each(|line| progress.say(line));
    if let Some(error) = first {
        let name = dataset.name();
        progress.say(&format!(
            "{name}: {unusable} of {most} rows cannot be used, and no reward is checked on them: {error}"
        ));
    }
    rows
}

/// Which rubric scores which sources, in all phases and evaluations; the rows of a source are opened once.
///
/// # Errors
/// When a source cannot be used.
pub fn scored_rows<'c>(
    config: &'c Config,
    rows_per_source: usize,
    progress: &dyn Progress,
) -> Result<BTreeMap<&'c str, Rows>> {
    let mut used: BTreeMap<&'c str, Rows> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let known = KnownRubrics::of(config.rubrics.keys());
    let mut add = |rubric, dataset: Dataset| {
        if seen.insert((rubric, dataset.name().to_owned())) {
            used.entry(rubric).or_default().extend(rows_of(&dataset, rows_per_source, &known, progress));
        }
    };
    for phase in config.run.phases.iter().map(|name| config.phases[name].kind()) {
        for (source, rubric) in phase.data().iter().filter_map(|source| Some((source, phase.rubric()?))) {
            add(config.rubric_of(source, rubric), data::open(config, source, 0)?);
            if let Some(audit) = phase.audit() {
                add(&audit.rubric, data::open(config, source, 0)?);
            }
        }
    }
    for eval in config.eval.values() {
        for dataset in data::open_eval(config, eval)? {
            let source = config.data.get(dataset.name()).and_then(|source| source.rubric.as_deref());
            add(source.unwrap_or(&eval.rubric), dataset);
        }
    }
    Ok(used)
}

/// A rubric with its name, and the rows to check it on.
pub type ToCheck<'a> = (&'a str, &'a RubricConfig, &'a Rows);

/// Checks rubrics on rows, task by task; starts the judges that the configuration wants served. With a tokenizer, rewards
/// are told the tokens of each answer.
///
/// # Errors
/// When a reward or rubric cannot be built, or a judge or plugin does not start.
pub fn check_all(
    rewards: &BTreeMap<String, RewardConfig>,
    rubrics: &[ToCheck<'_>],
    tokenizer: Option<Tokenizer<'_>>,
    progress: &dyn Progress,
) -> Result<Vec<Checked>> {
    let named: Vec<(&str, &RubricConfig)> = rubrics.iter().map(|(name, rubric, _)| (*name, *rubric)).collect();
    let rewards = Rewards::of_rubrics(rewards, &named)?;
    rewards.prepared().iter().for_each(|line| progress.say(line));
    check_with(&rewards, rubrics, tokenizer, progress)
}

fn check_with(
    rewards: &Rewards,
    rubrics: &[ToCheck<'_>],
    tokenizer: Option<Tokenizer<'_>>,
    progress: &dyn Progress,
) -> Result<Vec<Checked>> {
    let mut checked = Vec::new();
    let all: usize = rubrics.iter().flat_map(|(_, _, rows)| rows.values()).map(Vec::len).sum();
    progress.begin("reward check", all as u64, 0);
    let mut before = 0;
    for (name, config, rows) in rubrics {
        let rubric = rewards.ready(name, config)?;
        for (task, rows) in *rows {
            let mut listener = |heard: Heard<'_>| match heard {
                Heard::Row(done) => progress.done((before + done) as u64, name),
                Heard::Stalled(reason) => progress.say(&format!("rubric `{name}` on `{task}`: no value from {reason}")),
            };
            let mut watch = Watch::default().counting(tokenizer).heard_by(&mut listener);
            let report = rewards.wait(check(&rubric, rows, &mut watch));
            before += rows.len();
            checked.push(Checked { rubric: (*name).to_owned(), task: task.clone(), report });
        }
    }
    Ok(checked)
}

/// A rubric without the judges that it asks, which are measured in their own way before their phase; `None` when a judge
/// decides what is right.
fn without_judges(config: &Config, rubric: &RubricConfig) -> Option<RubricConfig> {
    let is_judge = |name: &str| matches!(config.rewards.get(name), Some(RewardConfig::Judge(_)));
    let mut rest = rubric.clone();
    rest.parts.retain(|part| !is_judge(&part.reward));
    rest.penalties.retain(|part| !is_judge(&part.reward));
    let names: BTreeSet<String> = rest
        .parts
        .iter()
        .chain(&rest.penalties)
        .map(|part| part.reward.clone())
        .chain(["correct".to_owned()])
        .collect();
    rest.gates.retain(|gate| !is_judge(&gate.reward));
    rest.gates.iter_mut().for_each(|gate| gate.parts.retain(|part| names.contains(part) || !is_judge(part)));
    (!is_judge(&rubric.correct)).then_some(rest)
}

/// Checks the rewards of a run on a sample of its data, and says what was found.
///
/// # Errors
/// When gold answers do not score: the run must not start.
pub fn before_run(config: &Config, rewards: &Rewards, progress: &dyn Progress) -> Result<()> {
    let options = &config.run.reward_check;
    if options.rows_per_source == 0 {
        return Ok(());
    }
    let mut rubrics = Vec::new();
    for (name, rows) in scored_rows(config, options.rows_per_source, progress)? {
        if options.skip.iter().any(|skipped| skipped == name) {
            continue;
        }
        if let Some(rubric) = without_judges(config, &config.rubrics[name]) {
            rubrics.push((name, rubric, rows));
        }
    }
    let rubrics: Vec<ToCheck<'_>> = rubrics.iter().map(|(name, rubric, rows)| (*name, rubric, rows)).collect();
    let processor = looks_at_tokens(config, &rubrics).then(|| processor_of(&config.policy.model)).transpose()?;
    let ids = |text: &str| processor.as_ref().and_then(|one| one.tokenizer().encode(text).ok()).unwrap_or_default();
    let tokenizer = processor.is_some().then_some(&ids as Tokenizer<'_>);
    let checked = check_with(rewards, &rubrics, tokenizer, progress)?;
    for one in &checked {
        refuse_stopped(one)?;
        refuse_lost_gold(one, options.min_gold_share)?;
    }
    let sum = |count: fn(&CheckReport) -> usize| checked.iter().map(|one| count(&one.report)).sum::<usize>();
    let (gold, rejected) = (sum(|report| report.gold), sum(|report| report.lost_gold().count()));
    let (tried, accepted) = (sum(CheckReport::tried), sum(|report| report.false_accepts.len()));
    progress.say(&format!(
        "rewards checked: {} of {gold} gold answers score, {accepted} of {tried} traps do",
        gold - rejected
    ));
    for one in checked.iter().filter(|one| !one.report.false_accepts.is_empty()) {
        let finding = &one.report.false_accepts[0];
        progress.say(&format!(
            "warning: rubric `{}` pays for what says nothing on `{}`: {}; `sapo reward check` shows all",
            one.rubric,
            one.task,
            in_words(finding)
        ));
    }
    for (one, reason) in checked.iter().filter_map(|one| Some((one, one.report.untested()?))) {
        progress.say(&format!("warning: rubric `{}` is not tested on `{}`: {reason}", one.rubric, one.task));
    }
    Ok(())
}

/// Whether a reward may look at the tokens of answers.
fn looks_at_tokens(config: &Config, rubrics: &[ToCheck<'_>]) -> bool {
    let names = rubrics.iter().flat_map(|(_, rubric, _)| rubric.rewards());
    names.filter_map(|name| config.rewards.get(name)).any(|reward| {
        matches!(
            reward,
            RewardConfig::Process(_) | RewardConfig::Http(_) | RewardConfig::Custom(_) | RewardConfig::Length(_)
        )
    })
}

fn refuse_stopped(checked: &Checked) -> Result<()> {
    let Checked { rubric, task, report } = checked;
    let Some(reason) = &report.stopped else { return Ok(()) };
    Err(RunError::User(format!(
        "rubric `{rubric}` gives no values on `{task}`: {reason}\nMend the reward (`sapo reward check` tries it alone). To start \
         all the same: run.reward_check.skip=[\"{rubric}\"]"
    )))
}

fn refuse_lost_gold(checked: &Checked, least: f64) -> Result<()> {
    let report = &checked.report;
    let lost = report.lost_gold().count();
    if (report.gold - lost) as f64 >= least * report.gold as f64 {
        return Ok(());
    }
    let rubric = &checked.rubric;
    let told = told_once(report.lost_gold()).into_iter().take(3);
    let rows: Vec<String> = told.map(|line| format!("  {line}")).collect();
    Err(RunError::User(format!(
        "rubric `{rubric}` does not score what is right: {lost} of {} gold answers to `{}` do not get the most.\n{}\n\
         Mend the reward or the data (`sapo reward check` shows more). To start all the same: \
         run.reward_check.skip=[\"{rubric}\"], or a lower run.reward_check.min_gold_share",
        report.gold,
        checked.task,
        rows.join("\n")
    )))
}

/// A finding on one line.
pub fn in_words(finding: &Finding) -> String {
    let evidence = finding.evidence.as_ref().map(|evidence| format!(" ({evidence})")).unwrap_or_default();
    let said: String = finding.said.escape_debug().collect();
    format!("{}: `{}` gave {} to {} `{said}`{evidence}", finding.query_id, finding.part, finding.got, finding.answer)
}

/// Findings, a line each; those with the same reason for no value are one line.
fn told_once<'a>(findings: impl Iterator<Item = &'a Finding>) -> Vec<String> {
    let mut kinds: Vec<(&Finding, usize)> = Vec::new();
    for finding in findings {
        let is_same = |known: &&mut (&Finding, usize)| {
            finding.got.starts_with("failed: ") && (&known.0.got, &known.0.part) == (&finding.got, &finding.part)
        };
        match kinds.iter_mut().find(is_same) {
            Some((_, count)) => *count += 1,
            None => kinds.push((finding, 1)),
        }
    }
    let line = |(finding, count): (&Finding, usize)| match count {
        1 => in_words(finding),
        _ => format!("{} (and {} more answers)", in_words(finding), count - 1),
    };
    kinds.into_iter().map(line).collect()
}

/// Whether nothing was found in any, and all of them were tested.
pub fn is_good(checked: &[Checked]) -> bool {
    checked.iter().all(|one| one.report.is_good())
}

/// A count with its share and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rate {
    /// How many.
    pub count: usize,
    /// Of how many.
    pub of: usize,
    /// Wilson's 95 % interval of the share; empty without trials.
    pub ci95: Option<[f64; 2]>,
}

impl Rate {
    /// So many of so many.
    pub fn new(count: usize, of: usize) -> Self {
        Self { count, of, ci95: wilson(count, of) }
    }
}

/// The checks as one JSON object.
pub fn object(checked: &[Checked]) -> Value {
    let one = |checked: &Checked| {
        let report = &checked.report;
        json!({
            "rubric": checked.rubric,
            "task": checked.task,
            "good": report.is_good(),
            "verdict": report.verdict(),
            "untested": report.untested(),
            "stopped": report.stopped,
            "rows": report.rows,
            "without_gold": report.without_gold,
            "verifies": report.verifies,
            "false_rejects": Rate::new(report.false_rejects.len(), report.gold),
            "false_accepts": Rate::new(report.false_accepts.len(), report.tried()),
            "failures": report.failures.len(),
            "deterministic": report.deterministic(),
            "traps": report.traps,
            "rewards": report.rewards.iter().map(reward).collect::<Vec<_>>(),
            "findings": worst(report).take(NAMED).collect::<Vec<_>>(),
        })
    };
    json!({"v": 1, "good": is_good(checked), "checks": checked.iter().map(one).collect::<Vec<_>>()})
}

fn reward(facts: &RewardFacts) -> Value {
    let mut object = serde_json::to_value(facts).unwrap_or_default();
    let [p50, p95, p99, max] = latencies(facts);
    object["latency_ms"] = json!({"p50": p50, "p95": p95, "p99": p99, "max": max});
    object
}

/// Milliseconds of one answer: p50, p95, p99, max; empty when none was asked for.
fn latencies(facts: &RewardFacts) -> [Option<f64>; 4] {
    [0.5, 0.95, 0.99, 1.0].map(|share| Some(1e3 * quantile(&facts.secs, share)).filter(|ms| ms.is_finite()))
}

/// What is worst first: gold that does not score, then traps that do, then traps on which a reward fails.
fn worst(report: &CheckReport) -> impl Iterator<Item = &Finding> {
    report.false_rejects.iter().chain(&report.false_accepts).chain(&report.failures)
}

/// The checks for people.
pub fn text(checked: &[Checked]) -> String {
    checked.iter().map(one_text).collect()
}

fn one_text(checked: &Checked) -> String {
    let report = &checked.report;
    let verdict = match report.verdict() {
        Verdict::Good => "good".to_owned(),
        Verdict::NotGood => "NOT GOOD".to_owned(),
        Verdict::NotTested => format!("not tested: {}", report.untested().unwrap_or_default()),
    };
    let mut text = format!("{} on {}: {verdict} ({} rows)\n", checked.rubric, checked.task, report.rows);
    if let Some(reason) = &report.stopped {
        text.push_str(&format!("  given up    {reason}\n"));
    }
    let rejects = Rate::new(report.false_rejects.len(), report.gold);
    text.push_str(&match report.gold {
        0 => "  gold        none in the data: put right responses into the column `response`, or name the column of the ground \
              truth\n"
            .to_owned(),
        gold => {
            let right = gold - report.lost_gold().count();
            format!("  gold        {right} of {gold} score; false rejects {}\n", percent(rejects))
        }
    });
    let accepts = Rate::new(report.false_accepts.len(), report.tried());
    text.push_str(&match report.verifies {
        true => {
            format!("  traps       {} of {} score; false accepts {}\n", accepts.count, accepts.of, percent(accepts))
        }
        false => "  traps       not held against it: it does not tell right from wrong\n".to_owned(),
    });
    let paid = report.traps.iter().filter(|count| count.accepted > 0);
    let paid: Vec<String> =
        paid.map(|count| format!("{} {} of {}", count.trap.name(), count.accepted, count.tried)).collect();
    if !paid.is_empty() {
        text.push_str(&format!("              {}\n", paid.join(", ")));
    }
    text.extend(report.rewards.iter().map(facts_text));
    let lines = told_once(worst(report));
    for line in lines.iter().take(NAMED) {
        text.push_str(&format!("  - {line}\n"));
    }
    if lines.len() > NAMED {
        text.push_str(&format!("  - and {} more\n", lines.len() - NAMED));
    }
    text
}

/// The line of one reward.
fn facts_text(facts: &RewardFacts) -> String {
    let [p50, p95, p99, max] = latencies(facts).map(|ms| ms.map_or("-".to_owned(), |ms| format!("{ms:.3}")));
    let seen = facts.seen.map_or("no value".to_owned(), |[least, most]| format!("{least}..{most}"));
    let steady = match (facts.deterministic, facts.promises_determinism) {
        (true, _) => "the same twice",
        (false, false) => "not the same twice (as it says)",
        (false, true) => "NOT THE SAME TWICE",
    };
    format!(
        "  {:<12}{}: {seen} of {}..{}, {steady}, ms p50 {p50} p95 {p95} p99 {p99} max {max}\n",
        facts.part, facts.version, facts.range[0], facts.range[1]
    )
}

fn percent(rate: Rate) -> String {
    let share = if rate.of == 0 { 0.0 } else { rate.count as f64 / rate.of as f64 };
    let interval = rate.ci95.map_or(String::new(), |bounds| format!(" {}", figures::interval(bounds)));
    format!("{} %{interval}", figures::percent(share))
}

/// A rubric of one reward and nothing else.
pub fn alone(reward: &str) -> RubricConfig {
    RubricConfig { correct: reward.to_owned(), ..RubricConfig::default() }
}
