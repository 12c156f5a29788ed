//! One row in the layout of each family, made from its public description.

use serde_json::{Value, json};

use super::*;
use crate::picture::Picture;
use crate::query::Part;

fn data_url() -> String {
    let pixels = image::RgbImage::from_pixel(40, 20, image::Rgb([200, 10, 10]));
    crate::layout::pictures::data_url(&Picture::from_rgb(&pixels).unwrap())
}

fn read(benchmark: &str, row: &Value) -> Result<Example> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, format!("{row}\n")).unwrap();
    BenchmarkFile::open(Benchmark::named(benchmark).unwrap(), &path)?.get(0)
}

fn kind_and_truth(example: &Example) -> (Option<&str>, Value) {
    let query = &example.query;
    (query.columns.get("reward_kind").and_then(Value::as_str), query.ground_truth.clone().unwrap_or_default())
}

#[test]
fn choices_become_letters_however_they_are_written() {
    let picture = data_url();
    let rows = [
        (
            "mmmu",
            json!({"id": "v_1", "question": "<image 1> and <image 2>?", "options": "['red', \"it's blue\"]", "answer": "B",
            "image_1": picture, "image_2": picture}),
        ),
        (
            "mmbench",
            json!({"index": 7, "question": "Which?", "hint": "Look.", "A": "red", "B": "it's blue", "C": null, "answer": "B",
            "image": picture}),
        ),
        (
            "mmstar",
            json!({"index": 7, "question": "Which?\nOptions: A: red, B: it's blue", "answer": "B", "image": picture}),
        ),
        (
            "mathvista",
            json!({"pid": "7", "question": "Which?", "choices": ["red", "it's blue"], "answer": "it's blue",
            "question_type": "multi_choice", "decoded_image": picture}),
        ),
        (
            "mathvision",
            json!({"id": "7", "question": "Which?\n<image1>", "options": ["red", "it's blue"], "answer": "B",
            "decoded_image": picture}),
        ),
    ];
    for (name, row) in rows {
        let example = read(name, &row).unwrap();
        assert_eq!(kind_and_truth(&example), (Some("multiple_choice"), json!("B")), "{name}");
        assert_eq!(example.query.columns["choices"], json!({"A": "red", "B": "it's blue"}), "{name}");
        assert_eq!(example.query.columns["prompt"], "choice/1");
        let text = example.query.question();
        assert!(
            text.contains("A. red\nB. it's blue\nAnswer with the letter") && !text.contains("<image"),
            "{name}: {text}"
        );
        let images = example.query.messages[0].content.iter().filter(|part| **part == Part::Image).count();
        assert_eq!((images, example.query.images.len()), if name == "mmmu" { (2, 2) } else { (1, 1) }, "{name}");
    }
    let none = json!({"index": 7, "question": "Which?", "A": "red", "B": "blue", "answer": "F", "image": data_url()});
    assert!(read("mmbench", &none).unwrap_err().to_string().contains("none of the 2 options"));
}

#[test]
fn open_questions_have_the_verifier_of_their_answer() {
    let picture = data_url();
    let rows = [
        (
            "mmmu",
            json!({"id": "1", "question": "How many?", "options": "[]", "answer": "12", "image_1": picture}),
            "number",
            json!("12"),
        ),
        (
            "mathvision",
            json!({"id": "1", "question": "x?", "options": [], "answer": "\\frac{1}{2}", "decoded_image": picture}),
            "math",
            json!("\\frac{1}{2}"),
        ),
        ("countbench", json!({"question": "How many dots?", "number": 10, "image": picture}), "number", json!(10)),
    ];
    for (name, row, kind, truth) in rows {
        assert_eq!(kind_and_truth(&read(name, &row).unwrap()), (Some(kind), truth), "{name}");
    }
    let document = read(
        "docvqa",
        &json!({"questionId": "3", "question": "When?", "answers": ["1/8/93", "Jan 8"], "image": picture}),
    )
    .unwrap();
    assert_eq!(kind_and_truth(&document), (None, json!(["1/8/93", "Jan 8"])));
    // 40 x 20 pixels.
    let found = read(
        "refcoco",
        &json!({"question_id": "3", "answer": ["red car"], "bbox": [10.0, 5.0, 20.0, 10.0], "image": picture}),
    )
    .unwrap();
    assert_eq!(
        kind_and_truth(&found),
        (Some("grounding"), json!({"task": "bbox", "boxes": [[250.0, 250.0, 750.0, 750.0]]}))
    );
    assert!(found.query.question().contains("\"red car\""));
    let told =
        json!({"key": 1000, "prompt": "Write.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]});
    let told = read("ifeval", &told).unwrap();
    assert_eq!(told.query.columns["instruction_id_list"], json!(["punctuation:no_comma"]));
    assert_eq!(told.query.question(), "Write.");
}

#[test]
fn another_layout_is_refused_with_what_it_lacks() {
    let said = read("mmmu", &json!({"question": "x", "answer": "A"})).unwrap_err().to_string();
    assert!(said.contains("layout of mmmu") && said.contains("id, options"), "{said}");
    assert!(Benchmark::named("mmlu").unwrap_err().contains("mathvista"));
}
