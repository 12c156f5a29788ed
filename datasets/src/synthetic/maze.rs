//! A maze: the number of steps of the shortest way from a red dot to a blue one.

use rand::RngExt;
use serde_json::{Map, Value, json};

use super::canvas::{Canvas, Point};
use super::figure::Colour;
use super::{Dice, Draft, Frame, Language, Painting, background, shuffled};

const CELL_PIXELS: f32 = 24.0;
const MARGIN_PIXELS: f32 = 4.0;
const WALL: [u8; 3] = [25, 25, 25];

/// A square of cells, numbered in reading order, and the passages between neighbours.
struct Maze {
    side: usize,
    /// For each cell whether the way to the right is open, and the way down.
    open: Vec<[bool; 2]>,
}

impl Maze {
    fn closed(side: usize) -> Self {
        Self { side, open: vec![[false; 2]; side * side] }
    }

    /// Passages that join all cells, without a circle, and `circles` passages more.
    fn any(side: usize, circles: usize, dice: &mut Dice) -> Self {
        let mut maze = Self::closed(side);
        let mut seen = vec![false; side * side];
        let mut path = vec![dice.random_range(0..side * side)];
        seen[path[0]] = true;
        while let Some(&cell) = path.last() {
            let fresh = shuffled(dice, &maze.neighbours(cell)).into_iter().find(|&next| !seen[next]);
            match fresh {
                Some(next) => {
                    maze.join(cell, next);
                    seen[next] = true;
                    path.push(next);
                }
                None => {
                    path.pop();
                }
            }
        }
        let walls: Vec<(usize, usize)> = (0..side * side)
            .flat_map(|cell| maze.neighbours(cell).into_iter().map(move |next| (cell, next)))
            .filter(|&(cell, next)| cell < next && !maze.is_open(cell, next))
            .collect();
        for (cell, next) in shuffled(dice, &walls).into_iter().take(circles) {
            maze.join(cell, next);
        }
        maze
    }

    fn neighbours(&self, cell: usize) -> Vec<usize> {
        let (row, column, side) = (cell / self.side, cell % self.side, self.side);
        let all = [
            (column + 1 < side).then_some(cell + 1),
            (row + 1 < side).then_some(cell + side),
            (column > 0).then(|| cell - 1),
            (row > 0).then(|| cell - side),
        ];
        all.into_iter().flatten().collect()
    }

    /// The cell whose passage it is, and which of the two.
    fn passage(&self, one: usize, other: usize) -> (usize, usize) {
        let (first, second) = (one.min(other), one.max(other));
        (first, usize::from(second != first + 1 || self.side == 1))
    }

    fn join(&mut self, one: usize, other: usize) {
        let (cell, way) = self.passage(one, other);
        self.open[cell][way] = true;
    }

    fn is_open(&self, one: usize, other: usize) -> bool {
        let (cell, way) = self.passage(one, other);
        self.open[cell][way]
    }

    /// Steps from each cell to `to`; none where there is no way.
    fn distances(&self, to: usize) -> Vec<Option<usize>> {
        let mut distances = vec![None; self.side * self.side];
        distances[to] = Some(0);
        let mut reached = vec![to];
        let mut at = 0;
        while let Some(&cell) = reached.get(at) {
            for next in self.neighbours(cell) {
                if self.is_open(cell, next) && distances[next].is_none() {
                    distances[next] = distances[cell].map(|steps| steps + 1);
                    reached.push(next);
                }
            }
            at += 1;
        }
        distances
    }

    /// The moves of a shortest way, counted: `1R 2D`, `1右 2下`.
    fn moves(&self, from: usize, to: usize, language: Language) -> String {
        let distances = self.distances(to);
        let mut told = Vec::new();
        let mut cell = from;
        let closer = |cell: usize| {
            let ways = self.neighbours(cell).into_iter().filter(|&next| self.is_open(cell, next));
            ways.min_by_key(|&next| distances[next])
        };
        while let Some(next) = closer(cell).filter(|_| cell != to) {
            let name = match next as isize - cell as isize {
                1 => language.choose("R", "右"),
                -1 => language.choose("L", "左"),
                step if step > 0 => language.choose("D", "下"),
                _ => language.choose("U", "上"),
            };
            told.push(format!("{}{name}", told.len() + 1));
            cell = next;
        }
        told.join(" ")
    }

    /// A digit for each cell: 1 for a passage to the right, 2 for one down.
    fn written(&self) -> String {
        let digit = |open: &[bool; 2]| char::from(b'0' + u8::from(open[0]) + 2 * u8::from(open[1]));
        self.open.iter().map(digit).collect()
    }

    fn parse(written: &str) -> Option<Self> {
        let side = written.len().isqrt();
        let open: Option<Vec<[bool; 2]>> =
            written.chars().map(|letter| letter.to_digit(4).map(|digit| [digit & 1 == 1, digit & 2 == 2])).collect();
        let maze = Self { side, open: open? };
        (side > 0 && side * side == maze.open.len()).then_some(maze)
    }

    fn painting(self, from: usize, to: usize) -> Painting {
        Box::new(move |dice| {
            let pixels = (self.side as f32 * CELL_PIXELS + 2.0 * MARGIN_PIXELS) as u32;
            let mut canvas = Canvas::new(pixels, pixels, background(dice));
            let corner = |column: usize, row: usize| -> Point {
                (MARGIN_PIXELS + column as f32 * CELL_PIXELS, MARGIN_PIXELS + row as f32 * CELL_PIXELS)
            };
            for (cell, open) in self.open.iter().enumerate() {
                let (row, column) = (cell / self.side, cell % self.side);
                if !open[0] {
                    canvas.line(corner(column + 1, row), corner(column + 1, row + 1), 2.5, WALL);
                }
                if !open[1] {
                    canvas.line(corner(column, row + 1), corner(column + 1, row + 1), 2.5, WALL);
                }
            }
            canvas.line(corner(0, 0), corner(self.side, 0), 2.5, WALL);
            canvas.line(corner(0, 0), corner(0, self.side), 2.5, WALL);
            for (cell, colour) in [(from, Colour::Red), (to, Colour::Blue)] {
                let (left, top) = corner(cell % self.side, cell / self.side);
                canvas.disc((left + CELL_PIXELS / 2.0, top + CELL_PIXELS / 2.0), 6.5, colour.rgb());
            }
            canvas
        })
    }
}

pub(super) fn draw(frame: Frame, dice: &mut Dice) -> Draft {
    // The length is settled first, so that all occur alike: corridors as they come are mostly short.
    let (side, circles, shortest, lengths) = frame.difficulty.choose((3, 0, 2, 4), (4, 0, 3, 6), (6, 3, 6, 6));
    let length = shortest + frame.roll % lengths;
    let (maze, from, to) = loop {
        let maze = Maze::any(side, circles, dice);
        let to = dice.random_range(0..side * side);
        let distances = maze.distances(to);
        let far = shuffled(dice, &(0..side * side).collect::<Vec<_>>());
        if let Some(from) = far.into_iter().find(|&cell| distances[cell] == Some(length)) {
            break (maze, from, to);
        }
    };
    let written = maze.written();
    let prompt =
        frame.language.choose("How many steps is the shortest way from red to blue?", "从红点到蓝点最短要走几步？");
    Draft {
        content: format!("maze:{written} from {from} to {to}"),
        prompt: prompt.to_owned(),
        reward_kind: "number",
        ground_truth: length.into(),
        working: maze.moves(from, to, frame.language),
        answer: length.to_string(),
        facts: json!({"open": written, "from": from, "to": to}),
        columns: Map::new(),
        painting: Some(maze.painting(from, to)),
    }
}

pub(super) fn is_correct(facts: &Value, answer: &str) -> bool {
    let cell = |key: &str| facts.get(key).and_then(Value::as_u64).map(|cell| cell as usize);
    let maze = facts.get("open").and_then(Value::as_str).and_then(Maze::parse);
    let (Some(maze), Some(from), Some(to)) = (maze, cell("from"), cell("to")) else { return false };
    let inside = from.max(to) < maze.open.len();
    inside && maze.distances(to)[from].is_some_and(|steps| answer.parse() == Ok(steps))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn the_shortest_way_is_found_where_there_are_two() {
        // All but the last passage of a ring around four cells, then the whole ring with the middle wall of six.
        let mut maze = Maze::closed(2);
        for (one, other) in [(0, 1), (0, 2), (2, 3)] {
            maze.join(one, other);
        }
        assert_eq!(maze.moves(1, 3, Language::English), "1L 2D 3R");
        maze.join(1, 3);
        assert_eq!(maze.moves(1, 3, Language::Chinese), "1下");
        assert_eq!(maze.written(), "3210");
        let facts = json!({"open": "3210", "from": 1, "to": 2});
        assert!(is_correct(&facts, "2") && !is_correct(&facts, "1"));
        assert!(!is_correct(&json!({"open": "321", "from": 1, "to": 2}), "2"));
    }

    #[test]
    fn every_cell_is_reached_and_moves_are_as_many_as_steps() {
        let mut dice = Dice::from_seed([5; 32]);
        for circles in 0..6 {
            let maze = Maze::any(5, circles, &mut dice);
            let distances = maze.distances(7);
            let passages = maze.open.iter().flatten().filter(|open| **open).count();
            assert_eq!(passages, 24 + circles);
            for (cell, steps) in distances.iter().enumerate() {
                let moves = maze.moves(cell, 7, Language::English);
                assert_eq!(Some(moves.split_whitespace().count()), *steps);
            }
        }
    }

    #[test]
    fn walls_stand_where_there_is_no_passage() {
        let mut maze = Maze::closed(3);
        maze.join(3, 4);
        let picture = maze.painting(0, 8)(&mut Dice::from_seed([5; 32])).into_rgb();
        // Between the first and second cell of the first and of the second row.
        assert!(picture.get_pixel(28, 16)[0] < 60 && picture.get_pixel(28, 40)[0] > 100);
    }
}
