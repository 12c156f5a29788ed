//! A receipt: fields with their names, of which one is asked for. The total is the sum of what was bought.

use rand::RngExt;
use serde_json::{Map, Value, json};

use super::canvas::Canvas;
use super::glyphs::text_width;
use super::{Dice, Draft, Frame, Painting, background, shuffled};

const GOODS: [&str; 12] =
    ["TEA", "CAKE", "SOUP", "RICE", "MILK", "EGGS", "FISH", "BREAD", "PIZZA", "JUICE", "SALAD", "PASTA"];
const PAPER: [u8; 3] = [225, 225, 220];
const INK: [u8; 3] = [20, 20, 20];
const LINE_PIXELS: f32 = 14.0;
const LETTER_PIXELS: f32 = 10.0;

/// The name of a field and what stands beside it.
type Field = (&'static str, String);

fn price(cents: u32) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// The fields from top to bottom.
fn fields(frame: Frame, dice: &mut Dice) -> Vec<Field> {
    let (heads, bought, is_paid) = frame.difficulty.choose((1, 2, false), (3, 3, false), (3, 5, true));
    // None of them reads as a price.
    let number = ("NO", dice.random_range(1000..10_000_u32).to_string());
    let day = format!("{:02}-{:02}", dice.random_range(1..=28), dice.random_range(1..=12));
    let table = format!("{}-{}", dice.random_range(1..=9), dice.random_range(1..=9));
    let mut fields: Vec<Field> = vec![number, ("DATE", day), ("TABLE", table)];
    fields.truncate(heads);
    let mut total = 0;
    for goods in shuffled(dice, &GOODS).into_iter().take(bought) {
        let cents = dice.random_range(10..=199) * 5;
        total += cents;
        fields.push((goods, price(cents)));
    }
    fields.push(("TOTAL", price(total)));
    if is_paid {
        let paid = total.next_multiple_of(500) + 500 * dice.random_range(0..=3);
        fields.push(("PAID", price(paid)));
        fields.push(("CHANGE", price(paid - total)));
    }
    fields
}

pub(super) fn draw(frame: Frame, dice: &mut Dice) -> Draft {
    let fields = fields(frame, dice);
    let line = frame.roll % fields.len();
    let (name, value) = fields[line].clone();
    let told: Vec<String> = fields.iter().map(|(name, value)| format!("{name} {value}")).collect();
    Draft {
        content: format!("receipt:{}, {name}", told.join(",")),
        prompt: frame.language.choose(format!("What does it say at {name}?"), format!("{name}一栏写的是什么？")),
        reward_kind: if value.contains('.') { "number" } else { "text" },
        ground_truth: value.clone().into(),
        working: frame.language.choose(format!("line {}", line + 1), format!("第{}行", line + 1)),
        answer: value,
        facts: json!({"fields": fields, "asked": name}),
        columns: Map::new(),
        painting: Some(painting(fields)),
    }
}

fn painting(fields: Vec<Field>) -> Painting {
    Box::new(move |dice| {
        let height = (fields.len() as f32 + 1.0) * LINE_PIXELS;
        let mut canvas = Canvas::new(128, height as u32 + 8, background(dice));
        canvas.rect((4.0, 4.0), (120.0, height), PAPER);
        for (line, (name, value)) in fields.iter().enumerate() {
            // A gap and a rule stand above the total.
            let is_below = fields[..=line].iter().any(|(name, _)| *name == "TOTAL");
            let top = 8.0 + line as f32 * LINE_PIXELS + if is_below { 6.0 } else { 0.0 };
            if *name == "TOTAL" {
                canvas.line((10.0, top - 5.0), (118.0, top - 5.0), 1.2, INK);
            }
            canvas.text(name, (10.0, top), LETTER_PIXELS, INK);
            canvas.text(value, (118.0 - text_width(value, LETTER_PIXELS), top), LETTER_PIXELS, INK);
        }
        canvas
    })
}

pub(super) fn is_correct(facts: &Value, answer: &str) -> bool {
    let (Some(fields), Some(asked)) =
        (facts.get("fields").and_then(Value::as_array), facts.get("asked").and_then(Value::as_str))
    else {
        return false;
    };
    fields.iter().any(|field| field[0].as_str() == Some(asked) && field[1].as_str() == Some(answer))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::synthetic::{Difficulty, Language};

    #[test]
    fn totals_and_change_add_up() {
        let mut dice = Dice::from_seed([6; 32]);
        for turn in 0..300 {
            let difficulty = Difficulty::ALL[turn % 3];
            let frame = Frame { language: Language::English, difficulty, coin: false, roll: 0 };
            let fields = fields(frame, &mut dice);
            let cents = |wanted: &dyn Fn(&str) -> bool| -> i64 {
                let chosen = fields.iter().filter(|(name, _)| wanted(name));
                chosen.map(|(_, value)| value.replace('.', "").parse::<i64>().unwrap()).sum()
            };
            assert_eq!(cents(&|name| GOODS.contains(&name)), cents(&|name| name == "TOTAL"));
            if difficulty == Difficulty::Hard {
                let paid = cents(&|name| name == "PAID");
                assert_eq!(paid - cents(&|name| name == "TOTAL"), cents(&|name| name == "CHANGE"));
            }
        }
    }
}
