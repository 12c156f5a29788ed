//! Each kind with an answer that keeps it and one that does not, and the ways to cheat.

use proptest::prelude::*;
use sapo_datasets::Transcript;
use serde_json::json;

use super::*;
use crate::reward::tests::query;

fn value(instructions: Value, text: &str, scoring: Scoring) -> Option<f64> {
    let mut query = query("Write.", Value::Null);
    query.columns.insert("instructions".to_owned(), instructions);
    let transcript = Transcript::of_answer("q", text);
    score(&Item { query: &query, transcript: &transcript }, scoring).outcome.value()
}

/// A kind with its parameters, an answer that keeps it, and answers that do not.
type Case = (&'static str, Value, String, Vec<String>);

fn case(kind: &'static str, given: Value, good: &str, bad: &[&str]) -> Case {
    (kind, given, good.to_owned(), bad.iter().map(|text| (*text).to_owned()).collect())
}

fn words() -> Vec<Case> {
    vec![
        case(
            "keywords:existence",
            json!({"keywords": ["sea", "red boat"]}),
            "A red boat on the sea.",
            &[
                "A red boat on a season.",
                "A boat. <!-- sea red boat -->",
                "`sea` red boat",
                "red boat s\u{200b}ea",
                "red boat <span style=\"color: white\">sea</span>",
                "red boat\n```\nsea\n```",
                "red boat [x](sea)",
            ],
        ),
        case(
            "keywords:frequency",
            json!({"keyword": "sea", "frequency": 2}),
            "The sea, the sea.",
            &["The sea.", "sea `sea`"],
        ),
        case(
            "keywords:forbidden_words",
            json!({"forbidden_words": ["sea"]}),
            "A season of rain.",
            &["The Sea.", "a <!-- sea -->"],
        ),
        case(
            "keywords:letter_frequency",
            json!({"letter": "z", "let_frequency": 2}),
            "A lazy zebra.",
            &["A zebra.", &"z".repeat(90)],
        ),
        case("keywords:order", json!({"keywords": ["one", "two"]}), "one then two", &["two then one", "one"]),
        case(
            "language:response_language",
            json!({"language": "zh"}),
            "今天下雨。",
            &["It rains.", "今天 it rains 下雨。"],
        ),
    ]
}

fn lengths() -> Vec<Case> {
    let words = "The harbour lies quiet in the early morning while gulls circle over boats and a man mends old nets.";
    vec![
        case(
            "length_constraints:number_sentences",
            json!({"num_sentences": 3}),
            "One. Two! Three?",
            &["One. Two.", "One. One. One."],
        ),
        case(
            "length_constraints:number_paragraphs",
            json!({"num_paragraphs": 2}),
            "One.\n***\nTwo.",
            &["One.", "One.\n***\n", "One.\n***\nOne."],
        ),
        case(
            "length_constraints:number_words",
            json!({"num_words": 15, "relation": "at least"}),
            words,
            &[
                "Too short.",
                &format!("A text {}", "very ".repeat(40)),
                &"go stop ".repeat(20),
                &"The same words again. ".repeat(9),
            ],
        ),
        case("length_constraints:number_characters", json!({"num_characters": 5}), "a b c", &["abcdef"]),
        case("length_constraints:number_lines", json!({"num_lines": 2}), "a\n\nb", &["a", "a\na", "a\nb\nc"]),
        case(
            "length_constraints:sentence_words",
            json!({"num_words": 3}),
            "One two three. Four.",
            &["One two three four."],
        ),
        case(
            "length_constraints:nth_paragraph_first_word",
            json!({"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "then"}),
            "First.\n\nThen more.",
            &["Then.\n\nFirst.", "Then more."],
        ),
    ]
}

fn contents() -> Vec<Case> {
    vec![
        case(
            "detectable_content:number_placeholders",
            json!({"num_placeholders": 2}),
            "Dear [name] of [place].",
            &["Dear [name].", "[a] [a]", "[ ] [ ]"],
        ),
        case(
            "detectable_content:postscript",
            json!({"postscript_marker": "P.S."}),
            "Bye.\nP.S. Write soon.",
            &["Bye.", "Bye. P.S.", "P.S. x"],
        ),
        case("detectable_content:question", json!({}), "Why? Because.", &["Because."]),
        case("detectable_content:number", json!({"num_numbers": 2}), "From 1 to 2.", &["1 and 1"]),
        case("detectable_content:no_digits", json!({}), "four", &["4"]),
        case("detectable_content:no_emoji", json!({}), "good", &["good \u{1f600}"]),
        case("detectable_content:no_links", json!({}), "see here", &["see https://x.org"]),
    ]
}

fn formats() -> Vec<Case> {
    vec![
        case(
            "detectable_format:number_bullet_lists",
            json!({"num_bullets": 2}),
            "- a\n- b",
            &["- a", "- a\n- a", "- a\n- ", "* a\n* b\n* c"],
        ),
        case(
            "detectable_format:numbered_list",
            json!({"num_items": 2}),
            "1. a\n2. b",
            &["1. a", "1. a\n3. b", "1. a\n2. a", "- a\n- b"],
        ),
        case(
            "detectable_format:constrained_response",
            json!({}),
            "My answer is yes.",
            &["yes", "My answer is yes. My answer is no."],
        ),
        case(
            "detectable_format:number_highlighted_sections",
            json!({"num_highlights": 2}),
            "*one* and *two*",
            &["*one*", "*one* *one*", "** **"],
        ),
        case(
            "detectable_format:multiple_sections",
            json!({"section_spliter": "Section", "num_sections": 2}),
            "Section 1\nred\nSection 2\nblue",
            &["Section 1 red", "Section 1\nSection 2\n", "Section 1 red Section 2 red"],
        ),
        case(
            "detectable_format:json_format",
            json!({}),
            "```json\n{\"a\": 1}\n```",
            &["{}", "[]", "null", "a {\"a\": 1}", "{\"a\": 1,}"],
        ),
        case("detectable_format:title", json!({}), "<<Dawn>>\nIt is early.", &["Dawn", "<<>>", "<< >>"]),
        case(
            "detectable_format:headings",
            json!({"num_headings": 2}),
            "# A\ntext\n## B\nmore",
            &["# A\ntext", "# A\n# B"],
        ),
        case(
            "detectable_format:table",
            json!({"rows": 2, "columns": 2}),
            "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |",
            &["| a | b |\n|---|---|\n| 1 | 2 |", "|a|b|", "| a | b |\n|---|---|\n| 1 | 2 |\n| 1 | 2 |"],
        ),
        case(
            "detectable_format:code_block",
            json!({"language": "python"}),
            "```python\nprint(1)\n```",
            &["```\nprint(1)\n```", "```python\n\n```"],
        ),
    ]
}

fn ends_and_marks() -> Vec<Case> {
    vec![
        case("combination:two_responses", json!({}), "One.******Two.", &["One.", "One.******One.", "One.******"]),
        case("combination:repeat_prompt", json!({"prompt_to_repeat": "Say hi."}), "Say hi. Hi!", &["Hi!", "Say hi."]),
        case(
            "startend:end_checker",
            json!({"end_phrase": "Any questions?"}),
            "Done. Any questions?",
            &["Done.", "Any questions?", "Done. Any questions? <!-- -->No"],
        ),
        case("startend:start_checker", json!({"start_phrase": "Well,"}), "Well, it is so.", &["It is so.", "Well,"]),
        case("startend:quotation", json!({}), "\"So it is.\"", &["So", "\"\""]),
        case("startend:line_prefix", json!({"prefix": "> "}), "> a\n> b", &["> a\nb", ">"]),
        case("change_case:capital_word_frequency", json!({"capital_frequency": 2}), "SEA and SKY", &["SEA", "SEA SEA"]),
        case("change_case:english_capital", json!({}), "THE SEA.", &["The sea.", "12"]),
        case("change_case:english_lowercase", json!({}), "the sea.", &["The sea.", "DAS MEER"]),
        case("change_case:title_case", json!({}), "The Old Sea", &["The old Sailor went home"]),
        case("punctuation:no_comma", json!({}), "A; B", &["A, B", "A，B"]),
        case("punctuation:forbidden", json!({"marks": "!?"}), "So.", &["So!"]),
        case("punctuation:end_mark", json!({"mark": "!"}), "So! Yes!", &["So! Yes."]),
    ]
}

fn cases() -> Vec<Case> {
    let mut cases = [words(), lengths(), contents(), formats(), ends_and_marks()].concat();
    for case in &mut cases {
        case.3.extend(["", "  \n", "\u{200b}"].map(str::to_owned));
    }
    cases
}

#[test]
fn every_kind_is_kept_and_broken() {
    let cases = cases();
    assert!(KINDS.len() >= 25);
    for kind in KINDS {
        assert!(cases.iter().any(|case| case.0 == kind.name), "{} has no case", kind.name);
    }
    for (kind, given, good, bad) in cases {
        let mut instruction = given;
        instruction["kind"] = json!(kind);
        assert_eq!(value(json!([instruction]), &good, Scoring::Strict), Some(1.0), "{kind}: {good}");
        for text in bad {
            assert_eq!(value(json!([instruction]), &text, Scoring::Strict), Some(0.0), "{kind}: {text}");
        }
    }
}

#[test]
fn strict_and_share() {
    let both = json!([{"kind": "punctuation:no_comma"}, {"kind": "detectable_content:no_digits"}]);
    assert_eq!(value(both.clone(), "4 boats", Scoring::Strict), Some(0.0));
    assert_eq!(value(both.clone(), "4 boats", Scoring::Share), Some(0.5));
    assert_eq!(value(both.clone(), "", Scoring::Share), Some(0.0));
    assert_eq!(value(both, "four boats", Scoring::Share), Some(1.0));
}

#[test]
fn rows_of_ifeval_are_read() {
    let mut query = query("Write.", Value::Null);
    query.columns.insert("instruction_id_list".to_owned(), json!(["punctuation:no_comma", "keywords:frequency"]));
    query.columns.insert(
        "kwargs".to_owned(),
        json!([{}, {"keyword": "sea", "frequency": 1.0, "relation": "at least", "num_words": null}]),
    );
    let transcript = Transcript::of_answer("q", "<think>a, b</think>the sea");
    assert_eq!(score(&Item { query: &query, transcript: &transcript }, Scoring::Strict).outcome.value(), Some(1.0));
}

#[test]
fn faults_of_the_data_are_failures() {
    for faulty in [
        json!([]),
        json!([{"kind": "keywords:existence"}]),
        json!([{"kind": "nothing:known"}]),
        json!([{"kind": "length_constraints:number_words", "num_words": 3, "relation": "about"}]),
        json!([{}]),
    ] {
        assert_eq!(value(faulty.clone(), "text", Scoring::Strict), None, "{faulty}");
    }
}

proptest! {
    #[test]
    fn nothing_panics(text in "(\\PC|[a-c ,.*#<>\\[\\]`|\n-]|<!--|sea){0,80}") {
        for (kind, given, _, _) in cases() {
            let mut instruction = given;
            instruction["kind"] = json!(kind);
            prop_assert!(value(json!([instruction]), &text, Scoring::Strict).is_some());
        }
    }
}
