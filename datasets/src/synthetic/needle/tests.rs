//! Laws of needles: each lies where its row says, once, in a haystack as long as its row says, and is drawn alike again.

use serde_json::Value;

use super::*;

fn grid(kind: Kind, lengths: &[u64], depths: &[f64]) -> Grid {
    Grid { kind, lengths: lengths.to_vec(), depths: depths.to_vec(), per_cell: 3, seed: 1 }
}

fn number(query: &Query, column: &str) -> f64 {
    query.columns.get(column).and_then(Value::as_f64).unwrap()
}

#[test]
fn a_sentence_lies_at_its_depth_once_and_the_text_is_as_long_as_said() {
    let grid = grid(Kind::Text, &[64, 256, 1024], &[0.0, 10.0, 50.0, 100.0]);
    let file = Filler::of_text("It was a dark night. Nobody came!\n\nWho would have? 777 ships lay there").unwrap();
    for haystack in [Haystack::words(), Haystack { filler: file, ..Haystack::words() }] {
        for index in 0..grid.rows() {
            let Row { query, frames } = grid.row(index, &haystack).unwrap();
            let (length, depth) = (number(&query, LENGTH_COLUMN), number(&query, DEPTH_COLUMN));
            let truth = query.ground_truth.as_ref().map(Value::to_string).unwrap();
            let text = query.question();
            let (hidden, question) = text.split_once("\n\n").unwrap();
            assert_eq!(hidden.matches(&truth).count(), 1, "{text}");
            assert!(question.starts_with("What is the number of the ") && !question.contains(&truth), "{question}");
            let counted = hidden.split_whitespace().count() as f64;
            assert_eq!(counted, number(&query, COUNTED_COLUMN));
            assert!(counted <= length && counted > length - 14.0, "{counted} of {length}");
            // The words of the needle aside, the share before it is its depth, but for half a sentence.
            let before = hidden.split_once("The number of the").unwrap().0.split_whitespace().count() as f64;
            let filler = counted - 8.0;
            assert!((before - depth / 100.0 * filler).abs() <= 7.0, "{before} of {filler} at {depth}: {hidden}");
            assert!((depth > 0.0 || before == 0.0) && (depth < 100.0 || before == filler));
            assert!(frames.is_empty() && query.images.is_empty());
            assert_eq!(query.columns["prompt"], "needle-text/1");
        }
    }
}

#[test]
fn one_picture_is_asked_for_and_rows_are_drawn_alike_again() {
    for (kind, of_frames) in [(Kind::Pictures, false), (Kind::Video, true)] {
        let grid = grid(kind, &[1, 5], &[0.0, 50.0, 100.0]);
        let rows = |grid: &Grid| -> Vec<Row> {
            (0..grid.rows()).map(|index| grid.row(index, &Haystack::words()).unwrap()).collect()
        };
        let drawn = rows(&grid);
        for row in &drawn {
            let (pictures, none) = match of_frames {
                true => (&row.frames, row.query.images.len()),
                false => (&row.query.images, row.frames.len()),
            };
            assert_eq!((pictures.len() as f64, none), (number(&row.query, LENGTH_COLUMN), 0));
            let parts = &row.query.messages[0].content;
            let shown = parts.iter().filter(|part| matches!(part, Part::Image | Part::Video)).count();
            assert_eq!(shown, if of_frames { 1 } else { pictures.len() });
        }
        let ids: std::collections::BTreeSet<&str> = drawn.iter().map(|row| row.query.id.as_str()).collect();
        assert_eq!(ids.len() as u64, grid.rows());
        for (one, other) in drawn.iter().zip(rows(&grid)) {
            assert_eq!((&one.query, &one.frames), (&other.query, &other.frames));
        }
        let other = rows(&Grid { seed: 2, ..grid });
        assert_ne!(other[0].query.ground_truth, drawn[0].query.ground_truth);
    }
}

/// The picture at the depth is the one with the figure: it is drawn in the colour that the question names, and no other picture is
/// both of that colour and of that shape.
#[test]
fn the_picture_that_is_asked_for_lies_at_the_depth() {
    use crate::synthetic::figure::{Colour, Shape};
    use crate::synthetic::words::Language;

    let grid = grid(Kind::Pictures, &[3, 9], &[0.0, 25.0, 100.0]);
    for index in 0..grid.rows() {
        let query = grid.row(index, &Haystack::words()).unwrap().query;
        let question = query.question();
        let named = |word: &str| question.contains(&format!(" {word}"));
        let colour = Colour::ALL.into_iter().find(|colour| named(colour.word(Language::English))).unwrap();
        let shape = Shape::ALL.into_iter().find(|shape| named(shape.word(Language::English))).unwrap();
        let area = |picture: &Picture| {
            let of_colour = |pixel: &image::Rgb<u8>| pixel.0.iter().zip(colour.rgb()).all(|(a, b)| a.abs_diff(b) < 3);
            picture.decode().unwrap().pixels().filter(|pixel| of_colour(pixel)).count()
        };
        let at = number(&query, DEPTH_COLUMN) / 100.0 * (number(&query, LENGTH_COLUMN) - 1.0);
        let found = area(&query.images[at.round() as usize]);
        // A figure of 26 pixels: a square has 676, a circle 531, a triangle half of a square, a star a third.
        let wanted = match shape {
            Shape::Square => 560..=676,
            Shape::Circle => 430..=531,
            Shape::Triangle => 240..=340,
            Shape::Star => 100..=240,
        };
        assert!(wanted.contains(&found), "{shape:?} {found}: {question}");
        let alike = query.images.iter().filter(|picture| wanted.contains(&area(picture))).count();
        assert_eq!(alike, 1, "{question}");
    }
}

#[test]
fn grids_and_haystacks_that_make_no_sense_are_refused() {
    let good = grid(Kind::Text, &[64], &[0.0]);
    assert_eq!(good.fault(), None);
    let fault = |grid: Grid| grid.fault().map(|(option, reason)| format!("{option}: {reason}")).unwrap_or_default();
    assert_eq!(fault(Grid { lengths: vec![64, 64], ..good.clone() }), "lengths: 64 stands twice");
    assert!(fault(Grid { lengths: vec![0], ..good.clone() }).starts_with("lengths: 0 must be at least 1"));
    assert!(fault(Grid { lengths: vec![10_001], kind: Kind::Video, ..good.clone() }).contains("at most 10000"));
    assert!(fault(Grid { depths: vec![101.0], ..good.clone() }).starts_with("depths: 101 is no depth"));
    assert!(fault(Grid { depths: vec![f64::NAN], ..good.clone() }).starts_with("depths: NaN is no depth"));
    assert!(fault(Grid { per_cell: 0, ..good.clone() }).starts_with("per-cell: 0 rows"));
    assert!(fault(Grid { per_cell: u64::MAX, ..good.clone() }).starts_with("per-cell"));
    assert!(fault(Grid { lengths: Vec::new(), ..good.clone() }).starts_with("per-cell"));
    let short = Grid { lengths: vec![12], ..good };
    let said = short.row(0, &Haystack::words()).unwrap_err().to_string();
    assert!(said.contains("needle-text-1-12-0-0") && said.contains("12 words is too short"), "{said}");
    assert_eq!(Filler::of_text(" \n\n ").err(), Some("it holds no word"));
}
