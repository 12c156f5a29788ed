//! Counting: figures in 16 px cells, asked for by colour or by shape, worked by quadrant.

use rand::RngExt;
use serde_json::{Map, Value, json};

use super::canvas::Canvas;
use super::figure::{Colour, Figure, Shape};
use super::{Dice, Difficulty, Draft, Frame, Language, Painting, background, pick, shuffled};

/// Cells in a row and in a column.
const CELLS: usize = 4;
const CELL_PIXELS: f32 = 16.0;

/// What is counted.
#[derive(Clone, Copy)]
pub(super) enum Asked {
    Colour(Colour),
    Shape(Shape),
}

impl Asked {
    fn matches(self, figure: Figure) -> bool {
        match self {
            Self::Colour(colour) => figure.colour == colour,
            Self::Shape(shape) => figure.shape == shape,
        }
    }

    /// `red shapes`, `circles`; in Chinese `红色图形`, `圆形`.
    pub(super) fn words(self, language: Language) -> String {
        match self {
            Self::Colour(colour) => {
                let word = colour.word(language);
                language.choose(format!("{word} shapes"), format!("{word}图形"))
            }
            Self::Shape(shape) => {
                let word = shape.word(language);
                language.choose(format!("{word}s"), word.to_owned())
            }
        }
    }
}

/// Figures in cells, and what is asked.
pub(super) struct Scene {
    cells: [Option<Figure>; CELLS * CELLS],
    pub(super) asked: Asked,
}

impl Scene {
    pub(super) fn any(difficulty: Difficulty, dice: &mut Dice) -> Self {
        let asked =
            if dice.random() { Asked::Colour(pick(dice, &Colour::ALL)) } else { Asked::Shape(pick(dice, &Shape::ALL)) };
        let (wanted, others) = difficulty.choose((0..=3, 1..=2), (0..=6, 1..=4), (3..=9, 4..=7));
        let (wanted, others) = (dice.random_range(wanted), dice.random_range(others));
        let places = shuffled(dice, &(0..CELLS * CELLS).collect::<Vec<_>>());
        let mut cells = [None; CELLS * CELLS];
        for (rank, &place) in places.iter().take(wanted + others).enumerate() {
            cells[place] = Some(loop {
                let figure = Figure::any(dice);
                if asked.matches(figure) == (rank < wanted) {
                    break figure;
                }
            });
        }
        Self { cells, asked }
    }

    /// How many in each 32 px quadrant, in reading order.
    fn quadrants(&self) -> [usize; 4] {
        let mut counts = [0; 4];
        for (cell, figure) in self.cells.iter().enumerate() {
            let (row, column) = (cell / CELLS, cell % CELLS);
            counts[row / 2 * 2 + column / 2] += usize::from(figure.is_some_and(|figure| self.asked.matches(figure)));
        }
        counts
    }

    fn listed(&self) -> impl Iterator<Item = (usize, Figure)> {
        self.cells.iter().enumerate().filter_map(|(cell, figure)| figure.map(|figure| (cell, figure)))
    }

    fn painting(&self) -> Painting {
        let cells = self.cells;
        Box::new(move |dice| {
            let mut canvas = Canvas::new(64, 64, background(dice));
            for (cell, figure) in cells.iter().enumerate() {
                let Some(figure) = figure else { continue };
                let side = dice.random_range(11.0..13.5);
                let mut place =
                    |index: usize| index as f32 * CELL_PIXELS + dice.random_range(0.5..CELL_PIXELS - side - 0.5);
                let corner = (place(cell % CELLS), place(cell / CELLS));
                canvas.figure(figure.shape, corner, side, figure.colour.rgb());
            }
            canvas
        })
    }

    /// The draft with its prompt: `provoke` asks the same question in other words.
    pub(super) fn draft(&self, prompt: String) -> Draft {
        let quadrants = self.quadrants();
        let answer: usize = quadrants.iter().sum();
        let asked = self.asked.words(Language::English);
        let figures: Vec<String> =
            self.listed().map(|(cell, figure)| format!("{cell} {}", figure.words(Language::English))).collect();
        Draft {
            content: format!("count:{asked} in {}", figures.join(",")),
            prompt,
            reward_kind: "number",
            ground_truth: answer.into(),
            working: quadrants.map(|count| count.to_string()).join("+"),
            answer: answer.to_string(),
            facts: json!({"asked": asked, "figures": figures}),
            columns: Map::new(),
            painting: Some(self.painting()),
        }
    }
}

pub(super) fn draw(frame: Frame, dice: &mut Dice) -> Draft {
    let scene = Scene::any(frame.difficulty, dice);
    let words = scene.asked.words(frame.language);
    let prompt = match frame.language {
        Language::English => format!("How many {words}?"),
        Language::Chinese => format!("有几个{words}？"),
    };
    scene.draft(prompt)
}

pub(super) fn is_correct(facts: &Value, answer: &str) -> bool {
    let (Some(asked), Some(figures)) =
        (facts.get("asked").and_then(Value::as_str), facts.get("figures").and_then(Value::as_array))
    else {
        return false;
    };
    let word = asked.strip_suffix(" shapes").unwrap_or_else(|| asked.trim_end_matches('s'));
    let count =
        figures.iter().filter_map(Value::as_str).filter(|text| text.split(' ').any(|part| part == word)).count();
    answer.parse::<usize>().is_ok_and(|said| said == count)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn the_worked_line_counts_by_quadrant() {
        let red = Figure { colour: Colour::Red, shape: Shape::Star };
        let blue = Figure { colour: Colour::Blue, shape: Shape::Circle };
        let mut cells = [None; 16];
        // The first row's left half, the last row's right half (twice), and another colour.
        (cells[0], cells[14], cells[15], cells[5]) = (Some(red), Some(red), Some(red), Some(blue));
        let scene = Scene { cells, asked: Asked::Colour(Colour::Red) };
        let draft = scene.draft(String::new());
        assert_eq!((draft.working.as_str(), draft.answer.as_str()), ("1+0+0+2", "3"));
        assert!(is_correct(&draft.facts, "3") && !is_correct(&draft.facts, "4"));
    }

    #[test]
    fn figures_stay_in_their_quadrant() {
        let mut dice = Dice::from_seed([7; 32]);
        for turn in 0..50 {
            let scene = Scene::any(Difficulty::ALL[turn % 3], &mut dice);
            let picture = (scene.painting())(&mut dice).into_rgb();
            let level = picture.get_pixel(32, 0)[0];
            assert!((118..=138).contains(&level));
            for place in 0..64 {
                for pixel in [picture.get_pixel(32, place), picture.get_pixel(place, 32), picture.get_pixel(31, place)]
                {
                    assert!(pixel.0.iter().all(|value| value.abs_diff(level) < 60), "a figure crosses the middle");
                }
            }
        }
    }
}
