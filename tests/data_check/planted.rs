//! A set in which repeats and an overlap were planted: nearly all are found, and hardly anything else is.

use std::path::Path;

use image::imageops::{FilterType, resize};
use sapo_datasets::synthetic::query;
use sapo_datasets::written::parquet;
use sapo_datasets::{Example, Message, Part, Picture, Split, Task};

use super::{Held, run, targets};

/// Rows of every generated task, without those that generation repeats.
fn distinct(split: Split, each: usize) -> Vec<Example> {
    let mut rows: Vec<Example> = Vec::new();
    for task in Task::ALL {
        let mut own: Vec<Example> = Vec::new();
        for index in 0..20 * each as u64 {
            let said = |row: &Example| (row.query.messages.clone(), row.query.images.clone());
            let row = Example { query: query(task, split, 5, index), response: None, spoken: false };
            if own.len() < each && own.iter().all(|other| said(other) != said(&row)) {
                own.push(row);
            }
        }
        rows.extend(own);
    }
    rows
}

/// A row as a person would copy it: another id, other letters and spaces, pictures in another size.
fn copied(row: &Example, number: usize) -> Example {
    let mut copy = row.clone();
    copy.query.id = format!("copy-{number}");
    if number.is_multiple_of(2) {
        return copy;
    }
    let reworded = |part: &Part| match part {
        Part::Text { text } => Part::text(format!("{}  ", text.replace("What", "what").trim_end_matches(['?', '.']))),
        other => other.clone(),
    };
    let message =
        |message: &Message| Message { role: message.role, content: message.content.iter().map(reworded).collect() };
    copy.query.messages = copy.query.messages.iter().map(message).collect();
    let larger = |picture: &Picture| {
        let pixels = picture.decode().expect("a picture");
        let (width, height) = (pixels.width() * 3 / 2, pixels.height() * 3 / 2);
        Picture::from_rgb(&resize(&pixels, width, height, FilterType::CatmullRom)).expect("a picture")
    };
    copy.query.images = copy.query.images.iter().map(larger).collect();
    copy
}

fn write(folder: &Path, name: &str, rows: &[Example]) -> std::path::PathBuf {
    let path = folder.join(name);
    parquet::write(&path, rows.iter().cloned().map(Ok)).expect("a file");
    path
}

#[test]
fn repeats_and_the_overlap_are_found_and_little_else() {
    let place = tempfile::tempdir().expect("a folder");
    let evaluated = distinct(Split::Test, 8);
    let mut rows = distinct(Split::Train, 40);
    assert!(rows.len() >= 320, "{} rows", rows.len());
    rows.truncate(340);
    let step = rows.len() / 40;
    let copies: Vec<Example> = (0..40).map(|number| copied(&rows[number * step], number)).collect();
    let leaks: Vec<Example> = (0..20).map(|number| copied(&evaluated[number * 3], 100 + number)).collect();
    let honest = rows.len() as u64;
    rows.extend(copies);
    rows.extend(leaks);
    let train = write(place.path(), "train.parquet", &rows);
    let test = write(place.path(), "test.parquet", &evaluated);
    let held = Held::default();
    let both = [targets(&train, false, held), targets(&test, true, held)];
    let outcome = run(both.into_iter().flatten().collect(), place.path(), held);
    let named = |row: u64, wanted: &str| outcome.of("train", row).contains(wanted);
    let found = (honest..honest + 40).filter(|row| named(*row, "duplicate")).count();
    let leaked = (honest + 40..honest + 60).filter(|row| named(*row, "overlap")).count();
    let wronged = (0..honest).filter(|row| !outcome.of("train", *row).is_empty()).count();
    assert!(found >= 38, "{found} of 40 repeats: {outcome:?}");
    assert!(leaked >= 19, "{leaked} of 20 in the evaluation: {outcome:?}");
    assert!(wronged as u64 * 50 <= honest, "{wronged} of {honest} are wronged: {outcome:?}");
}
