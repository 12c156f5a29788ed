//! Places and colours: what stands beside a figure, on which side of it, and in which colour.

use rand::RngExt;
use serde_json::{Map, Value, json};

use super::canvas::Canvas;
use super::figure::{Colour, Figure, Shape};
use super::{Dice, Difficulty, Draft, Frame, Language, Painting, background, pick, shuffled};

/// Cells in a row and in a column.
const CELLS: usize = 3;
const CELL_PIXELS: f32 = 32.0;

/// A side of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Left,
    Right,
    Above,
    Below,
}

impl Side {
    const ALL: [Self; 4] = [Self::Left, Self::Right, Self::Above, Self::Below];

    /// The cell on that side, if there is one.
    fn of(self, cell: usize) -> Option<usize> {
        let (row, column) = (cell / CELLS, cell % CELLS);
        match self {
            Self::Left => (column > 0).then(|| cell - 1),
            Self::Right => (column + 1 < CELLS).then_some(cell + 1),
            Self::Above => (row > 0).then(|| cell - CELLS),
            Self::Below => (row + 1 < CELLS).then_some(cell + CELLS),
        }
    }

    fn word(self, language: Language) -> &'static str {
        let (english, chinese) = match self {
            Self::Left => ("left", "左"),
            Self::Right => ("right", "右"),
            Self::Above => ("above", "上"),
            Self::Below => ("below", "下"),
        };
        language.choose(english, chinese)
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|side| side.word(Language::English) == word)
    }

    /// `directly left of X`, `X左边`.
    fn place(self, language: Language, beside: &str) -> String {
        let word = self.word(language);
        match (language, self) {
            (Language::English, Self::Left | Self::Right) => format!("directly {word} of {beside}"),
            (Language::English, _) => format!("directly {word} {beside}"),
            (Language::Chinese, _) => format!("{beside}{word}边紧挨着的"),
        }
    }
}

/// What is asked about the figure at the end of a way.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Asked {
    Figure,
    Colour,
    Side,
}

impl Asked {
    const ALL: [(Self, &'static str); 3] = [(Self::Figure, "figure"), (Self::Colour, "colour"), (Self::Side, "side")];

    fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(asked, _)| *asked == self).map_or("", |(_, name)| name)
    }
}

/// Figures that all differ, in cells; and a way over neighbours from one of them.
#[derive(Clone)]
struct Scene {
    cells: [Option<Figure>; CELLS * CELLS],
    /// The cell where the way starts.
    from: usize,
    way: Vec<Side>,
}

impl Scene {
    fn any(figures: usize, steps: usize, dice: &mut Dice) -> Self {
        let kinds: Vec<Figure> =
            Colour::ALL.into_iter().flat_map(|colour| Shape::ALL.map(|shape| Figure { colour, shape })).collect();
        loop {
            let places = shuffled(dice, &(0..CELLS * CELLS).collect::<Vec<_>>());
            let mut cells = [None; CELLS * CELLS];
            for (&place, figure) in places.iter().zip(shuffled(dice, &kinds)).take(figures) {
                cells[place] = Some(figure);
            }
            let way = (0..steps).map(|_| pick(dice, &Side::ALL)).collect();
            let scene = Self { cells, from: places[0], way };
            // A way that leads nowhere or back is drawn again.
            let passed = scene.passed();
            if passed.len() == steps + 1
                && passed.iter().all(|one| passed.iter().filter(|other| *other == one).count() == 1)
            {
                return scene;
            }
        }
    }

    /// The figures along the way, as far as there are any.
    fn passed(&self) -> Vec<Figure> {
        let mut cell = Some(self.from);
        let mut passed: Vec<Figure> = self.cells[self.from].into_iter().collect();
        for side in &self.way {
            cell = cell.and_then(|cell| side.of(cell)).filter(|&cell| self.cells[cell].is_some());
            passed.extend(cell.and_then(|cell| self.cells[cell]));
        }
        passed
    }

    fn prompt(&self, asked: Asked, passed: &[Figure], language: Language) -> String {
        let (first, last) = (passed[0].words(language), passed[passed.len() - 1].words(language));
        let mut place = language.choose(format!("the {first}"), first.clone());
        for (number, side) in self.way.iter().enumerate() {
            if number > 0 {
                place = language.choose(format!("the figure {place}"), format!("{place}图形"));
            }
            place = side.place(language, &place);
        }
        match (asked, language) {
            (Asked::Figure, Language::English) => format!("What is {place}?"),
            (Asked::Figure, Language::Chinese) => format!("{place}是什么？"),
            (Asked::Colour, Language::English) => format!("What colour is the figure {place}?"),
            (Asked::Colour, Language::Chinese) => format!("{place}图形是什么颜色？"),
            (Asked::Side, Language::English) => {
                format!("Where is the {last} from the {first}: left, right, above or below?")
            }
            (Asked::Side, Language::Chinese) => format!("{last}在{first}的哪边：左、右、上还是下？"),
        }
    }

    fn painting(&self) -> Painting {
        let cells = self.cells;
        Box::new(move |dice| {
            let pixels = CELLS as u32 * CELL_PIXELS as u32;
            let mut canvas = Canvas::new(pixels, pixels, background(dice));
            for (cell, figure) in cells.iter().enumerate() {
                let Some(figure) = figure else { continue };
                let side = dice.random_range(19.0..24.0);
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
    let asked = match frame.roll {
        0..=5 => Asked::Figure,
        6..=8 => Asked::Colour,
        _ => Asked::Side,
    };
    let figures = frame.difficulty.choose(3, 5, 7);
    let steps = if frame.difficulty == Difficulty::Hard && asked != Asked::Side { 2 } else { 1 };
    let scene = Scene::any(figures, steps, dice);
    let passed = scene.passed();
    let last = passed[passed.len() - 1];
    let language = frame.language;
    let answer = match asked {
        Asked::Figure => last.words(language),
        Asked::Colour => last.colour.word(language).to_owned(),
        Asked::Side => scene.way[0].word(language).to_owned(),
    };
    let listed = scene.cells.iter().enumerate().filter_map(|(cell, figure)| figure.map(|figure| (cell, figure)));
    let cells: Vec<String> =
        listed.map(|(cell, figure)| format!("{cell} {}", figure.words(Language::English))).collect();
    let way: Vec<&str> = scene.way.iter().map(|side| side.word(Language::English)).collect();
    let from = passed[0].words(Language::English);
    Draft {
        content: format!("relation:{} {} of {from} by {}", cells.join(","), asked.name(), way.join(",")),
        prompt: scene.prompt(asked, &passed, language),
        reward_kind: "text",
        ground_truth: answer.clone().into(),
        working: passed.iter().map(|figure| figure.words(language)).collect::<Vec<_>>().join(">"),
        answer,
        facts: json!({
            "cells": cells,
            "asked": asked.name(),
            "from": from,
            "way": way,
            "language": language.code(),
        }),
        columns: Map::new(),
        painting: Some(scene.painting()),
    }
}

pub(super) fn is_correct(facts: &Value, answer: &str) -> bool {
    solve(facts).is_some_and(|right| right == answer)
}

/// Follows the way from cell to cell.
fn solve(facts: &Value) -> Option<String> {
    let text = |key: &str| facts.get(key)?.as_str();
    let language = Language::of_code(text("language")?)?;
    let placed: Option<Vec<(usize, Figure)>> = facts
        .get("cells")?
        .as_array()?
        .iter()
        .map(|told| {
            let (cell, words) = told.as_str()?.split_once(' ')?;
            Some((cell.parse().ok()?, Figure::parse(words)?))
        })
        .collect();
    let (placed, from) = (placed?, Figure::parse(text("from")?)?);
    let (mut cell, _) = *placed.iter().find(|(_, figure)| *figure == from)?;
    let mut side = None;
    for word in facts.get("way")?.as_array()? {
        side = Side::parse(word.as_str()?);
        cell = side?.of(cell)?;
    }
    let (_, figure) = placed.iter().find(|(other, _)| *other == cell)?;
    Some(match text("asked")? {
        "figure" => figure.words(language),
        "colour" => figure.colour.word(language).to_owned(),
        "side" => side?.word(language).to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene(way: Vec<Side>) -> Scene {
        let figure = |colour, shape| Some(Figure { colour, shape });
        let mut cells = [None; 9];
        cells[4] = figure(Colour::Red, Shape::Circle);
        cells[3] = figure(Colour::Blue, Shape::Star);
        cells[0] = figure(Colour::Green, Shape::Square);
        Scene { cells, from: 4, way }
    }

    #[test]
    fn golden_prompts() {
        let prompt = |way: &[Side], asked, language| {
            let scene = scene(way.to_vec());
            scene.prompt(asked, &scene.passed(), language)
        };
        let (left, both) = ([Side::Left], [Side::Left, Side::Above]);
        assert_eq!(prompt(&left, Asked::Figure, Language::English), "What is directly left of the red circle?");
        assert_eq!(
            prompt(&both, Asked::Figure, Language::English),
            "What is directly above the figure directly left of the red circle?"
        );
        assert_eq!(prompt(&left, Asked::Figure, Language::Chinese), "红色圆形左边紧挨着的是什么？");
        assert_eq!(
            prompt(&both, Asked::Colour, Language::Chinese),
            "红色圆形左边紧挨着的图形上边紧挨着的图形是什么颜色？"
        );
        assert_eq!(
            prompt(&left, Asked::Side, Language::English),
            "Where is the blue star from the red circle: left, right, above or below?"
        );
    }

    #[test]
    fn the_solver_follows_the_way() {
        let facts = |asked: &str, way: &[&str], language: &str| {
            let cells = ["0 green square", "3 blue star", "4 red circle"];
            json!({"cells": cells, "asked": asked, "from": "red circle", "way": way, "language": language})
        };
        assert_eq!(solve(&facts("figure", &["left"], "en")).unwrap(), "blue star");
        assert_eq!(solve(&facts("figure", &["left", "above"], "zh")).unwrap(), "绿色方形");
        assert_eq!(solve(&facts("colour", &["left"], "en")).unwrap(), "blue");
        assert_eq!(solve(&facts("side", &["left"], "zh")).unwrap(), "左");
        assert_eq!(solve(&facts("figure", &["above"], "en")), None);
        assert_eq!(solve(&facts("figure", &["right", "right"], "en")), None);
    }
}
