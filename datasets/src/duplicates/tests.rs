//! Repeats are found, and what only resembles is none.

use image::imageops::{FilterType, resize};

use super::*;
use crate::picture::Picture;
use crate::query::{Message, Part, Query, Role};
use crate::split::Split;
use crate::synthetic::{self, Task};

const NEAR: f64 = 0.8;

fn print(query: &Query) -> Fingerprint {
    let looks: Vec<Look> = query.images.iter().map(|picture| Look::of(&picture.decode().unwrap())).collect();
    Fingerprint::of(query, &looks, NEAR)
}

fn text(id: &str, words: &str, truth: &str) -> Query {
    Query {
        id: id.to_owned(),
        messages: vec![Message { role: Role::User, content: vec![Part::text(words)] }],
        conversational: false,
        images: Vec::new(),
        ground_truth: Some(truth.into()),
        ..synthetic::query(Task::Arith, Split::Train, 1, 0)
    }
}

/// What each row repeats, where the first of each cluster is kept.
fn repeats(queries: &[Query]) -> Vec<Option<Repeat>> {
    let mut index = Index::new(NEAR);
    let mut kept = Vec::new();
    let found = queries.iter().enumerate().map(|(row, query)| {
        let fingerprint = print(query);
        let found = index.find(&fingerprint).map(|repeat| Repeat { of: kept[repeat.of], ..repeat });
        if found.is_none() {
            index.insert(fingerprint).unwrap();
            kept.push(row);
        }
        found
    });
    found.collect()
}

#[test]
fn the_first_of_a_cluster_is_kept() {
    let words = "A train leaves the station at noon and travels with 60 km/h. How far has it come after 3 hours?";
    let reworded = "A train leaves the station at noon and it travels with 60 km/h. How far has it come after 3 hours";
    let rows = [
        text("a", words, "180"),
        text("b", "Something else entirely is asked here, of another thing.", "x"),
        text("c", words, "180"),
        text("d", words, "181"),
        text("e", reworded, "180"),
        text("f", reworded, "181"),
        text("g", &words.replace("60", "70"), "180"),
        text("h", &words.to_uppercase(), "180"),
    ];
    let found = repeats(&rows);
    let exact = Some(Repeat { of: 0, similarity: None });
    assert_eq!(found[..4], [None, None, exact, exact], "the same question with another truth is the same question");
    assert!(
        found[4].is_some_and(|repeat| repeat.of == 0 && repeat.similarity.is_some_and(|s| (NEAR..1.0).contains(&s)))
    );
    assert_eq!(found[5], None, "a question that is only near, with another truth, is another one");
    assert_eq!(found[6], None, "another number");
    assert_eq!(found[7], Some(Repeat { of: 0, similarity: Some(1.0) }));
}

#[test]
fn pictures_and_texts_must_both_be_near() {
    let rows: Vec<Query> = (0..60).map(|index| synthetic::query(Task::Clock, Split::Train, 3, index)).collect();
    let other_size = |query: &Query| {
        let pixels = query.images[0].decode().unwrap();
        let (width, height) = (pixels.width() * 2, pixels.height() * 2);
        let larger = resize(&pixels, width, height, FilterType::Triangle);
        Query { images: vec![Picture::from_rgb(&larger).unwrap()], ..query.clone() }
    };
    let copies: Vec<Query> = rows.iter().map(other_size).collect();
    let alone = repeats(&rows).iter().flatten().count();
    let found = repeats(&[rows.clone(), copies.clone()].concat());
    let right = found[60..].iter().zip(0..).filter(|(repeat, row)| repeat.is_some_and(|r| r.of == *row)).count();
    assert!(right + alone >= 57, "{right} of 60 resized copies are found, {alone} of the originals are alike");
    let asked = text("q", "Which colour has the frame around the whole picture?", "x").messages;
    let mut other = Query { messages: asked, ..rows[0].clone() };
    other.messages[0].content.insert(0, Part::Image);
    assert_eq!(repeats(&[rows[0].clone(), other])[1], None, "two questions about one picture");
}

#[test]
fn keys_let_near_rows_meet() {
    let word = |at: usize| format!("w{}", char::from(b'a' + (at * 7 % 26) as u8).to_string().repeat(at % 4 + 1));
    let mut rows = Vec::new();
    for row in 0..200 {
        let words: Vec<String> = (0..40).map(|at| word(row * 31 + at * (row % 5 + 1))).collect();
        rows.push(text("a", &words.join(" "), "x"));
    }
    let copies = rows.iter().map(|query| text("b", &format!("Well, {}", query.question()), "x"));
    let mut index = Index::new(NEAR);
    for row in &rows {
        index.insert(print(row)).unwrap();
    }
    let found = copies.filter(|copy| index.find(&print(copy)).is_some()).count();
    assert!(found >= 198, "{found} of 200");
    assert_eq!(index.capped(), 0);
}

/// The questions of a generated task share most of their words; what is asked differs all the same. Two that differ in one
/// word of a long template cannot be told from a copy that was reworded: of the judge's pairs a few are taken for one.
#[test]
fn questions_of_one_template_are_not_repeats() {
    for task in Task::ALL {
        let rows: Vec<Query> = (0..300).map(|index| synthetic::query(task, Split::Train, 9, index)).collect();
        let found = repeats(&rows);
        let near = found.iter().flatten().filter(|repeat| repeat.similarity.is_some()).count();
        assert!(near <= if task == Task::Judge { 12 } else { 6 }, "{task}: {near} of 300 are taken for repeats");
    }
}

#[test]
fn rows_without_end_are_bounded() {
    let mut index = Index::new(0.5);
    for row in 0..6000 {
        let mut print = print(&text("a", "the same words", "x"));
        print.exact[..4].copy_from_slice(&u32::to_be_bytes(row));
        print.truth = Some(u64::from(row));
        index.insert(print).unwrap();
    }
    let mut other = print(&text("a", "the same words", "y"));
    other.exact = [9; 16];
    assert_eq!((index.find(&other), index.capped()), (None, 1), "counted, where not all are compared");
}
