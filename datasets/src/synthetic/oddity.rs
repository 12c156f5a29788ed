//! Counting against habit: a thing with more or fewer parts than such things have, so that the usual number is wrong.

use std::f32::consts::TAU;

use rand::RngExt;
use serde_json::{Map, Value, json};

use super::canvas::{Canvas, Point};
use super::figure::Colour;
use super::{Dice, Difficulty, Draft, Frame, Language, Painting, background, pick};

const INK: [u8; 3] = [25, 25, 25];
const SKIN: [u8; 3] = [225, 175, 140];
const PALE: [u8; 3] = [225, 225, 220];
const YELLOW: [u8; 3] = [235, 205, 50];

/// What is drawn; each has a number of parts that everybody knows.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Thing {
    Star,
    Hand,
    Spider,
    Dog,
    Lights,
    Flag,
}

impl Thing {
    const ALL: [Self; 6] = [Self::Star, Self::Hand, Self::Spider, Self::Dog, Self::Lights, Self::Flag];

    /// What it is called in facts, and how many parts it usually has.
    fn usual(self) -> (&'static str, u32) {
        match self {
            Self::Star => ("star", 5),
            Self::Hand => ("hand", 5),
            Self::Spider => ("spider", 8),
            Self::Dog => ("dog", 4),
            Self::Lights => ("lights", 3),
            Self::Flag => ("flag", 3),
        }
    }

    fn prompt(self, language: Language) -> &'static str {
        let (english, chinese) = match self {
            Self::Star => ("How many points has the star?", "星星有几个角？"),
            Self::Hand => ("How many fingers has the hand?", "手有几根手指？"),
            Self::Spider => ("How many legs has the spider?", "蜘蛛有几条腿？"),
            Self::Dog => ("How many legs has the dog?", "狗有几条腿？"),
            Self::Lights => ("How many lamps has the traffic light?", "红绿灯有几盏灯？"),
            Self::Flag => ("How many stripes has the flag?", "旗子有几道条纹？"),
        };
        language.choose(english, chinese)
    }
}

/// All that the picture shows, less its background.
#[derive(Clone, Copy)]
struct Scene {
    thing: Thing,
    parts: u32,
    colour: Colour,
    /// Degrees by which a star or a spider is turned.
    turn: u32,
    /// Pixels from the middle.
    shift: (i32, i32),
}

impl Scene {
    fn any(frame: Frame, dice: &mut Dice) -> Self {
        let thing = Thing::ALL[frame.roll % Thing::ALL.len()];
        // If hard, the usual number occurs too: knowing that it is never right would be as good as counting.
        let off: &[i32] = match frame.difficulty {
            Difficulty::Easy => &[-2, 2, 3],
            Difficulty::Medium => &[-1, 1, 2],
            Difficulty::Hard => &[-1, 0, 1],
        };
        let parts = thing.usual().1.saturating_add_signed(pick(dice, off));
        let mut shift = || dice.random_range(-5..=5);
        let shift = (shift(), shift());
        Self { thing, parts, colour: pick(dice, &Colour::ALL), turn: dice.random_range(0..72) * 5, shift }
    }

    fn painting(self) -> Painting {
        Box::new(move |dice| {
            let mut canvas = Canvas::new(96, 96, background(dice));
            let centre = (48.0 + self.shift.0 as f32, 48.0 + self.shift.1 as f32);
            match self.thing {
                Thing::Star => self.star(&mut canvas, centre),
                Thing::Hand => self.hand(&mut canvas, centre),
                Thing::Spider => self.spider(&mut canvas, centre),
                Thing::Dog => self.dog(&mut canvas, centre),
                Thing::Lights => self.lights(&mut canvas, centre),
                Thing::Flag => self.flag(&mut canvas, centre),
            }
            canvas
        })
    }

    fn star(self, canvas: &mut Canvas, centre: Point) {
        let first = self.turn as f32 / 360.0;
        let corners = (0..2 * self.parts).map(|step| {
            let reach = if step % 2 == 0 { 38.0 } else { 16.0 };
            toward(centre, first + step as f32 / (2 * self.parts) as f32, reach)
        });
        canvas.polygon(&corners.collect::<Vec<_>>(), self.colour.rgb());
    }

    /// Fingers of one kind, spread over two thirds of a half turn.
    fn hand(self, canvas: &mut Canvas, centre: Point) {
        let palm = (centre.0, centre.1 + 16.0);
        for finger in 0..self.parts {
            let share = finger as f32 / (self.parts - 1) as f32;
            let turn = (share - 0.5) * 0.42;
            canvas.line(toward(palm, turn, 14.0), toward(palm, turn, 40.0), 6.5, SKIN);
        }
        canvas.disc(palm, 17.0, SKIN);
        canvas.rect((palm.0 - 9.0, palm.1 + 10.0), (18.0, 12.0), self.colour.rgb());
    }

    fn spider(self, canvas: &mut Canvas, centre: Point) {
        let right = self.parts / 2 + self.parts % 2 * (self.turn / 5 % 2);
        let sides = [(right, 0.25), (self.parts - right, 0.75)];
        for (legs, middle) in sides {
            for leg in 0..legs {
                let turn = middle + (leg as f32 - (legs as f32 - 1.0) / 2.0) * 0.085;
                let knee = toward(centre, turn, 22.0);
                let foot = (knee.0 + (knee.0 - centre.0) * 0.6, knee.1 + (knee.1 - centre.1) * 0.75);
                canvas.strokes(&[vec![centre, knee, foot]], 2.4, INK);
            }
        }
        canvas.disc(centre, 9.0, INK);
        canvas.disc((centre.0, centre.1 - 12.0), 5.5, self.colour.rgb());
    }

    fn dog(self, canvas: &mut Canvas, centre: Point) {
        let rgb = self.colour.rgb();
        let (left, top) = (centre.0 - 30.0, centre.1 - 12.0);
        for leg in 0..self.parts {
            let x = left + 5.0 + leg as f32 * 38.0 / (self.parts - 1) as f32;
            canvas.line((x, top + 12.0), (x, top + 40.0), 4.0, rgb);
        }
        canvas.rect((left, top), (48.0, 18.0), rgb);
        canvas.line((left, top + 3.0), (left - 8.0, top - 10.0), 3.5, rgb);
        canvas.disc((left + 52.0, top - 3.0), 10.5, rgb);
        canvas.polygon(&[(left + 45.0, top - 10.0), (left + 46.0, top - 21.0), (left + 53.0, top - 12.0)], rgb);
        canvas.disc((left + 55.0, top - 5.0), 2.0, PALE);
    }

    fn lights(self, canvas: &mut Canvas, centre: Point) {
        let step = 13.5;
        let high = self.parts as f32 * step + 4.0;
        let top = centre.1 - high / 2.0;
        canvas.rect((centre.0 - 9.0, top), (18.0, high), INK);
        let colours = [Colour::Red.rgb(), YELLOW, Colour::Green.rgb()];
        for lamp in 0..self.parts {
            let place = (centre.0, top + 2.0 + (lamp as f32 + 0.5) * step);
            canvas.disc(place, 5.2, colours[(lamp + self.turn / 5) as usize % colours.len()]);
        }
    }

    fn flag(self, canvas: &mut Canvas, centre: Point) {
        let (left, top) = (centre.0 - 28.0, centre.1 - 30.0);
        let stripe = 42.0 / self.parts as f32;
        let other = Colour::ALL[(self.colour as usize + 1 + self.turn as usize / 5 % 2) % 3];
        let colours = [self.colour.rgb(), PALE, other.rgb()];
        canvas.line((left - 2.0, top - 2.0), (left - 2.0, top + 66.0), 3.0, INK);
        for number in 0..self.parts {
            let corner = (left, top + number as f32 * stripe);
            canvas.rect(corner, (60.0, stripe), colours[number as usize % colours.len()]);
        }
    }
}

/// The point at a distance in a direction, in turns clockwise from upwards.
fn toward(from: Point, turn: f32, reach: f32) -> Point {
    let angle = turn * TAU;
    (from.0 + reach * angle.sin(), from.1 - reach * angle.cos())
}

pub(super) fn draw(frame: Frame, dice: &mut Dice) -> Draft {
    let scene = Scene::any(frame, dice);
    let (name, usual) = scene.thing.usual();
    let counted: Vec<String> = (1..=scene.parts).map(|part| part.to_string()).collect();
    let colour = scene.colour.word(Language::English);
    let (across, down) = scene.shift;
    Draft {
        content: format!("oddity:{name} {} {colour} {} {across},{down}", scene.parts, scene.turn),
        prompt: scene.thing.prompt(frame.language).to_owned(),
        reward_kind: "number",
        ground_truth: scene.parts.into(),
        working: counted.join(","),
        answer: scene.parts.to_string(),
        facts: json!({"thing": name, "parts": scene.parts, "usual": usual}),
        columns: Map::new(),
        painting: Some(scene.painting()),
    }
}

pub(super) fn is_correct(facts: &Value, answer: &str) -> bool {
    let parts = facts.get("parts").and_then(Value::as_u64);
    parts.is_some() && answer.parse().ok() == parts
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::split::Split;
    use crate::synthetic::{Stream, Style, Task};

    #[test]
    fn the_usual_number_is_wrong_unless_it_is_hard() {
        for difficulty in Difficulty::ALL {
            let stream = Stream { difficulty, ..Stream::new(Task::Oddity, Split::Train, 1) };
            let mut usual: BTreeMap<String, [u32; 2]> = BTreeMap::new();
            for index in 0..600 {
                let facts = stream.unpainted(index, Style::Hasty).query.columns["facts"].clone();
                let counts = usual.entry(facts["thing"].to_string()).or_default();
                counts[usize::from(facts["parts"] == facts["usual"])] += 1;
            }
            assert_eq!(usual.len(), Thing::ALL.len());
            for (thing, [odd, even]) in usual {
                let (least, most) = if difficulty == Difficulty::Hard { (15, 60) } else { (0, 0) };
                assert!(odd > 40 && (least..=most).contains(&even), "{thing} {difficulty}: {odd} {even}");
            }
        }
    }

    /// Runs of pixels of one colour along a line.
    fn runs(
        picture: &image::RgbImage,
        points: impl Iterator<Item = Point>,
        is_part: impl Fn(&image::Rgb<u8>) -> bool,
    ) -> usize {
        let along: Vec<bool> = points.map(|(x, y)| is_part(picture.get_pixel(x as u32, y as u32))).collect();
        along.windows(2).filter(|pair| pair[1] && !pair[0]).count() + usize::from(along[0])
    }

    #[test]
    fn as_many_parts_are_drawn_as_are_told() {
        let scene = |thing, parts| Scene { thing, parts, colour: Colour::Red, turn: 10, shift: (0, 0) };
        for parts in 3..=8 {
            let mut dice = <Dice as rand::SeedableRng>::from_seed([1; 32]);
            let picture = scene(Thing::Star, parts).painting()(&mut dice).into_rgb();
            let around = (0..720).map(|step| toward((48.0, 48.0), step as f32 / 720.0 + 0.001, 30.0));
            let red = |pixel: &image::Rgb<u8>| pixel[0] > 180 && pixel[1] < 90;
            let count = runs(&picture, around, red);
            assert!(count == parts as usize || count == parts as usize + 1, "a point may lie over the start: {count}");
            let picture = scene(Thing::Dog, parts).painting()(&mut dice).into_rgb();
            assert_eq!(runs(&picture, (0..96).map(|x| (x as f32, 70.0)), red), parts as usize);
            let picture = scene(Thing::Hand, parts).painting()(&mut dice).into_rgb();
            let skin = |pixel: &image::Rgb<u8>| pixel[0] > 200 && (150..200).contains(&pixel[1]);
            let over = (0..400).map(|step| toward((48.0, 64.0), (step as f32 / 400.0 - 0.5) * 0.56, 38.0));
            assert_eq!(runs(&picture, over, skin), parts as usize, "fingers");
        }
    }
}
