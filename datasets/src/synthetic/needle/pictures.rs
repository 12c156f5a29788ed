//! A needle among pictures: each shows a figure and a number, and one figure is asked for.

use rand::RngExt;

use super::super::canvas::{Canvas, DIGIT_ASPECT};
use super::super::dice::{Dice, background};
use super::super::figure::Figure;
use super::super::words::Language;
use super::{Asked, Place};
use crate::error::Result;
use crate::picture::Picture;

/// Height and width of a picture, in pixels.
const SIDE: u32 = 64;
/// Side of a figure, and height of a digit, in pixels.
const FIGURE: f32 = 26.0;
const DIGIT: f32 = 22.0;

/// Hides a figure among as many pictures as the length says; `shows` begins the question.
///
/// # Errors
/// When a picture cannot be written.
pub(super) fn hide(Place { length, depth, .. }: Place, shows: &str, dice: &mut Dice) -> Result<Asked> {
    let wanted = Figure::any(dice);
    let answer = dice.random_range(100..1000);
    let at = (depth / 100.0 * (length - 1) as f64).round() as u64;
    let mut pictures = Vec::with_capacity(length as usize);
    for place in 0..length {
        let (figure, number) = match place == at {
            true => (wanted, answer),
            false => other(wanted, answer, dice),
        };
        pictures.push(Picture::from_rgb(&drawn(figure, number, dice).into_rgb())?);
    }
    let question = format!("{shows} a {}. Which number stands in it?", wanted.words(Language::English));
    Ok(Asked { question, answer, haystack: String::new(), pictures, counted: length })
}

/// A figure and a number that are not asked for.
fn other(wanted: Figure, answer: u32, dice: &mut Dice) -> (Figure, u32) {
    loop {
        let (figure, number) = (Figure::any(dice), dice.random_range(100..1000));
        if figure != wanted && number != answer {
            return (figure, number);
        }
    }
}

fn drawn(figure: Figure, number: u32, dice: &mut Dice) -> Canvas {
    let mut canvas = Canvas::new(SIDE, SIDE, background(dice));
    let left = dice.random_range(4.0..SIDE as f32 - FIGURE - 4.0);
    canvas.figure(figure.shape, (left, 4.0), FIGURE, figure.colour.rgb());
    let step = DIGIT * (DIGIT_ASPECT + 0.2);
    let shown = number.to_string();
    let first = (SIDE as f32 - step * shown.len() as f32 + DIGIT * 0.2) / 2.0;
    for (place, digit) in shown.bytes().enumerate() {
        canvas.digit(digit - b'0', (first + step * place as f32, 36.0), DIGIT, [0, 0, 0]);
    }
    canvas
}
