//! Doors that hostile texts come through, with texts made at random: a few seconds for each, or as long as
//! `SAPO_FUZZ_SECS` says. One test for each door: `SAPO_FUZZ_SECS=600 cargo test -p sapo-rewards --test fuzz -- --nocapture`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sapo_datasets::{Message, Part, Query, Role, Transcript};
use sapo_rewards::Registry;
use sapo_rewards::catalogue::catalogue;
use sapo_rewards::plugin::check_reply;
use sapo_rewards::reward::{Item, Reward, score_all};
use sapo_rewards::score::Outcome;
use serde_json::Value;

/// How long a door is tried when nothing else is said.
const SECS: f64 = 2.0;
/// No rule may work longer at a text.
const LONGEST: Duration = Duration::from_secs(2);
/// Texts between two looks at the clock.
const ROUND: u32 = 16;

/// What this process has worked so far, its threads together.
fn worked() -> Duration {
    let said = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the command's name, which may hold spaces, the 12th and 13th are hundredths of seconds.
    let ticks = said.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    Duration::from_millis(10 * ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>())
}

/// Tries a door for its time; the texts that were tried are counted.
#[expect(clippy::print_stderr, reason = "how many texts were tried is what a long run is for")]
fn fuzz<S: Strategy<Value = String>>(door: &str, texts: &S, check: impl Fn(&str) -> Result<(), TestCaseError>) {
    let secs = std::env::var("SAPO_FUZZ_SECS").ok().and_then(|secs| secs.parse().ok());
    let config = Config { cases: ROUND, failure_persistence: None, ..Config::default() };
    // The same texts each time in a suite, others in a long run.
    let mut runner = match secs {
        None => TestRunner::new_with_rng(config.clone(), TestRunner::deterministic().new_rng()),
        Some(_) => TestRunner::new(config.clone()),
    };
    let begun = Instant::now();
    let mut tried = 0_u64;
    while begun.elapsed().as_secs_f64() < secs.unwrap_or(SECS) {
        // A runner counts what it has run, and would run nothing more.
        let mut round = TestRunner::new_with_rng(config.clone(), runner.new_rng());
        let outcome = round.run(texts, |text| check(&text));
        if let Err(fault) = outcome {
            panic!("{door}: {fault}");
        }
        tried += u64::from(ROUND);
    }
    eprintln!("{door}: {tried} texts, no fault");
}

/// What rules look for, and what breaks readers.
const WORDS: [&str; 64] = [
    "\\boxed{",
    "\\frac{1}{2}",
    "\\sqrt",
    "}",
    "{",
    "(",
    ")",
    "[",
    "]",
    "<answer>",
    "</answer>",
    "<think>",
    "</think>",
    "The answer is ",
    "Answer: ",
    "정답은 ",
    "입니다",
    "答案是",
    "答えは",
    "ではなく",
    "Ответ: ",
    "not ",
    "or ",
    ", ",
    ".",
    "\n",
    "A",
    "(B)",
    "C",
    "12",
    "-3.5e308",
    "1/0",
    "10^{10^{10}}",
    "99999999999999999999!",
    "\\infty",
    "\\begin{pmatrix}",
    "\\end{pmatrix}",
    "&",
    "\\\\",
    "=",
    "<",
    "\\le",
    "x",
    "\\cup",
    "$",
    "%",
    "°",
    "km",
    "{\"bbox_2d\": [",
    "1, 2, 1000, 1e400",
    "]}",
    "{\"answer\": \"",
    "\"",
    "```json\n",
    "```",
    "<tool_call>",
    "</tool_call>",
    "{\"name\": \"f\", \"arguments\": {",
    "12:61",
    "null",
    "\u{202e}",
    "\u{0}",
    "\u{1f468}\u{200d}\u{1f469}",
    "१२",
];

/// Pieces of replies.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(WORDS.to_vec()).prop_map(str::to_owned),
        2 => "\\PC{0,8}",
        1 => any::<char>().prop_map(String::from),
        1 => any::<f64>().prop_map(|number| number.to_string()),
    ]
}

/// Whole replies: pieces in a row, some of them very often.
fn reply() -> impl Strategy<Value = String> {
    let repeated = (piece(), prop_oneof![200 => Just(1_usize), 20 => 2..40_usize, 1 => 40..4000_usize])
        .prop_map(|(piece, times)| piece.repeat(times));
    prop::collection::vec(repeated, 0..24).prop_map(|pieces| pieces.concat())
}

/// A rule with a row that it can score.
struct Rule {
    kind: &'static str,
    reward: Arc<dyn Reward>,
    query: Query,
}

fn query(truth: Value, columns: &Value) -> Query {
    Query {
        id: "q".to_owned(),
        task: "fuzz".to_owned(),
        messages: vec![Message { role: Role::User, content: vec![Part::text("How many?")] }],
        conversational: false,
        images: Vec::new(),
        videos: Vec::new(),
        ground_truth: Some(truth),
        rubric: None,
        tools: Vec::new(),
        columns: columns.as_object().cloned().unwrap_or_default(),
    }
}

/// Every rule of the catalogue that needs nobody else and no options.
fn rules() -> Vec<Rule> {
    let registry = Registry::rules();
    let mut rules = Vec::new();
    for entry in catalogue() {
        let Ok(reward) = registry.get(entry.kind) else { continue };
        let query = query(entry.example.ground_truth.clone(), &entry.example.columns);
        rules.push(Rule { kind: entry.kind, reward, query });
    }
    rules
}

#[test]
fn completion_text() {
    let rules = rules();
    assert!(rules.len() >= 16, "only {} rules are tried", rules.len());
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    fuzz("completion text", &reply(), |text| {
        let transcript = Transcript::of_answer("q", text);
        for rule in &rules {
            let item = Item { query: &rule.query, transcript: &transcript };
            let (begun, before) = (Instant::now(), worked());
            let scores = runtime.block_on(score_all(rule.reward.as_ref(), &[item]));
            // A machine that is busy with something else is no hang.
            let took = begun.elapsed().min(worked().saturating_sub(before));
            prop_assert!(took < LONGEST, "{}: it worked {took:?} at {} bytes", rule.kind, text.len());
            for score in scores {
                let value = score.outcome.value();
                prop_assert!(value.is_none_or(|value| (-1.0..=1.0).contains(&value)), "{}: {value:?}", rule.kind);
                // What a text does to a rule is a verdict: the row was good.
                prop_assert!(!matches!(score.outcome, Outcome::Failed { .. }), "{}: {:?}", rule.kind, score.outcome);
            }
        }
        Ok(())
    });
}

#[test]
fn plugin_reply() {
    let words = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"id\":7",
        "\"v\":1",
        "\"outcomes\":[",
        "\"value\":",
        "1",
        "0.5",
        "-1e999",
        "NaN",
        "null",
        "\"evidence\":\"",
        "\"",
        "\\ud800",
        "\\udfff",
        "\\ud83d\\ude00",
        "\\",
        "\\u12",
        "\"metrics\":{\"a\":",
        "\"skip\":\"no\"",
        "\"failed\":\"x\"",
        "\"error\":\"x\"",
        "\u{fffd}",
        "é",
    ]);
    let word = prop_oneof![10 => words.prop_map(str::to_owned), 1 => "\\PC{0,4}"];
    let free = prop::collection::vec((word.clone(), prop_oneof![20 => Just(1_usize), 1 => 1..3000_usize]), 0..24)
        .prop_map(|words| words.into_iter().map(|(word, times)| word.repeat(times)).collect::<String>());
    let within = prop::collection::vec(word, 0..6)
        .prop_map(|words| format!("{{\"id\":7,\"outcomes\":[{{\"value\":1,\"evidence\":\"{}\"}}]}}", words.concat()));
    fuzz("plugin reply", &prop_oneof![free, within], |line| {
        if let Ok(scores) = check_reply(line, 7, 1) {
            prop_assert_eq!(scores.len(), 1);
            prop_assert!(scores[0].outcome.value().is_none_or(f64::is_finite));
        }
        Ok(())
    });
}
