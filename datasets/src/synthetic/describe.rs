//! Describing a picture: one to three kinds of figures, one per 32 px cell, in one canonical phrase.

use rand::RngExt;
use serde_json::{Map, Value, json};

use super::canvas::Canvas;
use super::figure::{Colour, Figure, Shape};
use super::{Dice, Difficulty, Draft, Frame, Language, Painting, background, shuffled};

/// Cells in a row and in a column.
const CELLS: usize = 3;
const CELL_PIXELS: f32 = 32.0;

/// So many (1 to 3) of a figure.
pub(super) type Part = (usize, Figure);

const ENGLISH_COUNTS: [&str; 3] = ["one", "two", "three"];
const CHINESE_COUNTS: [&str; 3] = ["一个", "两个", "三个"];

/// One or two kinds of figures (one if easy, two or three if hard), in the canonical order: more first, then by colour, then by shape.
pub(super) fn any_parts(difficulty: Difficulty, dice: &mut Dice) -> Vec<Part> {
    let kinds = match difficulty {
        Difficulty::Easy => 1,
        Difficulty::Medium => dice.random_range(1..=2),
        Difficulty::Hard => dice.random_range(2..=3),
    };
    let mut parts: Vec<Part> = Vec::new();
    while parts.len() < kinds {
        let figure = Figure::any(dice);
        if parts.iter().all(|part| part.1 != figure) {
            parts.push((dice.random_range(1..=3), figure));
        }
    }
    canonical(parts)
}

fn canonical(mut parts: Vec<Part>) -> Vec<Part> {
    parts.sort_by_key(|&(count, figure)| (std::cmp::Reverse(count), figure));
    parts
}

/// `two red circles`, `两个红色圆形`.
pub(super) fn part_words((count, figure): Part, language: Language) -> String {
    let words = figure.words(language);
    let number = language.choose(ENGLISH_COUNTS, CHINESE_COUNTS)[count - 1];
    match language {
        Language::English => format!("{number} {words}{}", if count > 1 { "s" } else { "" }),
        Language::Chinese => format!("{number}{words}"),
    }
}

/// What joins two parts.
pub(super) fn joint(language: Language) -> &'static str {
    language.choose(" and ", "和")
}

fn phrase(parts: &[Part], language: Language) -> String {
    parts.iter().map(|&part| part_words(part, language)).collect::<Vec<_>>().join(joint(language))
}

/// Whether two phrases of this task's grammar say the same, whatever the order of their parts.
/// False when one is no such phrase (a wrong plural is enough) or they are in different languages.
pub fn same_description(reference: &str, answer: &str) -> bool {
    matches!((parse(reference), parse(answer)), (Some(one), Some(other)) if one == other)
}

/// The language and the parts in canonical order.
fn parse(text: &str) -> Option<(Language, Vec<Part>)> {
    let text = text.trim();
    let language = if text.is_ascii() { Language::English } else { Language::Chinese };
    let parts: Option<Vec<Part>> = text.split(joint(language)).map(|part| parse_part(part, language)).collect();
    Some((language, canonical(parts?)))
}

/// The part that is written exactly so: there are only 36.
pub(super) fn parse_part(text: &str, language: Language) -> Option<Part> {
    let figures = Colour::ALL.into_iter().flat_map(|colour| Shape::ALL.map(|shape| Figure { colour, shape }));
    figures
        .flat_map(|figure| (1..=3).map(move |count| (count, figure)))
        .find(|&part| part_words(part, language) == text)
}

/// Figures in cells.
pub(super) struct Scene {
    cells: Vec<(usize, Figure)>,
    parts: Vec<Part>,
}

impl Scene {
    pub(super) fn any(difficulty: Difficulty, dice: &mut Dice) -> Self {
        let parts = any_parts(difficulty, dice);
        let places = shuffled(dice, &(0..CELLS * CELLS).collect::<Vec<_>>());
        let figures = parts.iter().flat_map(|&(count, figure)| std::iter::repeat_n(figure, count));
        let mut cells: Vec<(usize, Figure)> = places.into_iter().zip(figures).collect();
        cells.sort_unstable();
        Self { cells, parts }
    }

    /// The draft with its prompt: `provoke` asks the same question in other words.
    pub(super) fn draft(&self, language: Language, prompt: String) -> Draft {
        let figures: Vec<String> =
            self.cells.iter().map(|(cell, figure)| format!("{cell} {}", figure.words(Language::English))).collect();
        let answer = phrase(&self.parts, language);
        Draft {
            content: format!("describe:{}", figures.join(",")),
            prompt,
            reward_kind: "description",
            ground_truth: answer.clone().into(),
            working: String::new(),
            answer,
            facts: json!({"figures": figures, "language": language.code()}),
            columns: Map::new(),
            painting: Some(self.painting()),
        }
    }

    fn painting(&self) -> Painting {
        let cells = self.cells.clone();
        Box::new(move |dice| {
            let pixels = CELLS as u32 * CELL_PIXELS as u32;
            let mut canvas = Canvas::new(pixels, pixels, background(dice));
            for (cell, figure) in cells {
                let side = dice.random_range(20.0..26.0);
                let mut place = |index: usize| {
                    index as f32 * CELL_PIXELS + (CELL_PIXELS - side) / 2.0 + dice.random_range(-2.0..2.0)
                };
                let corner = (place(cell % CELLS), place(cell / CELLS));
                canvas.figure(figure.shape, corner, side, figure.colour.rgb());
            }
            canvas
        })
    }
}

pub(super) fn draw(frame: Frame, dice: &mut Dice) -> Draft {
    let prompt = frame.language.choose("Describe the picture.", "描述这张图。");
    Scene::any(frame.difficulty, dice).draft(frame.language, prompt.to_owned())
}

/// Counts the figures that were drawn and compares with the phrase, which must be in the language of the question.
pub(super) fn is_correct(facts: &Value, answer: &str) -> bool {
    let (Some(drawn), Some((language, said))) = (facts.get("figures").and_then(Value::as_array), parse(answer)) else {
        return false;
    };
    let figures = drawn.iter().filter_map(Value::as_str).filter_map(|text| Figure::parse(text.split_once(' ')?.1));
    let mut counted: Vec<Part> = Vec::new();
    for figure in figures {
        match counted.iter_mut().find(|part| part.1 == figure) {
            Some(part) => part.0 += 1,
            None => counted.push((1, figure)),
        }
    }
    facts.get("language").and_then(Value::as_str) == Some(language.code()) && canonical(counted) == said
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn golden_phrases() {
        let red_circle = Figure { colour: Colour::Red, shape: Shape::Circle };
        let blue_square = Figure { colour: Colour::Blue, shape: Shape::Square };
        let parts = canonical(vec![(1, blue_square), (2, red_circle)]);
        assert_eq!(phrase(&parts, Language::English), "two red circles and one blue square");
        assert_eq!(phrase(&parts, Language::Chinese), "两个红色圆形和一个蓝色方形");
        let parts = canonical(vec![(1, blue_square), (1, red_circle)]);
        assert_eq!(phrase(&parts, Language::English), "one red circle and one blue square");
    }

    #[test]
    fn order_is_free_and_grammar_is_not() {
        let reference = "two red circles and one blue square";
        assert!(same_description(reference, "one blue square and two red circles"));
        assert!(same_description(reference, " two red circles and one blue square\n"));
        for wrong in [
            "two red circle and one blue square",
            "two red circles and one blue squares",
            "two red circles",
            "two red circles and one blue square and one blue square",
            "two red circles and two red circles",
            "two red circles and",
            "one red circle and two blue squares",
            "two blue circles and one red square",
            "两个红色圆形和一个蓝色方形",
            "",
        ] {
            assert!(!same_description(reference, wrong), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn phrases_are_read_back(seed: [u8; 32], chinese: bool, hard: usize) {
            let parts = any_parts(Difficulty::ALL[hard % 3], &mut Dice::from_seed(seed));
            let language = if chinese { Language::Chinese } else { Language::English };
            prop_assert_eq!(parse(&phrase(&parts, language)), Some((language, parts)));
        }
    }
}
