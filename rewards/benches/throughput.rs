//! Throughput: rule verifiers over a step of answers, pairs of mathematics, and items through a process.
//!
//! `cargo bench -p sapo-rewards` prints figures beside the time that one pass over the same bytes takes in the same run.
//! It asserts nothing: what a machine does besides is not known here.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::collections::BTreeMap;
use std::time::Instant;

use sapo_datasets::{Message, Part, Query, Role, Transcript};
use sapo_rewards::Endpoints;
use sapo_rewards::reward::score_all;
use sapo_rewards::verifiers::math::{Form, equivalent};
use sapo_rewards::{Item, Registry, RewardConfig};
use serde_json::{Value, json};

const QUERIES: usize = 64;
const ANSWERS: usize = 16;
const THREADS: usize = 2;

fn query(kind: &str) -> Query {
    let truth = match kind {
        "grounding" => json!({"task": "bbox", "boxes": [[100, 200, 300, 400]]}),
        "multiple_choice" => json!("B"),
        "clock" => json!("11:35"),
        "verdict" => json!("yes"),
        "description" => json!("two red circles and one blue square"),
        "logic" => json!({"grid": {"size": 4}}),
        "text" | "f1" | "anls" | "edit" => json!("the old harbour"),
        _ => json!(85),
    };
    let columns = json!({
        "choices": ["red", "green", "blue"], "language": "en",
        "json_schema": {"type": "object", "properties": {"a": {"type": "integer"}}},
        "instructions": [{"kind": "keywords:existence", "keywords": ["harbour"]}, {"kind": "length_constraints:number_words", "num_words": 50}],
    });
    Query {
        id: "q".to_owned(),
        task: "bench".to_owned(),
        messages: vec![Message { role: Role::User, content: vec![Part::text("How many boats are there?")] }],
        conversational: false,
        images: Vec::new(),
        videos: Vec::new(),
        ground_truth: Some(truth),
        rubric: None,
        tools: Vec::new(),
        columns: columns.as_object().cloned().unwrap_or_default(),
    }
}

/// An answer of about 500 tokens of prose that no other has: small words as often as in English, and many others.
fn answer(seed: usize) -> String {
    const SYLLABLES: [&str; 24] = [
        "ba", "ren", "to", "lim", "sa", "gor", "ne", "pul", "di", "war", "ko", "est", "fi", "lan", "mu", "ter", "vo",
        "shi", "ra", "bel", "ju", "on", "ca", "mit",
    ];
    const SMALL: [&str; 12] = ["the", "of", "and", "a", "in", "is", "to", "with", "on", "that", "it", "as"];
    let mut state = seed as u64 * 2_654_435_761 + 12_345;
    let mut text = String::from("<think>");
    for word in 0..440 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let draw = (state >> 33) as usize;
        if draw.is_multiple_of(3) {
            text.push_str(SMALL[draw / 3 % SMALL.len()]);
        } else {
            text.push_str(SYLLABLES[draw / 3 % SYLLABLES.len()]);
            text.push_str(SYLLABLES[draw / 72 % SYLLABLES.len()]);
        }
        text.push_str(if word % 11 == 10 { ". " } else { " " });
        if word == 260 {
            text.push_str("</think>");
        }
    }
    text.push_str("The answer is \\boxed{85}.");
    text
}

fn millis(work: impl Fn()) -> f64 {
    work();
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1e3
}

/// Milliseconds that this thread has run, where the system tells: what else a machine does is not in them.
fn ran() -> f64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    told.split_whitespace().next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1e6
}

/// Milliseconds of computing, on one thread: a mean, since the system counts in ticks.
fn computed(work: impl Fn()) -> f64 {
    const TIMES: u32 = 8;
    work();
    let start = ran();
    (0..TIMES).for_each(|_| work());
    (ran() - start) / f64::from(TIMES)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build().expect("a runtime")
}

fn rules() {
    let transcripts: Vec<Transcript> =
        (0..QUERIES * ANSWERS).map(|seed| Transcript::of_answer("q", answer(seed))).collect();
    let bytes: usize = transcripts.iter().map(|transcript| transcript.last_text().len()).sum();
    let pass = computed(|| {
        let sum: u64 =
            transcripts.iter().flat_map(|one| one.last_text().bytes()).map(u64::from).fold(0, u64::wrapping_add);
        std::hint::black_box(sum);
    });
    println!("{} answers, {bytes} bytes; one pass over them takes {pass:.2} ms", transcripts.len());
    let (mut slowest, mut total) = (0.0_f64, 0.0_f64);
    let registry = Registry::rules();
    for kind in [
        "exact",
        "truth",
        "number",
        "counting",
        "text",
        "clock",
        "grounding",
        "multiple_choice",
        "description",
        "verdict",
        "f1",
        "anls",
        "edit",
        "json",
        "json_schema",
        "instructions",
        "logic",
        "tool_calls",
        "format",
        "repetition",
        "language",
    ] {
        let reward = registry.get(kind).expect("a rule");
        let query = query(kind);
        let items: Vec<Item<'_>> = transcripts.iter().map(|transcript| Item { query: &query, transcript }).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let took = computed(|| {
            let scores = runtime.block_on(score_all(&*reward, &items));
            assert!(scores.iter().all(|score| score.outcome.value().is_some()), "{kind}: {:?}", scores[0]);
        }) / THREADS as f64;
        total += took;
        slowest = slowest.max(took);
        println!("  {kind:16} {took:7.2} ms, {:6.1} passes", took / pass);
    }
    println!("  computing over {THREADS} cores: the slowest rule {slowest:.2} ms, all of them {total:.2} ms");
}

fn mathematics() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/rewards/math_equivalence.jsonl");
    let text = std::fs::read_to_string(path).expect("the gold set");
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("a row")).collect();
    let field = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let pairs: Vec<(String, String, Form)> = rows
        .iter()
        .map(|row| {
            let form = if row["form"] == "response" { Form::Response } else { Form::Answer };
            (field(row, "gold"), field(row, "prediction"), form)
        })
        .collect();
    let took = computed(|| pairs.iter().for_each(|(gold, said, form)| drop(equivalent(gold, said, *form))));
    println!("mathematics: {:.0} pairs of the gold set a second on one core", pairs.len() as f64 / took * 1e3);
    let easy = computed(|| {
        (0..5_000).for_each(|n| {
            drop(equivalent("\\frac{1}{2}", &format!("The answer is \\boxed{{{n}/{}}}.", 2 * n + 2), Form::Response))
        })
    });
    println!("mathematics: {:.0} fractions in sentences a second on one core", 5_000.0 / easy * 1e3);
}

fn process() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/json_lines.py");
    let config = json!({"kind": "process", "command": ["python3", file], "workers": 2, "batch_size": 64});
    let config: RewardConfig = serde_json::from_value(config).expect("a reward");
    let registry =
        Registry::build(&BTreeMap::from([("plugin".to_owned(), config)]), &Endpoints::default()).expect("a registry");
    let reward = registry.get("plugin").expect("the reward");
    let query = query("number");
    let transcripts: Vec<Transcript> =
        (0..4_096).map(|seed| Transcript::of_answer("q", &answer(seed)[..2_048])).collect();
    let items: Vec<Item<'_>> = transcripts.iter().map(|transcript| Item { query: &query, transcript }).collect();
    let runtime = runtime();
    let took = millis(|| {
        let scores = runtime.block_on(score_all(&*reward, &items));
        assert!(scores.iter().all(|score| score.outcome.value().is_some()), "{:?}", scores[0]);
    });
    println!("process: {:.0} items of 2 KB a second in batches of 64", items.len() as f64 / took * 1e3);
}

fn main() {
    // `cargo test` runs benches too: only to see that they run.
    if std::env::args().any(|argument| argument == "--bench") {
        rules();
        mathematics();
        process();
    }
}
