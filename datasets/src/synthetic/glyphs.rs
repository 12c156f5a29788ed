//! Letters as strokes: Latin capitals, a few signs and sixteen Chinese characters that are made of straight lines.

use super::canvas::{Canvas, DIGIT_ASPECT, Point};

/// Chinese characters that the font has.
pub(super) const CHINESE: [char; 16] =
    ['口', '日', '目', '田', '中', '山', '王', '土', '工', '十', '上', '下', '木', '大', '天', '正'];

/// Strokes by letter: each stroke is a row of points, each point its column and its row, counted from the top left.
/// Latin letters stand on 5 by 7 points, Chinese ones on 7 by 7.
const GLYPHS: [(char, &str); 46] = [
    ('A', "062046 1333"),
    ('B', "0006 003041423303 3344453606"),
    ('C', "4130100105163645"),
    ('D', "0006 003041453606"),
    ('E', "40000646 0333"),
    ('F', "400006 0333"),
    ('G', "41301001051636454323"),
    ('H', "0006 4046 0343"),
    ('I', "2026 1030 1636"),
    ('J', "4045361605"),
    ('K', "0006 400346"),
    ('L', "000646"),
    ('M', "0600234046"),
    ('N', "06004640"),
    ('O', "103041453616050110"),
    ('P', "06003041423303"),
    ('Q', "103041453616050110 2446"),
    ('R', "06003041423303 2346"),
    ('S', "413010010213334445361605"),
    ('T', "0040 2026"),
    ('U', "000516364540"),
    ('V', "002640"),
    ('W', "0016233640"),
    ('X', "0046 4006"),
    ('Y', "002340 2326"),
    ('Z', "00400646"),
    ('.', "1616"),
    ('-', "0343"),
    ('?', "01103041422324 2626"),
    ('口', "0161660601"),
    ('日', "1050561610 1353"),
    ('目', "1050561610 1252 1454"),
    ('田', "0060660600 0363 3036"),
    ('中', "0161640401 3036"),
    ('山', "02066662 3036"),
    ('王', "0060 1353 0666 3036"),
    ('土', "1252 0666 3036"),
    ('工', "1050 0666 3036"),
    ('十', "0363 3036"),
    ('上', "3036 3353 0666"),
    ('下', "0060 3036 3254"),
    ('木', "0262 3036 3206 3266"),
    ('大', "0262 303206 3266"),
    ('天', "1050 0363 303306 3366"),
    ('正', "0060 3036 3353 1316 0666"),
    // What is not in the font shows as an empty box; a test draws everything that tasks draw.
    ('\u{25a1}', "0040460600"),
];

fn strokes(letter: char) -> &'static str {
    let found = GLYPHS.iter().find(|(known, _)| *known == letter).or(GLYPHS.last());
    found.map_or("", |(_, strokes)| strokes)
}

fn is_chinese(letter: char) -> bool {
    CHINESE.contains(&letter)
}

/// Width of a letter over its height.
fn aspect(letter: char) -> f32 {
    match letter {
        ' ' | '.' => 0.25,
        _ if is_chinese(letter) => 1.0,
        _ => DIGIT_ASPECT,
    }
}

/// Width of a text in pixels.
pub(super) fn text_width(text: &str, height: f32) -> f32 {
    let gap = 0.2 * height;
    (text.chars().map(|letter| aspect(letter) * height + gap).sum::<f32>() - gap).max(0.0)
}

impl Canvas {
    /// A letter, digit or sign, `height` pixels high with its strokes.
    pub(super) fn letter(&mut self, letter: char, corner: Point, height: f32, rgb: [u8; 3]) {
        if let Some(digit) = letter.to_digit(10) {
            return self.digit(digit as u8, corner, height, rgb);
        }
        let thickness = (height * 0.12).max(1.2);
        let columns = match letter {
            '.' => 2.0,
            _ if is_chinese(letter) => 6.0,
            _ => 4.0,
        };
        let (wide, high) = (height * aspect(letter) - thickness, height - thickness);
        let place = |number: u8, most: f32| f32::from(number - b'0') / most;
        let point = |pair: &[u8]| {
            let (x, y) = (place(pair[0], columns), place(pair[1], 6.0));
            (corner.0 + thickness / 2.0 + x * wide, corner.1 + thickness / 2.0 + y * high)
        };
        let lines: Vec<Vec<Point>> =
            strokes(letter).split(' ').map(|stroke| stroke.as_bytes().chunks_exact(2).map(point).collect()).collect();
        self.strokes(&lines, thickness, rgb);
    }

    /// Letters in a row, the first at `corner`.
    pub(super) fn text(&mut self, text: &str, corner: Point, height: f32, rgb: [u8; 3]) {
        let mut left = corner.0;
        for letter in text.chars() {
            if letter != ' ' {
                self.letter(letter, (left, corner.1), height, rgb);
            }
            left += (aspect(letter) + 0.2) * height;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_fill_their_box_and_all_differ() {
        let mut seen: Vec<(char, image::RgbImage)> = Vec::new();
        for &(letter, _) in &GLYPHS {
            let mut canvas = Canvas::new(32, 32, 128);
            canvas.letter(letter, (4.0, 4.0), 20.0, [0, 0, 0]);
            let picture = canvas.into_rgb();
            let right = 4.0 + 20.0 * aspect(letter);
            for (x, y, pixel) in picture.enumerate_pixels() {
                let outside = x < 3 || (x as f32) > right + 1.0 || !(3..26).contains(&y);
                assert!(!outside || pixel[0] == 128, "{letter} {x} {y}");
            }
            for (other, drawn) in &seen {
                let differing = picture.pixels().zip(drawn.pixels()).filter(|(a, b)| a[0].abs_diff(b[0]) > 64).count();
                assert!(differing > 8, "{letter} looks like {other}");
            }
            seen.push((letter, picture));
        }
    }

    #[test]
    fn texts_are_as_wide_as_told() {
        let width = text_width("TEA 3.50", 10.0);
        let mut canvas = Canvas::new(120, 20, 128);
        canvas.text("TEA 3.50", (5.0, 5.0), 10.0, [0, 0, 0]);
        let picture = canvas.into_rgb();
        let dark = picture.enumerate_pixels().filter(|(_, _, pixel)| pixel[0] < 64).map(|(x, _, _)| x).max().unwrap();
        assert!((dark as f32 - (5.0 + width)).abs() < 2.5, "{dark} {width}");
    }
}
