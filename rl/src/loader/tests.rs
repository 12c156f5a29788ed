//! Batches: the same rows in the layouts of others give the same, what is passed over is not drawn, a refill is resumed.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sapo_datasets::{Dataset, OpenContext, SourceConfig, Split, Task, synthetic};
use sapo_policies::Model;
use serde_json::{Value, json};

use super::*;

const ROWS: u64 = 6;

fn config() -> Config {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../configs/smoke.toml");
    Config::compose(&[path], &[]).unwrap()
}

fn processor() -> Arc<Processor> {
    Model::open("tiny", 1, &crate::device::open("cpu").unwrap()).unwrap().processor
}

/// A row in the layout of one of those who write such files.
fn row(layout: &str, question: &str, picture: &str, truth: &Value) -> Value {
    let said = format!("<image>{question}");
    let response = "7</think>7";
    match layout {
        "verl" => json!({"data_source": "clocks", "prompt": [{"role": "user", "content": said}], "images": [picture],
            "ability": "clocks", "reward_model": {"ground_truth": truth}, "response": response}),
        "easyr1" => json!({"problem": said, "answer": truth, "images": [picture], "response": response}),
        "trl" => {
            json!({"prompt": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}],
            "completion": [{"role": "assistant", "content": response}], "image": picture, "solution": truth})
        }
        _ => json!({"messages": [{"role": "user", "content": said}, {"role": "assistant", "content": response}],
            "images": [picture], "solution": truth}),
    }
}

/// The same rows as every layout writes them, each in a file of the same name.
fn dataset(folder: &std::path::Path, layout: &str) -> Dataset {
    let lines = (0..ROWS).map(|index| {
        let query = synthetic::query(Task::Clock, Split::Train, 1, index);
        let picture = format!("data:image/png;base64,{}", BASE64.encode(query.images[0].bytes()));
        format!("{}\n", row(layout, &query.question(), &picture, &format!("{index}:00").into()))
    });
    let path = folder.join(layout).join("clocks.jsonl");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, lines.collect::<String>()).unwrap();
    let source = path.display().to_string();
    Dataset::open("clocks", &SourceConfig { source, ..SourceConfig::default() }, &OpenContext::default()).unwrap()
}

fn loader(dataset: Dataset, size: usize, processor: &Arc<Processor>, state: Option<&MixtureState>) -> Loader {
    let part = MixturePart { name: "clocks".to_owned(), dataset, share: 1.0 };
    Loader::new(vec![part], size, Wants::responses(None), &config(), processor, state).unwrap()
}

fn indices(batch: &Prompts) -> Vec<u64> {
    batch.prompts.iter().map(|prompt| prompt.index).collect()
}

#[test]
fn the_same_rows_in_other_layouts_give_the_same_batches() {
    let (folder, processor) = (tempfile::tempdir().unwrap(), processor());
    let batches = |layout| {
        let mut loader = loader(dataset(folder.path(), layout), 4, &processor, None);
        let batches = [loader.next_batch().unwrap(), loader.next_batch().unwrap()];
        batches.map(|batch| batch.prompts)
    };
    let verl = batches("verl");
    let pictures = verl.iter().flatten().map(|prompt| prompt.query.images.len());
    assert_eq!(pictures.collect::<Vec<_>>(), [1; 8], "the pictures are there");
    for layout in ["easyr1", "trl", "ms-swift"] {
        for (prompt, known) in batches(layout).iter().flatten().zip(verl.iter().flatten()) {
            assert_eq!(prompt.index, known.index, "{layout}");
            assert_eq!(prompt.query.id, known.query.id, "{layout}");
            assert_eq!(prompt.query.messages, known.query.messages, "{layout}");
            assert_eq!(prompt.query.ground_truth, known.query.ground_truth, "{layout}");
            assert_eq!(prompt.response, known.response, "{layout}");
            assert_eq!(prompt.input, known.input, "{layout}: the tokens, places and pixels that the policy sees");
        }
    }
}

#[test]
fn what_is_passed_over_is_drawn_only_when_nothing_else_is_left() {
    let (folder, processor) = (tempfile::tempdir().unwrap(), processor());
    let rows = dataset(folder.path(), "easyr1");
    let over = |rows: &[u64]| rows.iter().map(|row| (0, *row)).collect::<PassedOver>();
    let mut some = loader(rows.clone(), 3, &processor, None);
    some.prepare(over(&[0, 1, 2]));
    let batch = some.next_batch().unwrap();
    let mut drawn = indices(&batch);
    drawn.sort_unstable();
    assert_eq!(drawn, [3, 4, 5]);
    assert!(some.refill(&[2], &over(&[0, 1, 2, 3, 4, 5])).unwrap().prompts.is_empty(), "a refill gives up");
    assert_eq!(some.refill(&[2], &over(&[0, 1, 3, 4, 5])).unwrap().prompts[0].index, 2);
    some.prepare(over(&[0, 1, 2, 3, 4, 5]));
    let batch = some.next_batch().unwrap();
    assert_eq!((batch.prompts.len(), batch.passed_over), (3, 36), "a batch does not");
    some.prepare(PassedOver::new());
    assert!(some.refill(&[1], &PassedOver::new()).is_err(), "too late: the next batch has been begun");
}

#[test]
fn a_step_that_was_refilled_is_gone_on_from_behind_it() {
    let (folder, processor) = (tempfile::tempdir().unwrap(), processor());
    let rows = dataset(folder.path(), "easyr1");
    let mut first = loader(rows.clone(), 3, &processor, None);
    first.next_batch().unwrap();
    let state = first.refill(&[2], &PassedOver::new()).unwrap().state;
    first.prepare(PassedOver::from([(0, 1)]));
    let mut resumed = loader(rows, 3, &processor, Some(&state));
    resumed.prepare(PassedOver::from([(0, 1)]));
    assert_eq!(indices(&first.next_batch().unwrap()), indices(&resumed.next_batch().unwrap()));
}
