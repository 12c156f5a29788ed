//! Reading letters in two scripts: Latin ones in English questions, Chinese ones in Chinese questions, so that no answer
//! is in another language than its question.

use rand::RngExt;
use serde_json::{Map, Value, json};

use super::canvas::Canvas;
use super::{Dice, Draft, Frame, Language, Painting, background, glyphs, pick};

/// Latin capitals that no other looks like.
const LATIN: [char; 24] = [
    'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'J', 'K', 'L', 'M', 'N', 'O', 'P', 'R', 'S', 'T', 'U', 'V', 'W', 'X', 'Y',
    'Z',
];

pub(super) fn draw(frame: Frame, dice: &mut Dice) -> Draft {
    let (known, count) = match frame.language {
        Language::English => (&LATIN[..], frame.difficulty.choose(3, 4, 6)),
        Language::Chinese => (&glyphs::CHINESE[..], frame.difficulty.choose(2, 3, 5)),
    };
    let letters: Vec<char> = (0..count).map(|_| pick(dice, known)).collect();
    let text: String = letters.iter().collect();
    // Letters of hard questions differ in size and stand out of line.
    let (least, shift) = frame.difficulty.choose((21.0, 1.0), (18.0, 3.0), (14.0, 5.0));
    Draft {
        content: format!("ocr:{text}"),
        prompt: frame.language.choose("Read the letters.", "读出文字。").to_owned(),
        reward_kind: "text",
        ground_truth: text.clone().into(),
        working: letters.iter().map(char::to_string).collect::<Vec<_>>().join(","),
        answer: text.clone(),
        facts: json!({"text": text}),
        columns: Map::new(),
        painting: Some(painting(letters, least, shift)),
    }
}

fn painting(letters: Vec<char>, least: f32, shift: f32) -> Painting {
    Box::new(move |dice| {
        const CELL_PIXELS: f32 = 28.0;
        let mut canvas = Canvas::new(CELL_PIXELS as u32 * letters.len() as u32, 36, background(dice));
        for (cell, letter) in letters.into_iter().enumerate() {
            let height: f32 = dice.random_range(least..22.5);
            let width = glyphs::text_width(&letter.to_string(), height);
            let left = cell as f32 * CELL_PIXELS + (CELL_PIXELS - width) / 2.0 + dice.random_range(-1.5..1.5);
            let top = (36.0 - height) / 2.0 + dice.random_range(-shift..shift);
            canvas.letter(letter, (left, top), height, [0, 0, 0]);
        }
        canvas
    })
}

pub(super) fn is_correct(facts: &Value, answer: &str) -> bool {
    facts.get("text").and_then(Value::as_str) == Some(answer)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn letters_stand_apart_within_the_picture() {
        for seed in 0..20 {
            let picture = painting(vec!['W', '田', 'M'], 14.0, 5.0)(&mut Dice::from_seed([seed; 32])).into_rgb();
            for row in 0..36 {
                for column in [0, 27, 28, 55, 56, 83] {
                    assert!(picture.get_pixel(column, row)[0] > 100, "{column} {row}");
                }
            }
            for column in 0..84 {
                assert!(picture.get_pixel(column, 0)[0] > 100 && picture.get_pixel(column, 35)[0] > 100);
            }
        }
    }
}
