//! Reading a clock, in steps of a quarter, five minutes or one: a red thick hour hand that moves with the minutes, a blue thinner and longer minute hand.

use rand::RngExt;
use serde_json::{Map, Value, json};

use super::canvas::Canvas;
use super::figure::Colour;
use super::{Dice, Difficulty, Draft, Frame, Language, Painting, background};

const INK: [u8; 3] = [70, 70, 70];

pub(super) fn draw(frame: Frame, dice: &mut Dice) -> Draft {
    let hour = dice.random_range(1..=12_u32);
    let minute = match frame.difficulty {
        Difficulty::Easy => dice.random_range(0..4_u32) * 15,
        Difficulty::Medium => dice.random_range(0..12_u32) * 5,
        Difficulty::Hard => dice.random_range(0..60_u32),
    };
    let (time, mark) = (format!("{hour}:{minute:02}"), mark(minute));
    Draft {
        content: format!("clock:{time}"),
        prompt: frame.language.choose("What time is it?", "现在几点？").to_owned(),
        reward_kind: "clock",
        ground_truth: time.clone().into(),
        working: match frame.language {
            Language::English => format!("long {mark},short {hour}"),
            Language::Chinese => format!("长{mark},短{hour}"),
        },
        answer: time,
        facts: json!({"hour": hour, "minute": minute}),
        columns: Map::new(),
        painting: Some(painting(hour, minute, frame.difficulty)),
    }
}

/// The last mark that the long hand has passed, and the minutes since: `9`, `12+3`.
fn mark(minute: u32) -> String {
    let mark = if minute < 5 { 12 } else { minute / 5 };
    if minute.is_multiple_of(5) { mark.to_string() } else { format!("{mark}+{}", minute % 5) }
}

/// Single minutes need a larger face, with a mark for each.
fn painting(hour: u32, minute: u32, difficulty: Difficulty) -> Painting {
    Box::new(move |dice| {
        let (scale, marks): (f32, u32) = difficulty.choose((1.0, 12), (1.0, 12), (2.0, 60));
        let mut canvas = Canvas::new(64 * scale as u32, 64 * scale as u32, background(dice));
        let centre = (dice.random_range(31.0..33.0_f32) * scale, dice.random_range(31.0..33.0_f32) * scale);
        let toward = |turn: f32, reach: f32| {
            let angle = turn * std::f32::consts::TAU;
            (centre.0 + reach * scale * angle.sin(), centre.1 - reach * scale * angle.cos())
        };
        canvas.ring(centre, 29.0 * scale, 1.5 * scale, INK);
        for tick in 0..marks {
            let turn = tick as f32 / marks as f32;
            let (from, thickness) = if marks == 60 && tick % 5 == 0 { (25.0, 3.0) } else { (27.0, 1.5) };
            canvas.line(toward(turn, from), toward(turn, 29.0), thickness, INK);
        }
        let hour_turn = (hour * 60 + minute) as f32 / 720.0;
        canvas.line(centre, toward(hour_turn, dice.random_range(13.0..16.0)), 5.0 * scale, Colour::Red.rgb());
        canvas.line(
            centre,
            toward(minute as f32 / 60.0, dice.random_range(23.0..26.0)),
            2.5 * scale,
            Colour::Blue.rgb(),
        );
        canvas
    })
}

pub(super) fn is_correct(facts: &Value, answer: &str) -> bool {
    let number = |key: &str| facts.get(key).and_then(Value::as_u64);
    let Some((hour, minute)) = answer.split_once(':') else { return false };
    hour.parse().ok() == number("hour") && minute.len() == 2 && minute.parse().ok() == number("minute")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;

    use super::*;
    use crate::split::Split;
    use crate::synthetic::{Task, query};

    /// The mean place of the pixels in which one channel stands out.
    fn centroid(picture: &image::RgbImage, channel: usize) -> (f32, f32) {
        let stands_out = |pixel: &image::Rgb<u8>| {
            (0..3).all(|other| other == channel || pixel[channel] > pixel[other].saturating_add(70))
        };
        let points: Vec<_> = picture.enumerate_pixels().filter(|(_, _, pixel)| stands_out(pixel)).collect();
        assert!(points.len() > 10, "no hand in channel {channel}");
        let count = points.len() as f32;
        (
            points.iter().map(|point| point.0 as f32).sum::<f32>() / count,
            points.iter().map(|point| point.1 as f32).sum::<f32>() / count,
        )
    }

    #[test]
    fn hands_point_where_they_should() {
        let picture = painting(9, 15, Difficulty::Medium)(&mut Dice::from_seed([1; 32])).into_rgb();
        let (red, blue) = (centroid(&picture, 0), centroid(&picture, 2));
        assert!(blue.0 > 38.0 && (blue.1 - 32.0).abs() < 3.0, "a quarter past points right: {blue:?}");
        assert!(red.0 < 28.0 && red.1 < 32.0, "past nine points left and a little up: {red:?}");
    }

    #[test]
    fn minutes_are_read_from_the_mark_before() {
        assert_eq!([0, 3, 5, 59].map(mark), ["12", "12+3", "1", "11+4"]);
    }

    #[test]
    fn held_out_times_leave_every_hour_and_every_minute_in_training() {
        let (mut hours, mut minutes, mut times) = (BTreeSet::new(), BTreeSet::new(), [0; 3]);
        for hour in 1..=12 {
            for minute in (0..60).step_by(5) {
                let split = Split::of(&format!("clock:{hour}:{minute:02}"));
                times[split as usize] += 1;
                if split == Split::Train {
                    hours.insert(hour);
                    minutes.insert(minute);
                }
            }
        }
        assert_eq!((hours.len(), minutes.len()), (12, 12));
        assert!(times.iter().all(|&count| count >= 8), "{times:?}");
        let asked = query(Task::Clock, Split::Test, 3, 0).columns["content"].as_str().unwrap().to_owned();
        assert_eq!(Split::of(&asked), Split::Test);
    }
}
