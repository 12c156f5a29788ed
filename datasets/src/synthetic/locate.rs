//! Locating a shape: its box in Qwen3-VL's JSON, in thousandths of the picture's sides.

use rand::RngExt;
use serde_json::{Map, Value, json};

use super::canvas::Canvas;
use super::figure::Figure;
use super::{Dice, Difficulty, Draft, Frame, Language, Painting, background};

const PICTURE_PIXELS: u32 = 64;

/// A figure and its square, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Placed {
    figure: Figure,
    left: u32,
    top: u32,
    side: u32,
}

impl Placed {
    fn any(difficulty: Difficulty, dice: &mut Dice) -> Self {
        let side = dice.random_range(difficulty.choose(28..=36, 21..=32, 10..=20));
        let mut place = || dice.random_range(0..=PICTURE_PIXELS - side);
        let (left, top) = (place(), place());
        Self { figure: Figure::any(dice), left, top, side }
    }

    fn overlaps(&self, other: &Self) -> bool {
        let apart = |a: u32, a_side: u32, b: u32, b_side: u32| a + a_side <= b || b + b_side <= a;
        !(apart(self.left, self.side, other.left, other.side) || apart(self.top, self.side, other.top, other.side))
    }

    /// Left, top, right and bottom in 0..1000.
    fn bbox(&self) -> [u32; 4] {
        let scale = |pixels: u32| (pixels * 2000 + PICTURE_PIXELS) / (2 * PICTURE_PIXELS);
        [scale(self.left), scale(self.top), scale(self.left + self.side), scale(self.top + self.side)]
    }

    /// The half in which the centre lies, across and down: `left top`, `右下`.
    fn working(&self, language: Language) -> String {
        let first_half = |start: u32| 2 * start + self.side < PICTURE_PIXELS;
        match language {
            Language::English => {
                let across = if first_half(self.left) { "left" } else { "right" };
                format!("{across} {}", if first_half(self.top) { "top" } else { "bottom" })
            }
            Language::Chinese => {
                let across = if first_half(self.left) { "左" } else { "右" };
                format!("{across}{}", if first_half(self.top) { "上" } else { "下" })
            }
        }
    }

    fn key(&self) -> String {
        format!("{} {},{},{}", self.figure.words(Language::English), self.left, self.top, self.side)
    }
}

pub(super) fn draw(frame: Frame, dice: &mut Dice) -> Draft {
    let difficulty = frame.difficulty;
    let target = Placed::any(difficulty, dice);
    let most = match difficulty {
        Difficulty::Easy => 0,
        Difficulty::Medium => usize::from(dice.random::<bool>()),
        Difficulty::Hard => dice.random_range(2..=4),
    };
    let mut others: Vec<Placed> = Vec::new();
    for _ in 0..most {
        others.extend(distractor(&target, &others, difficulty, dice));
    }
    let bbox = target.bbox();
    let words = target.figure.words(frame.language);
    let other = match others.as_slice() {
        [] => "nothing".to_owned(),
        others => others.iter().map(Placed::key).collect::<Vec<_>>().join(" and "),
    };
    Draft {
        content: format!("locate:{} beside {other}", target.key()),
        prompt: match frame.language {
            Language::English => format!("Locate the {words}."),
            Language::Chinese => format!("框出{words}。"),
        },
        reward_kind: "grounding",
        ground_truth: json!({"task": "bbox", "boxes": [bbox]}),
        working: target.working(frame.language),
        answer: json!({"bbox_2d": bbox}).to_string(),
        facts: json!({"left": target.left, "top": target.top, "side": target.side, "other": other}),
        columns: Map::new(),
        painting: Some(painting(target, others)),
    }
}

/// Another figure beside those that are there, when one fits in a few tries.
fn distractor(target: &Placed, others: &[Placed], difficulty: Difficulty, dice: &mut Dice) -> Option<Placed> {
    let fits = |placed: &Placed| {
        placed.figure != target.figure && others.iter().chain([target]).all(|other| !placed.overlaps(other))
    };
    (0..20).map(|_| Placed::any(difficulty, dice)).find(fits)
}

fn painting(target: Placed, others: Vec<Placed>) -> Painting {
    Box::new(move |dice| {
        let mut canvas = Canvas::new(PICTURE_PIXELS, PICTURE_PIXELS, background(dice));
        for placed in others.iter().chain([&target]) {
            let corner = (placed.left as f32, placed.top as f32);
            canvas.figure(placed.figure.shape, corner, placed.side as f32, placed.figure.colour.rgb());
        }
        canvas
    })
}

/// Whether the box overlaps the true one by half of their union or more.
pub(super) fn is_correct(facts: &Value, answer: &str) -> bool {
    let pixels = |key: &str| facts.get(key).and_then(Value::as_f64);
    let (Some(left), Some(top), Some(side)) = (pixels("left"), pixels("top"), pixels("side")) else { return false };
    let Ok(parsed) = serde_json::from_str::<Value>(answer) else { return false };
    let corners: Option<Vec<f64>> =
        parsed.get("bbox_2d").and_then(Value::as_array).and_then(|list| list.iter().map(Value::as_f64).collect());
    let Some(Ok(said)) = corners.map(<[f64; 4]>::try_from) else { return false };
    let scale = 1000.0 / f64::from(PICTURE_PIXELS);
    let truth = [left, top, left + side, top + side].map(|value| value * scale);
    overlap(said, truth) >= 0.5
}

/// Intersection over union of two boxes; 0 when the first has no area.
fn overlap(a: [f64; 4], b: [f64; 4]) -> f64 {
    let area = |corners: [f64; 4]| (corners[2] - corners[0]).max(0.0) * (corners[3] - corners[1]).max(0.0);
    let shared = area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    let union = area(a) + area(b) - shared;
    if union > 0.0 { shared / union } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::synthetic::figure::{Colour, Shape};

    const RED_CIRCLE: Figure = Figure { colour: Colour::Red, shape: Shape::Circle };

    #[test]
    fn golden_box() {
        let placed = Placed { figure: RED_CIRCLE, left: 2, top: 0, side: 27 };
        assert_eq!(placed.bbox(), [31, 0, 453, 422]);
        assert_eq!(placed.working(Language::English), "left top");
        let far = Placed { left: 40, top: 30, side: 24, ..placed };
        assert_eq!(far.working(Language::Chinese), "右下");
        assert_eq!(far.bbox()[2], 1000);
    }

    #[test]
    fn half_an_overlap_passes() {
        let facts = json!({"left": 0, "top": 0, "side": 32});
        assert!(is_correct(&facts, r#"{"bbox_2d":[0,0,500,500]}"#));
        assert!(is_correct(&facts, r#"{"bbox_2d":[0,0,500,260]}"#));
        assert!(!is_correct(&facts, r#"{"bbox_2d":[0,0,500,240]}"#));
        assert!(!is_correct(&facts, r#"{"bbox_2d":[500,500,0,0]}"#));
        assert!(!is_correct(&facts, "0,0,500,500"));
    }

    #[test]
    fn the_picture_shows_the_target_inside_its_box() {
        let placed = Placed { figure: RED_CIRCLE, left: 10, top: 20, side: 24 };
        let picture = painting(placed, Vec::new())(&mut Dice::from_seed([2; 32])).into_rgb();
        let red = |x, y| picture.get_pixel(x, y)[0] > 180 && picture.get_pixel(x, y)[1] < 80;
        assert!(
            red(22, 32) && red(11, 32) && red(32, 32) && !red(9, 32) && !red(35, 32) && red(22, 21) && !red(22, 45)
        );
    }
}
