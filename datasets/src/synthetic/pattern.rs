//! A matrix of figures whose last is missing: shapes, colours and, if hard, numbers follow rules of rows and columns.

use serde_json::{Map, Value, json};

use super::canvas::{Canvas, Point};
use super::describe::{Part, parse_part, part_words};
use super::figure::{Colour, Figure, Shape};
use super::{Dice, Difficulty, Draft, Frame, Language, Painting, background, pick, shuffled};

const CELL_PIXELS: f32 = 32.0;
const INK: [u8; 3] = [25, 25, 25];
/// How choices are named: by numbers, which are of no language.
const NAMES: [char; 4] = ['1', '2', '3', '4'];

/// How an attribute's three values lie in the matrix.
#[derive(Clone, Copy)]
enum Rule {
    /// One for each row.
    Rows,
    /// One for each column.
    Columns,
    /// Each once in every row and column, moving to the left from row to row.
    Leftwards,
    /// The same, moving to the right.
    Rightwards,
}

impl Rule {
    const STRAIGHT: [Self; 2] = [Self::Rows, Self::Columns];
    const SLANTED: [Self; 2] = [Self::Leftwards, Self::Rightwards];

    /// Which of the three values stands in a cell.
    fn at(self, cell: usize) -> usize {
        let (row, column) = (cell / 3, cell % 3);
        match self {
            Self::Rows => row,
            Self::Columns => column,
            Self::Leftwards => (row + column) % 3,
            Self::Rightwards => (2 * row + column) % 3,
        }
    }
}

/// The nine cells in reading order; the last is what is asked for.
fn matrix(difficulty: Difficulty, dice: &mut Dice) -> Vec<Part> {
    let straight = pick(dice, &[[Rule::Rows, Rule::Columns], [Rule::Columns, Rule::Rows]]);
    let slanted = [pick(dice, &Rule::SLANTED), pick(dice, &Rule::SLANTED)];
    let one_of_each = [straight[0], slanted[0]];
    let rules = match difficulty {
        Difficulty::Easy => straight,
        Difficulty::Medium => pick(dice, &[one_of_each, [one_of_each[1], one_of_each[0]]]),
        Difficulty::Hard => slanted,
    };
    let shapes = shuffled(dice, &Shape::ALL);
    let colours = shuffled(dice, &Colour::ALL);
    let counts = if difficulty == Difficulty::Hard { shuffled(dice, &[1, 2, 3]) } else { vec![1; 3] };
    let count_rule = pick(dice, &Rule::STRAIGHT);
    let cell = |cell: usize| {
        let figure = Figure { colour: colours[rules[1].at(cell)], shape: shapes[rules[0].at(cell)] };
        (counts[count_rule.at(cell)], figure)
    };
    (0..9).map(cell).collect()
}

/// Three wrong parts, the first of which is wrong in one way alone.
fn wrong(truth: Part, difficulty: Difficulty, dice: &mut Dice) -> Vec<Part> {
    let counts = if difficulty == Difficulty::Hard { 1..=3 } else { 1..=1 };
    let all: Vec<Part> = counts
        .flat_map(|count| Colour::ALL.into_iter().map(move |colour| (count, colour)))
        .flat_map(|(count, colour)| Shape::ALL.into_iter().map(move |shape| (count, Figure { colour, shape })))
        .filter(|part| *part != truth)
        .collect();
    let mut all = shuffled(dice, &all);
    let differs = |part: &Part| {
        let (count, figure) = part;
        u8::from(*count != truth.0)
            + u8::from(figure.colour != truth.1.colour)
            + u8::from(figure.shape != truth.1.shape)
    };
    // Stable: the order of those that differ alike stays random.
    let near = all.iter().position(|part| differs(part) == 1).unwrap_or_default();
    all.swap(0, near);
    all.truncate(3);
    all
}

pub(super) fn draw(frame: Frame, dice: &mut Dice) -> Draft {
    let cells = matrix(frame.difficulty, dice);
    let truth = cells[8];
    let right = frame.roll % NAMES.len();
    let mut choices = wrong(truth, frame.difficulty, dice);
    choices = shuffled(dice, &choices);
    choices.insert(right, truth);
    let words = |parts: &[Part], language| parts.iter().map(|&part| part_words(part, language)).collect::<Vec<_>>();
    let shown = words(&cells[..8], Language::English);
    let offered = words(&choices, Language::English);
    let name = NAMES[right].to_string();
    Draft {
        content: format!("pattern:{} then {}", shown.join(","), offered.join(",")),
        prompt: frame.language.choose("Which one is missing: 1, 2, 3 or 4?", "缺的是哪一个：1、2、3还是4？").to_owned(),
        reward_kind: "number",
        ground_truth: (right + 1).into(),
        working: part_words(truth, frame.language),
        answer: name,
        facts: json!({"cells": shown, "choices": offered}),
        columns: Map::new(),
        painting: Some(painting(cells[..8].to_vec(), choices)),
    }
}

fn painting(cells: Vec<Part>, choices: Vec<Part>) -> Painting {
    Box::new(move |dice| {
        let mut canvas = Canvas::new(136, 156, background(dice));
        let place = |cell: usize| (20.0 + (cell % 3) as f32 * CELL_PIXELS, 4.0 + (cell / 3) as f32 * CELL_PIXELS);
        for (cell, &part) in cells.iter().enumerate() {
            parts(&mut canvas, part, place(cell));
        }
        let (left, top) = place(8);
        canvas.letter('?', (left + 12.0, top + 8.0), 16.0, INK);
        for line in 0..=3 {
            let along = line as f32 * CELL_PIXELS;
            canvas.line((20.0, 4.0 + along), (116.0, 4.0 + along), 1.2, INK);
            canvas.line((20.0 + along, 4.0), (20.0 + along, 100.0), 1.2, INK);
        }
        for (number, (&part, letter)) in choices.iter().zip(NAMES).enumerate() {
            let left = 4.0 + number as f32 * CELL_PIXELS;
            parts(&mut canvas, part, (left, 108.0));
            canvas.letter(letter, (left + 12.0, 142.0), 11.0, INK);
        }
        canvas
    })
}

/// One to three figures in the cell with its corner at `corner`.
fn parts(canvas: &mut Canvas, (count, figure): Part, corner: Point) {
    let (side, places): (f32, &[Point]) = match count {
        1 => (20.0, &[(16.0, 16.0)]),
        2 => (12.0, &[(9.0, 16.0), (23.0, 16.0)]),
        _ => (11.5, &[(9.0, 9.0), (23.0, 9.0), (16.0, 23.0)]),
    };
    for (x, y) in places {
        let left_top = (corner.0 + x - side / 2.0, corner.1 + y - side / 2.0);
        canvas.figure(figure.shape, left_top, side, figure.colour.rgb());
    }
}

/// The answer is the only choice with which shapes, colours and numbers each follow a rule.
pub(super) fn is_correct(facts: &Value, answer: &str) -> bool {
    fitting(facts).is_some_and(|fitting| match fitting.as_slice() {
        [only] => answer.len() == 1 && answer.starts_with(*only),
        _ => false,
    })
}

/// The names of the choices with which the matrix follows a rule.
fn fitting(facts: &Value) -> Option<Vec<char>> {
    let read = |key: &str| -> Option<Vec<Part>> {
        let words = facts.get(key)?.as_array()?.iter().map(|one| parse_part(one.as_str()?, Language::English));
        words.collect()
    };
    let (cells, choices) = (read("cells")?, read("choices")?);
    if cells.len() != 8 {
        return None;
    }
    let fits = |choice: Part| {
        let whole: Vec<Part> = cells.iter().copied().chain([choice]).collect();
        let follows = |value: &dyn Fn(Part) -> usize| {
            let values: Vec<usize> = whole.iter().map(|&part| value(part)).collect();
            follows_a_rule(&values)
        };
        follows(&|part| part.0) && follows(&|part| part.1.colour as usize) && follows(&|part| part.1.shape as usize)
    };
    Some(NAMES.into_iter().zip(choices).filter(|(_, choice)| fits(*choice)).map(|(letter, _)| letter).collect())
}

/// Whether nine values are the same along every row, or along every column, or all different along both, in which case
/// there are three values alone.
fn follows_a_rule(values: &[usize]) -> bool {
    let rows: Vec<[usize; 3]> = (0..3).map(|row| std::array::from_fn(|column| values[row * 3 + column])).collect();
    let columns: Vec<[usize; 3]> = (0..3).map(|column| std::array::from_fn(|row| values[row * 3 + column])).collect();
    let same = |line: &[usize; 3]| line[0] == line[1] && line[1] == line[2];
    let sorted = |line: &[usize; 3]| {
        let mut line = *line;
        line.sort_unstable();
        line
    };
    let first = sorted(&rows[0]);
    let different = first[0] < first[1] && first[1] < first[2];
    rows.iter().all(same)
        || columns.iter().all(same)
        || different && rows.iter().chain(&columns).all(|line| sorted(line) == first)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn one_choice_alone_follows_the_rules() {
        let mut dice = Dice::from_seed([9; 32]);
        for turn in 0..600 {
            let difficulty = Difficulty::ALL[turn % 3];
            let frame = Frame { language: Language::English, difficulty, coin: false, roll: turn % 12 };
            let draft = draw(frame, &mut dice);
            assert_eq!(fitting(&draft.facts), Some(vec![NAMES[turn % 12 % 4]]), "{}", draft.content);
            assert!(is_correct(&draft.facts, &draft.answer));
        }
    }

    #[test]
    fn rules_are_told_from_chance() {
        for (values, follows) in [
            ([1, 1, 1, 2, 2, 2, 3, 3, 3], true),
            ([1, 2, 3, 1, 2, 3, 1, 2, 3], true),
            ([1, 2, 3, 2, 3, 1, 3, 1, 2], true),
            ([1, 2, 3, 3, 1, 2, 2, 3, 1], true),
            ([1, 1, 1, 2, 2, 2, 3, 3, 1], false),
            ([1, 2, 3, 2, 3, 1, 3, 1, 1], false),
            ([1, 2, 3, 1, 2, 3, 2, 3, 1], false),
        ] {
            assert_eq!(follows_a_rule(&values), follows, "{values:?}");
        }
    }
}
