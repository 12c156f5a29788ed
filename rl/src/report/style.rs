//! How the lines of a chart are told apart: by colour, by dash and by mark. Each repeats after another number of lines, so
//! that 210 lines all look different, and no two near one another share anything.

const COLOURS: usize = 6;
const DASHES: usize = 7;
const MARKS: usize = 5;
/// Marks that a line has at most.
const ON_A_LINE: usize = 4;

/// The classes of a line: its colour and its dash.
pub(super) fn classes(style: usize) -> String {
    format!("s{} d{}", style % COLOURS, style % DASHES)
}

/// The mark of a line at a place.
pub(super) fn mark(style: usize, x: f64, y: f64) -> String {
    let shape = match style % MARKS {
        0 => "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0z",
        1 => "m-2.7 -2.7h5.4v5.4h-5.4z",
        2 => "m0 -3.4l3.2 5.6h-6.4z",
        3 => "m0 -3.7l3.7 3.7l-3.7 3.7l-3.7 -3.7z",
        _ => "m0 3.4l3.2 -5.6h-6.4z",
    };
    format!("<path class=\"mark s{}\" d=\"M{x:.1} {y:.1}{shape}\"/>", style % COLOURS)
}

/// Which of so many points of a line have a mark: few, and beside those of other lines.
pub(super) fn marked(style: usize, points: usize) -> Vec<usize> {
    let share = |at: usize| (at as f64 + 0.2 + 0.2 * (style % 4) as f64) / ON_A_LINE as f64;
    let mut places: Vec<usize> = (0..ON_A_LINE).map(|at| (share(at) * points as f64) as usize).collect();
    places.dedup();
    places.retain(|place| *place < points);
    places
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn lines_look_different_and_neighbours_share_nothing() {
        let look = |style: usize| (classes(style), mark(style, 0.0, 0.0).rsplit_once(' ').map(|(_, d)| d.to_owned()));
        let all: BTreeSet<_> = (0..210).map(look).collect();
        assert_eq!(all.len(), 210);
        for style in 0..50 {
            let next = style + 1;
            assert!(
                style % COLOURS != next % COLOURS && style % DASHES != next % DASHES && style % MARKS != next % MARKS
            );
        }
    }

    #[test]
    fn a_line_has_a_few_marks_on_its_points() {
        assert_eq!(marked(0, 0), Vec::<usize>::new());
        assert_eq!(marked(3, 1), [0]);
        for style in 0..8 {
            let places = marked(style, 400);
            assert!(places.len() == ON_A_LINE && places.iter().all(|place| *place < 400), "{places:?}");
        }
    }
}
