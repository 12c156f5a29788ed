//! Every trap of the survey that a rule can meet, each a row with the value that it must get.

use std::collections::BTreeMap;

use sapo_datasets::{Message, Part, Query, Role, ToolCall, Transcript};
use sapo_rewards::Endpoints;
use sapo_rewards::{Item, Registry, RewardConfig, RubricConfig};
use serde_json::{Value, json};

fn query(truth: Value, columns: &Value) -> Query {
    Query {
        id: "q".to_owned(),
        task: "trap".to_owned(),
        messages: vec![Message {
            role: Role::User,
            content: vec![Part::text("For example, answer with \\boxed{12}.")],
        }],
        conversational: false,
        images: Vec::new(),
        videos: Vec::new(),
        ground_truth: Some(truth),
        rubric: None,
        tools: Vec::new(),
        columns: columns.as_object().cloned().unwrap_or_default(),
    }
}

/// The value of a rule, told by a rubric of it alone.
fn value(config: &Value, truth: Value, columns: &Value, transcript: &Transcript) -> Option<f64> {
    let reward: RewardConfig = serde_json::from_value(config.clone()).expect("a reward");
    let registry =
        Registry::build(&BTreeMap::from([("x".to_owned(), reward)]), &Endpoints::default()).expect("a registry");
    let rubric = RubricConfig { correct: "x".to_owned(), language_penalty: 0.0, ..RubricConfig::default() };
    let rubric = sapo_rewards::Rubric::new(&rubric, &registry).expect("a rubric");
    let query = query(truth, columns);
    let item = Item { query: &query, transcript };
    rubric.score_by_rules(item.query, item.transcript).total
}

struct Trap {
    config: Value,
    truth: Value,
    columns: Value,
    text: String,
    wanted: f64,
}

fn traps(kind: &str, truth: &Value, columns: &Value, rows: &[(&str, f64)]) -> Vec<Trap> {
    let trap = |(text, wanted): &(&str, f64)| Trap {
        config: json!({"kind": kind}),
        truth: truth.clone(),
        columns: columns.clone(),
        text: (*text).to_owned(),
        wanted: *wanted,
    };
    rows.iter().map(trap).collect()
}

fn assert_all(traps: &[Trap]) {
    for trap in traps {
        let found = value(&trap.config, trap.truth.clone(), &trap.columns, &Transcript::of_answer("q", &trap.text));
        let shown: String = trap.text.chars().take(120).collect();
        let near = found.is_some_and(|found| (found - trap.wanted).abs() < 1e-9);
        assert!(near, "{} {} {shown:?}: {found:?}, not {}", trap.config, trap.truth, trap.wanted);
    }
}

/// Ways to find the answer 12, or to pretend to.
const EXTRACTION: [(&str, f64); 27] = [
    ("\\boxed{12}", 1.0),
    ("\\boxed{12} and then \\boxed{13}", 0.0),
    ("<think>\\boxed{12}</think>I could not find it.", 0.0),
    ("<think>\\boxed{12}", 0.0),
    ("\\boxed{10, 11, 12, 13}", 0.0),
    ("12 or 13", 0.0),
    ("\\boxed{12 \\text{ or } 13}", 0.0),
    ("\\{11, 12, 13\\}", 0.0),
    ("between 11 and 13", 0.0),
    ("not 12", 0.0),
    ("The answer is not 12.", 0.0),
    ("x", 0.0),
    ("\\boxed{x}", 0.0),
    ("\\boxed{}", 0.0),
    ("", 0.0),
    ("<answer>13</answer><answer>12</answer>", 1.0),
    ("<answer>12</answer><answer>13</answer>", 0.0),
    ("1\u{200b}2", 1.0),
    ("\u{ff11}\u{ff12}", 1.0),
    ("l2", 0.0),
    ("<think>12</think><think>12", 0.0),
    ("<answer></answer>", 0.0),
    ("NaN", 0.0),
    ("inf", 0.0),
    ("1e309", 0.0),
    ("1200", 0.0),
    ("0.12", 0.0),
];

#[test]
fn answers_are_not_found_where_none_is_given() {
    for kind in ["math", "number", "numeric", "counting"] {
        assert_all(&traps(kind, &json!(12), &json!({}), &EXTRACTION));
    }
    let many: String = (0..200).map(|n| format!("\\boxed{{{n}}} ")).collect();
    for kind in ["math", "number", "counting"] {
        assert_all(&traps(kind, &json!(12), &json!({}), &[(&many, 0.0)]));
    }
    // The example of the prompt said again is an answer, and wrong where the truth is another.
    assert_all(&traps("math", &json!(14), &json!({}), &[("For example, answer with \\boxed{12}.", 0.0)]));
}

#[test]
fn nested_thinking_is_no_format() {
    let rows = [
        ("<think>a<think>b</think></think>5", 0.0),
        ("<think>a</think>5", 1.0),
        // A format that is earned without an answer: none.
        ("<think>a</think>", 0.0),
        ("<think>a</think> \n", 0.0),
    ];
    assert_all(&traps("format", &Value::Null, &json!({}), &rows));
}

#[test]
fn mathematics_is_exact_bounded_and_runs_nothing() {
    let deep = "(".repeat(100_000);
    let fractions = "\\frac{".repeat(100_000);
    let megabyte = "7".repeat(1_000_000);
    let rows = [
        ("10^{10^{10^{10}}}", 0.0),
        ("9999999999!", 0.0),
        (deep.as_str(), 0.0),
        (fractions.as_str(), 0.0),
        (megabyte.as_str(), 0.0),
        ("\\frac{1}{0}", 0.0),
        ("NaN", 0.0),
        ("\\infty", 0.0),
        ("9007199254740992", 0.0),
        ("9007199254740993", 1.0),
        ("900719925474099300", 0.0),
        ("__import__('os').system('exit 1')", 0.0),
        ("[__import__('os').abort()]", 0.0),
    ];
    assert_all(&traps("math", &json!("9007199254740993"), &json!({}), &rows));
    assert_all(&traps("math", &json!("5"), &json!({}), &[("500", 0.0), ("0.05", 0.0), ("5\\%", 0.0)]));
    assert_all(&traps("math", &json!("[0,1)"), &json!({}), &[("[0,1]", 0.0), ("[0, 1)", 1.0)]));
    assert_all(&traps("math", &json!("2\\frac{1}{3}"), &json!({}), &[("\\frac{2}{3}", 0.0), ("\\frac{7}{3}", 1.0)]));
    assert_all(&traps("math", &json!("10"), &json!({}), &[("1", 0.0)]));
}

#[test]
fn grounding_pays_for_the_right_boxes_alone() {
    let truth = json!({"task": "bbox", "boxes": [[100, 100, 200, 200]]});
    let right = "{\"bbox_2d\": [100, 100, 200, 200]}";
    let spam = format!("[{}]", [right; 10].join(","));
    let all: Vec<String> = (0..100)
        .map(|n| {
            format!(
                "{{\"bbox_2d\": [{}, {}, {}, {}]}}",
                n % 10 * 100,
                n / 10 * 100,
                n % 10 * 100 + 100,
                n / 10 * 100 + 100
            )
        })
        .collect();
    let tiles = format!("[{}]", all.join(","));
    let rows = [
        (right, 1.0),
        ("{\"bbox_2d\": [0, 0, 1000, 1000]}", 0.01),
        (spam.as_str(), 0.1),
        (tiles.as_str(), 0.01),
        ("{\"bbox_2d\": [200, 200, 100, 100]}", 0.0),
        ("{\"bbox_2d\": [NaN, 100, 200, 200]}", 0.0),
        ("{\"bbox_2d\": [100, 100, 200, 1e308]}", 0.0),
        ("{\"bbox_2d\": [-1, 100, 200, 200]}", 0.0),
        ("{\"bbox_2d\": [100, 100, 200, 1001]}", 0.0),
        ("{\"bbox_2d\": [640, 480, 1280, 960]}", 0.0),
        ("{\"bbox_2d\": [700, 700, 800, 800], \"label\": \"cat\"}", 0.0),
        ("[]", 0.0),
        ("<think>[{\"bbox_2d\": [100, 100, 200, 200]}]</think>Done.", 0.0),
        ("The box is [100, 100, 200, 200].", 0.0),
    ];
    assert_all(&traps("grounding", &truth, &json!({}), &rows));
    let grid: Vec<String> =
        (0..100).map(|n| format!("{{\"point_2d\": [{}, {}]}}", n % 10 * 100 + 50, n / 10 * 100 + 50)).collect();
    let grid = format!("[{}]", grid.join(","));
    let points = json!({"task": "point", "boxes": [[100, 100, 200, 200]]});
    assert_all(&traps("grounding", &points, &json!({}), &[(&grid, 0.01), ("{\"point_2d\": [150, 150]}", 1.0)]));
}

#[test]
fn counts_and_numbers() {
    let rows = [
        ("3 or 4", 0.0),
        ("4 or 3", 0.0),
        ("3-4", 0.0),
        ("from 3 to 4", 0.0),
        ("four", 1.0),
        ("There are four.", 1.0),
        ("1, 2, 3, 4", 1.0),
        ("1. cup\n2. cup\n3. cup\n4. cup", 1.0),
        ("1, 2, 3, 4, 5", 0.0),
        ("3, 4, 5", 0.0),
        ("1e309", 0.0),
        ("-4", 0.0),
    ];
    assert_all(&traps("counting", &json!(4), &json!({}), &rows));
    let near = json!({"kind": "numeric", "relative_tolerance": 0.05});
    for (text, wanted) in
        [("4.1", 1.0), ("4.3", 0.0), ("1e309", 0.0), ("4 to 5", 0.0), ("-4", 0.0), ("400", 0.0), ("inf", 0.0)]
    {
        assert_eq!(value(&near, json!(4), &json!({}), &Transcript::of_answer("q", text)), Some(wanted), "{text}");
    }
}

#[test]
fn text_from_pictures() {
    let long = format!("exit{}", " exit".repeat(20_000));
    let alphabet: String = ('a'..='z').chain('A'..='Z').chain('0'..='9').collect();
    for (kind, most) in [("anls", 0.0), ("edit", 0.1), ("f1", 0.01)] {
        for text in [long.as_str(), alphabet.as_str(), ""] {
            let found = value(&json!({"kind": kind}), json!("exit"), &json!({}), &Transcript::of_answer("q", text));
            assert!(found.is_some_and(|found| found <= most), "{kind}: {found:?}");
        }
        assert_all(&traps(kind, &json!("exit"), &json!({}), &[("EXIT", 1.0)]));
        // Nothing to read is a fault of the data, and no way to be paid for nothing.
        assert_eq!(value(&json!({"kind": kind}), json!(""), &json!({}), &Transcript::of_answer("q", "")), None);
    }
    // The distance is over the longer text: half right, and as long again, is no half.
    assert_all(&traps("anls", &json!("abcd"), &json!({}), &[("abcdefgh", 0.5), ("abcdefghi", 0.0), ("abxx", 0.5)]));
}

#[test]
fn choices() {
    let columns = json!({"choices": {"A": "a man", "B": "a bus", "C": "a cab", "D": "a dog"}});
    let rows = [
        ("A", 1.0),
        ("A man walks by the river.", 0.0),
        ("A, B, C, D", 0.0),
        ("ABCD", 0.0),
        ("(A) (B) (C) (D)", 0.0),
        ("Cabs are yellow", 0.0),
        ("a man or a bus", 0.0),
        ("a man", 1.0),
        ("Not A.", 0.0),
        ("\\boxed{A} or \\boxed{B}", 0.0),
        ("<think>A", 0.0),
    ];
    assert_all(&traps("multiple_choice", &json!("A"), &columns, &rows));
}

#[test]
fn instructions_and_schemas() {
    let words = json!({"instructions": [{"kind": "length_constraints:number_words", "num_words": 30}]});
    let padded = format!("The sea {}", "is ".repeat(60));
    assert_all(&traps("instructions", &Value::Null, &words, &[(&padded, 0.0), ("", 0.0)]));
    let keyword = json!({"instructions": [{"kind": "keywords:existence", "keywords": ["lantern"]}]});
    let rows = [
        ("A lantern glows.", 1.0),
        ("It glows. <!-- lantern -->", 0.0),
        ("It glows. <span style=\"color:#fff\">lantern</span>", 0.0),
        ("It glows. \\textcolor{white}{lantern}", 0.0),
        ("It glows. `lantern`", 0.0),
        ("It glows. lan\u{200b}tern", 0.0),
    ];
    assert_all(&traps("instructions", &Value::Null, &keyword, &rows));
    let schema = json!({"json_schema": {"type": "object", "properties": {"name": {"type": "string"}}}});
    let rows = [("{\"name\": \"Ann\"}", 1.0), ("{}", 0.0), ("{\"other\": 1}", 0.0), ("{\"name\": \"\"}", 0.0)];
    assert_all(&traps("json_schema", &Value::Null, &schema, &rows));
}

#[test]
fn penalties_for_repeating_and_mixing() {
    let counter: String = (0..40).map(|n| format!("Check {n}: the cell {n} is empty again. ")).collect();
    let names = [
        "oak", "elm", "ash", "fir", "yew", "box", "bay", "fig", "nut", "hop", "rye", "oat", "tea", "ivy", "pea", "sap",
    ];
    let between: String =
        names.iter().map(|name| format!("I look at the picture once more and see it. {name}. ")).collect();
    let spaces = format!("Five.{}", " ".repeat(500));
    let emoji = "\u{1f600}".repeat(100);
    let rows =
        [(counter.as_str(), 1.0), (&between, 1.0), (&spaces, 1.0), (&emoji, 1.0), ("There are five boats.", 0.0)];
    assert_all(&traps("repetition", &Value::Null, &json!({}), &rows));
    let rows = [
        ("The bar is high, \u{56e0}\u{6b64} it is July.", 1.0),
        ("The b\u{0430}r is high.", 1.0),
        ("One \u{4e2a} each. Two \u{4e2a} each. Three \u{4e2a} each.", 1.0),
        ("Run `\u{5e93}` first.", 0.0),
        ("The sign reads \"\u{51fa}\u{53e3}\".", 0.0),
    ];
    assert_all(&traps("language", &Value::Null, &json!({"language": "en"}), &rows));
}

#[test]
fn a_penalty_does_not_reward_silence() {
    let config = json!({
        "correct": "number", "repetition_penalty": 0.5, "overlong": {"buffer_tokens": 10, "max_tokens": 20, "weight": 0.5},
        "parts": [{"reward": "format", "weight": 0.2}],
    });
    let config: RubricConfig = serde_json::from_value(config).expect("a rubric");
    let total = |text: &str, tokens: usize| {
        let transcript = Transcript { tokens, ..Transcript::of_answer("q", text) };
        config.score(&query(json!(5), &json!({"language": "en"})), &transcript).total.expect("a total")
    };
    let silent = total("", 0);
    assert!(silent < total("4", 5) && silent < total("4", 20) && silent <= total(&"4 4 4 4 ".repeat(20), 20));
    // Being short is not paid for: only what is too long is taken off.
    assert_eq!(total("5", 1), total("5", 8));
}

#[test]
fn calls_of_tools() {
    let config = json!({"kind": "tool_calls", "max_calls": 3});
    let crop = |corners: [i32; 4]| ToolCall::Parsed { name: "zoom".to_owned(), arguments: json!({"bbox_2d": corners}) };
    let worth = |calls: Vec<ToolCall>| {
        value(&config, Value::Null, &json!({}), &Transcript { calls, ..Transcript::of_answer("q", "5") })
            .expect("a value")
    };
    let good = crop([100, 100, 200, 200]);
    assert_eq!(worth(vec![good.clone()]), 1.0);
    assert_eq!(worth(vec![crop([0, 0, 1000, 1000])]), 0.0);
    assert_eq!(worth(vec![crop([200, 200, 100, 100])]), 0.0);
    assert!((worth(vec![good.clone(); 3]) - 1.0 / 3.0).abs() < 1e-12);
    // Called once and ignored: nothing without a right answer, and less than one.
    let rubric =
        json!({"correct": "number", "language_penalty": 0, "parts": [{"reward": "tool_calls", "weight": 0.4}]});
    let rubric: RubricConfig = serde_json::from_value(rubric).expect("a rubric");
    let total = |text: &str| {
        let transcript = Transcript { calls: vec![good.clone()], ..Transcript::of_answer("q", text) };
        rubric.score(&query(json!(5), &json!({})), &transcript).total
    };
    assert_eq!((total("4"), total("5")), (Some(0.0), Some(1.4)));
}
