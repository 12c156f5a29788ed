//! Reading a chart: bars or a line over lettered places, beside a scale with numbers.

use serde_json::{Map, Value, json};

use super::canvas::{Canvas, Point};
use super::figure::Colour;
use super::glyphs::text_width;
use super::{Dice, Draft, Frame, Language, Painting, background, pick, shuffled};

const INK: [u8; 3] = [25, 25, 25];
const GRID: [u8; 3] = [165, 165, 165];
/// The sides of the plot within the picture: left, top, right, bottom.
const PLOT: [f32; 4] = [20.0, 8.0, 124.0, 98.0];

/// The lettered places with their values, and the scale.
#[derive(Clone)]
struct Chart {
    values: Vec<u32>,
    /// The highest mark of the scale.
    top: u32,
    /// From one line of the scale to the next.
    step: u32,
    is_line: bool,
    names: [char; 6],
}

/// What is asked of a chart; places count from 0.
#[derive(Clone, Copy)]
enum Asked {
    Value(usize),
    Highest,
    Lowest,
    /// How much more the first has than the second.
    Difference(usize, usize),
}

/// What the places are called in a language, so that no answer is in another one than its question.
const NAMES: [[char; 6]; 2] = [['A', 'B', 'C', 'D', 'E', 'F'], ['山', '田', '王', '中', '大', '工']];

impl Chart {
    fn any(frame: Frame, dice: &mut Dice) -> Self {
        let (places, top, step) = frame.difficulty.choose((3, 10, 1), (4, 10, 2), (6, 20, 5));
        let values = shuffled(dice, &(1..=top).collect::<Vec<_>>())[..places].to_vec();
        Self { values, top, step, is_line: frame.coin, names: frame.language.choose(NAMES[0], NAMES[1]) }
    }

    /// The places, the one with the highest value first.
    fn ranked(&self) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.values.len()).collect();
        places.sort_by_key(|&place| std::cmp::Reverse(self.values[place]));
        places
    }

    fn told(&self, place: usize) -> String {
        format!("{} {}", self.names[place], self.values[place])
    }

    /// The worked line and the answer.
    fn solve(&self, asked: Asked) -> (String, Value) {
        let all = || (0..self.values.len()).map(|place| self.told(place)).collect::<Vec<_>>().join(",");
        let ranked = self.ranked();
        match asked {
            Asked::Value(place) => (self.told(place), self.values[place].into()),
            Asked::Highest => (all(), self.names[ranked[0]].to_string().into()),
            Asked::Lowest => (all(), self.names[ranked[ranked.len() - 1]].to_string().into()),
            Asked::Difference(more, less) => {
                let (high, low) = (self.values[more], self.values[less]);
                let told = format!("{},{},{high}-{low}={}", self.told(more), self.told(less), high - low);
                (told, (high - low).into())
            }
        }
    }

    fn painting(&self) -> Painting {
        let chart = self.clone();
        Box::new(move |dice| {
            let mut canvas = Canvas::new(128, 116, background(dice));
            let colour = pick(dice, &Colour::ALL).rgb();
            chart.scale(&mut canvas);
            let points: Vec<Point> = (0..chart.values.len()).map(|place| chart.point(place)).collect();
            for (place, point) in points.iter().enumerate() {
                if chart.is_line {
                    canvas.disc(*point, 3.0, colour);
                } else {
                    canvas.rect((point.0 - 6.0, point.1), (12.0, PLOT[3] - point.1), colour);
                }
                let name = chart.names[place].to_string();
                canvas.text(&name, (point.0 - text_width(&name, 10.0) / 2.0, PLOT[3] + 5.0), 10.0, INK);
            }
            if chart.is_line {
                canvas.strokes(&[points], 1.8, colour);
            }
            canvas.line((PLOT[0], PLOT[1]), (PLOT[0], PLOT[3]), 1.5, INK);
            canvas.line((PLOT[0], PLOT[3]), (PLOT[2], PLOT[3]), 1.5, INK);
            canvas
        })
    }

    fn height_of(&self, value: u32) -> f32 {
        PLOT[3] - (PLOT[3] - PLOT[1]) * value as f32 / self.top as f32
    }

    /// Where the top of a bar, or the point of a line, lies.
    fn point(&self, place: usize) -> Point {
        let wide = (PLOT[2] - PLOT[0]) / self.values.len() as f32;
        (PLOT[0] + wide * (place as f32 + 0.5), self.height_of(self.values[place]))
    }

    fn scale(&self, canvas: &mut Canvas) {
        for value in (0..=self.top).step_by(self.step as usize) {
            let y = self.height_of(value);
            canvas.line((PLOT[0], y), (PLOT[2], y), 1.0, GRID);
            // Numbers closer than two lines would touch.
            if value % self.step.max(2) == 0 {
                let text = value.to_string();
                canvas.text(&text, (PLOT[0] - 3.0 - text_width(&text, 9.0), y - 4.5), 9.0, INK);
            }
        }
    }
}

pub(super) fn draw(frame: Frame, dice: &mut Dice) -> Draft {
    let chart = Chart::any(frame, dice);
    let places = shuffled(dice, &(0..chart.values.len()).collect::<Vec<_>>());
    let asked = match frame.roll {
        0..=3 => Asked::Value(places[0]),
        4..=5 => Asked::Highest,
        6..=7 => Asked::Lowest,
        _ if chart.values[places[0]] > chart.values[places[1]] => Asked::Difference(places[0], places[1]),
        _ => Asked::Difference(places[1], places[0]),
    };
    let (working, truth) = chart.solve(asked);
    let wanted = match asked {
        Asked::Value(place) => format!("value {}", chart.names[place]),
        Asked::Highest => "highest".to_owned(),
        Asked::Lowest => "lowest".to_owned(),
        Asked::Difference(more, less) => format!("difference {} {}", chart.names[more], chart.names[less]),
    };
    let kind = if chart.is_line { "line" } else { "bars" };
    let values: Vec<String> = (0..chart.values.len()).map(|place| chart.told(place)).collect();
    Draft {
        content: format!("chart:{kind} {} of {}, {wanted}", values.join(","), chart.top),
        prompt: prompt(asked, frame.language, chart.names),
        reward_kind: if truth.is_string() { "text" } else { "number" },
        answer: truth.as_str().map_or_else(|| truth.to_string(), str::to_owned),
        ground_truth: truth,
        working,
        facts: json!({"values": chart.values, "asked": wanted, "language": frame.language.code()}),
        columns: Map::new(),
        painting: Some(chart.painting()),
    }
}

fn prompt(asked: Asked, language: Language, names: [char; 6]) -> String {
    match (asked, language) {
        (Asked::Value(place), Language::English) => format!("What is the value of {}?", names[place]),
        (Asked::Value(place), Language::Chinese) => format!("{}的值是多少？", names[place]),
        (Asked::Highest, _) => language.choose("Which is highest?", "哪个最高？").to_owned(),
        (Asked::Lowest, _) => language.choose("Which is lowest?", "哪个最低？").to_owned(),
        (Asked::Difference(more, less), Language::English) => {
            format!("How much more is {} than {}?", names[more], names[less])
        }
        (Asked::Difference(more, less), Language::Chinese) => format!("{}比{}多多少？", names[more], names[less]),
    }
}

pub(super) fn is_correct(facts: &Value, answer: &str) -> bool {
    let (Some(values), Some(asked)) =
        (facts.get("values").and_then(Value::as_array), facts.get("asked").and_then(Value::as_str))
    else {
        return false;
    };
    let names = NAMES[usize::from(facts.get("language").and_then(Value::as_str) == Some("zh"))];
    let place = |name: &str| names.iter().position(|known| known.to_string() == name);
    let value = |name: &str| values.get(place(name)?)?.as_i64();
    let said = value(answer);
    let words: Vec<&str> = asked.split(' ').collect();
    match words.as_slice() {
        ["highest"] => said.is_some() && said == values.iter().filter_map(Value::as_i64).max(),
        ["lowest"] => said.is_some() && said == values.iter().filter_map(Value::as_i64).min(),
        ["value", name] => value(name).is_some() && answer.parse().ok() == value(name),
        ["difference", more, less] => match (value(more), value(less)) {
            (Some(more), Some(less)) => answer.parse() == Ok(more - less),
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn chart(is_line: bool) -> Chart {
        Chart { values: vec![3, 9, 5], top: 10, step: 2, is_line, names: NAMES[0] }
    }

    #[test]
    fn golden_answers() {
        let solved = |asked| chart(false).solve(asked);
        assert_eq!(solved(Asked::Value(2)), ("C 5".to_owned(), json!(5)));
        assert_eq!(solved(Asked::Highest), ("A 3,B 9,C 5".to_owned(), json!("B")));
        assert_eq!(solved(Asked::Lowest).1, json!("A"));
        assert_eq!(solved(Asked::Difference(1, 0)), ("B 9,A 3,9-3=6".to_owned(), json!(6)));
    }

    #[test]
    fn bars_are_as_high_as_their_values() {
        let picture = chart(false).painting()(&mut Dice::from_seed([3; 32])).into_rgb();
        for place in 0..3 {
            let (x, y) = chart(false).point(place);
            let is_bar = |y: f32| {
                let pixel = picture.get_pixel(x as u32, y as u32);
                pixel.0.iter().max().unwrap() - pixel.0.iter().min().unwrap() > 60
            };
            assert!(is_bar(y + 2.0) && is_bar(PLOT[3] - 2.0) && !is_bar(y - 2.0), "{place}");
        }
    }
}
