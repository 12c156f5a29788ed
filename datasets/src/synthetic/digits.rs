//! Reading two, three or five digits, one per 32 px cell.

use rand::RngExt;
use serde_json::{Map, Value, json};

use super::canvas::{Canvas, DIGIT_ASPECT};
use super::{Dice, Draft, Frame, Painting, background};

const CELL_PIXELS: f32 = 32.0;

pub(super) fn draw(frame: Frame, dice: &mut Dice) -> Draft {
    let count = frame.difficulty.choose(2, 3, 5);
    let digits: Vec<u8> = (0..count).map(|_| dice.random_range(0..10)).collect();
    let shown: Vec<String> = digits.iter().map(u8::to_string).collect();
    let text = shown.concat();
    Draft {
        content: format!("digits:{text}"),
        prompt: frame.language.choose("Read the digits.", "读出数字。").to_owned(),
        reward_kind: "text",
        ground_truth: text.clone().into(),
        working: shown.join(","),
        answer: text,
        facts: json!({"digits": digits}),
        columns: Map::new(),
        painting: Some(painting(digits)),
    }
}

fn painting(digits: Vec<u8>) -> Painting {
    Box::new(move |dice| {
        let mut canvas = Canvas::new(CELL_PIXELS as u32 * digits.len() as u32, 32, background(dice));
        for (cell, &digit) in digits.iter().enumerate() {
            let height: f32 = dice.random_range(23.0..27.0);
            let mut centred = |size: f32| (CELL_PIXELS - size) / 2.0 + dice.random_range(-2.0..2.0);
            let corner = (cell as f32 * CELL_PIXELS + centred(height * DIGIT_ASPECT), centred(height));
            canvas.digit(digit, corner, height, [0, 0, 0]);
        }
        canvas
    })
}

pub(super) fn is_correct(facts: &Value, answer: &str) -> bool {
    let Some(digits) = facts.get("digits").and_then(Value::as_array) else { return false };
    let said: Option<Vec<u64>> = answer.chars().map(|digit| digit.to_digit(10).map(u64::from)).collect();
    said == digits.iter().map(Value::as_u64).collect()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn each_digit_stays_in_its_cell() {
        for seed in 0..20 {
            let picture = painting(vec![8, 0, 4])(&mut Dice::from_seed([seed; 32])).into_rgb();
            for row in 0..32 {
                for column in [0, 31, 32, 63, 64, 95] {
                    assert!(picture.get_pixel(column, row)[0] > 100);
                }
            }
            for cell in 0..3 {
                let ink = (0..32).flat_map(|y| (0..32).map(move |x| (cell * 32 + x, y)));
                let dark = ink.filter(|&(x, y)| picture.get_pixel(x, y)[0] < 50).count();
                assert!((60..400).contains(&dark), "{dark} dark pixels");
            }
        }
    }

    #[test]
    fn leading_zeros_count() {
        let facts = json!({"digits": [0, 0, 7]});
        assert!(is_correct(&facts, "007") && !is_correct(&facts, "7") && !is_correct(&facts, "0,0,7"));
    }
}
