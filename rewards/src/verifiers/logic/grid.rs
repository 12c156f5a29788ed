//! Latin squares and sudokus: rows, columns, boxes and diagonals hold every symbol once, and the givens stand.

use serde_json::Value;

use super::{Checked, spelled};
use crate::extract::{LastJson, last_box, last_json};

/// Largest side.
const LARGEST: usize = 64;

struct Rules {
    size: usize,
    /// Rows and columns of a box.
    boxes: Option<(usize, usize)>,
    symbols: Vec<String>,
    /// Blank where nothing is given.
    givens: Vec<Vec<String>>,
    diagonals: bool,
}

pub(super) fn check(grid: &Value, answer: &str) -> Checked {
    let rules = Rules::read(grid)?;
    let cells = match read(&rules, answer) {
        Some(cells) => cells,
        None => return Ok(Err(format!("the answer holds no grid of {0} by {0}", rules.size))),
    };
    Ok(rules
        .broken(&cells)
        .map_or_else(|| Ok(cells.iter().map(|row| row.join(" ")).collect::<Vec<_>>().join("\n")), Err))
}

fn rows(value: &Value) -> Option<Vec<Vec<String>>> {
    value.as_array()?.iter().map(|row| Some(row.as_array()?.iter().map(spelled).collect())).collect()
}

impl Rules {
    fn read(grid: &Value) -> Result<Self, String> {
        let side = |value: &Value| value.as_u64().and_then(|side| usize::try_from(side).ok());
        let size = grid.get("size").and_then(side).filter(|size| (1..=LARGEST).contains(size));
        let size = size.ok_or_else(|| format!("the grid has no `size` in 1..={LARGEST}"))?;
        let boxes = match grid.get("box").filter(|value| !value.is_null()) {
            None => None,
            Some(given) => {
                let sides: Vec<usize> = given.as_array().into_iter().flatten().filter_map(side).collect();
                match sides[..] {
                    [rows, columns] if rows * columns == size => Some((rows, columns)),
                    _ => return Err(format!("`box` is {given}; it must be [rows, columns] with a product of {size}")),
                }
            }
        };
        let symbols: Vec<String> = match grid.get("symbols").filter(|value| !value.is_null()) {
            None => (1..=size).map(|symbol| symbol.to_string()).collect(),
            Some(given) => given.as_array().into_iter().flatten().map(spelled).collect(),
        };
        if symbols.len() != size {
            return Err(format!("{} symbols for a side of {size}", symbols.len()));
        }
        let blank = |cell: String| if symbols.contains(&cell) { cell } else { String::new() };
        let givens = match grid.get("givens").filter(|value| !value.is_null()) {
            None => vec![vec![String::new(); size]; size],
            Some(given) => {
                let found = rows(given).filter(|rows| rows.len() == size && rows.iter().all(|row| row.len() == size));
                let found = found.ok_or_else(|| format!("`givens` is not a grid of {size} by {size}"))?;
                found.into_iter().map(|row| row.into_iter().map(blank).collect()).collect()
            }
        };
        let diagonals = grid.get("diagonals").and_then(Value::as_bool).unwrap_or(false);
        Ok(Self { size, boxes, symbols, givens, diagonals })
    }

    /// What a grid breaks first.
    fn broken(&self, cells: &[Vec<String>]) -> Option<String> {
        let all = 0..self.size;
        for (row, column) in all.clone().flat_map(|row| all.clone().map(move |column| (row, column))) {
            let (given, cell) = (&self.givens[row][column], &cells[row][column]);
            if !given.is_empty() && given != cell {
                return Some(format!("row {} column {} is given as {given}", row + 1, column + 1));
            }
        }
        let mut groups: Vec<(String, Vec<(usize, usize)>)> = Vec::new();
        for line in all.clone() {
            groups.push((format!("row {}", line + 1), all.clone().map(|at| (line, at)).collect()));
            groups.push((format!("column {}", line + 1), all.clone().map(|at| (at, line)).collect()));
        }
        if let Some((height, width)) = self.boxes {
            for (top, left) in (0..self.size)
                .step_by(height)
                .flat_map(|top| (0..self.size).step_by(width).map(move |left| (top, left)))
            {
                let cells = (0..height).flat_map(|row| (0..width).map(move |column| (top + row, left + column)));
                groups.push((format!("the box at row {} column {}", top + 1, left + 1), cells.collect()));
            }
        }
        if self.diagonals {
            groups.push(("a diagonal".to_owned(), all.clone().map(|at| (at, at)).collect()));
            groups.push(("a diagonal".to_owned(), all.clone().map(|at| (at, self.size - 1 - at)).collect()));
        }
        groups.into_iter().find_map(|(name, places)| {
            let mut held: Vec<&String> = places.iter().map(|(row, column)| &cells[*row][*column]).collect();
            held.sort_unstable();
            let mut wanted: Vec<&String> = self.symbols.iter().collect();
            wanted.sort_unstable();
            (held != wanted).then(|| format!("{name} does not hold every symbol once"))
        })
    }
}

/// The last grid of an answer: as JSON, or as lines of symbols.
fn read(rules: &Rules, answer: &str) -> Option<Vec<Vec<String>>> {
    let fits = |cells: &Vec<Vec<String>>| cells.len() == rules.size && cells.iter().all(|row| row.len() == rules.size);
    if let LastJson::Found(value) = last_json(answer) {
        let inner = value.as_object().and_then(|object| object.values().find(|value| value.is_array()));
        if let Some(cells) = rows(inner.unwrap_or(&value)).filter(fits) {
            return Some(cells);
        }
    }
    let text = last_box(answer).unwrap_or(answer);
    let mut found: Vec<Vec<String>> = Vec::new();
    let mut last = None;
    for line in text.lines().chain([""]) {
        let line = line.trim();
        // The rules between boxes are no rows, and do not part them.
        if !line.is_empty() && line.chars().all(|letter| "+-=| ".contains(letter)) {
            continue;
        }
        match row(rules, line) {
            Some(row) => found.push(row),
            None => {
                if fits(&found) {
                    last = Some(std::mem::take(&mut found));
                }
                // A blank line may part the rows of boxes.
                if !line.is_empty() {
                    found.clear();
                }
            }
        }
    }
    last
}

fn row(rules: &Rules, line: &str) -> Option<Vec<String>> {
    let parts = line.split([' ', ',', '|', '\t', '[', ']', '&', '\\']).filter(|part| !part.is_empty());
    let parts: Vec<String> = parts.map(str::to_lowercase).collect();
    let known = |part: &String| rules.symbols.contains(part);
    if parts.len() == rules.size && parts.iter().all(known) {
        return Some(parts);
    }
    let letters: Vec<String> = parts.concat().chars().map(String::from).collect();
    (letters.len() == rules.size && letters.iter().all(known)).then_some(letters)
}
