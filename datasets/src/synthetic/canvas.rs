//! A small canvas: antialiased shapes, lines and digits, drawn by signed distance; letters are in `glyphs`.

use image::RgbImage;

use super::figure::Shape;

/// A point in pixels; the centre of the first pixel is (0.5, 0.5).
pub(super) type Point = (f32, f32);

/// Pixels that are drawn on, in f32 until the end so that edges blend exactly.
pub(super) struct Canvas {
    width: u32,
    height: u32,
    pixels: Vec<[f32; 3]>,
}

impl Canvas {
    /// A canvas of one grey.
    pub(super) fn new(width: u32, height: u32, grey: u8) -> Self {
        Self { width, height, pixels: vec![[f32::from(grey); 3]; (width * height) as usize] }
    }

    /// A filled shape that touches all four sides of the square with its corner at `corner`.
    pub(super) fn figure(&mut self, shape: Shape, corner: Point, side: f32, rgb: [u8; 3]) {
        let place = |(x, y): Point| (corner.0 + x * side, corner.1 + y * side);
        if shape == Shape::Circle {
            let centre = place((0.5, 0.5));
            self.fill(corner, (corner.0 + side, corner.1 + side), rgb, |point| {
                length(minus(point, centre)) - side / 2.0
            });
        } else {
            let corners: Vec<Point> = outline(shape).into_iter().map(place).collect();
            self.fill(corner, (corner.0 + side, corner.1 + side), rgb, |point| polygon_distance(&corners, point));
        }
    }

    /// A line with round ends, `thickness` pixels wide.
    pub(super) fn line(&mut self, from: Point, to: Point, thickness: f32, rgb: [u8; 3]) {
        self.strokes(&[vec![from, to]], thickness, rgb);
    }

    /// A circle's outline, `thickness` pixels wide.
    pub(super) fn ring(&mut self, centre: Point, radius: f32, thickness: f32, rgb: [u8; 3]) {
        let reach = radius + thickness;
        let (least, most) = ((centre.0 - reach, centre.1 - reach), (centre.0 + reach, centre.1 + reach));
        self.fill(least, most, rgb, |point| (length(minus(point, centre)) - radius).abs() - thickness / 2.0);
    }

    /// A filled rectangle, `wide` and `high` pixels.
    pub(super) fn rect(&mut self, corner: Point, (wide, high): (f32, f32), rgb: [u8; 3]) {
        let centre = (corner.0 + wide / 2.0, corner.1 + high / 2.0);
        self.fill(corner, (corner.0 + wide, corner.1 + high), rgb, |point| {
            let offset = minus(point, centre);
            (offset.0.abs() - wide / 2.0).max(offset.1.abs() - high / 2.0)
        });
    }

    /// A filled circle.
    pub(super) fn disc(&mut self, centre: Point, radius: f32, rgb: [u8; 3]) {
        let corner = (centre.0 - radius, centre.1 - radius);
        self.figure(Shape::Circle, corner, radius * 2.0, rgb);
    }

    /// A filled polygon.
    pub(super) fn polygon(&mut self, corners: &[Point], rgb: [u8; 3]) {
        let (least, most) = bounds(corners.iter());
        self.fill(least, most, rgb, |point| polygon_distance(corners, point));
    }

    /// A digit in a stroke font, `height` pixels high with its stroke, 0.58 of that wide.
    pub(super) fn digit(&mut self, digit: u8, corner: Point, height: f32, rgb: [u8; 3]) {
        let thickness = (height * 0.13).max(1.2);
        let (wide, high) = (height * DIGIT_ASPECT - thickness, height - thickness);
        let place = |(x, y): Point| (corner.0 + thickness / 2.0 + x * wide, corner.1 + thickness / 2.0 + y * high);
        let strokes: Vec<Vec<Point>> =
            digit_strokes(digit).into_iter().map(|stroke| stroke.into_iter().map(place).collect()).collect();
        self.strokes(&strokes, thickness, rgb);
    }

    /// The finished picture.
    pub(super) fn into_rgb(self) -> RgbImage {
        let bytes = self.pixels.iter().flatten().map(|value| value.round().clamp(0.0, 255.0) as u8).collect();
        RgbImage::from_raw(self.width, self.height, bytes).expect("three bytes a pixel")
    }

    /// Lines through points with round ends, `thickness` pixels wide.
    pub(super) fn strokes(&mut self, strokes: &[Vec<Point>], thickness: f32, rgb: [u8; 3]) {
        let (least, most) = bounds(strokes.iter().flatten());
        let margin = thickness / 2.0;
        self.fill((least.0 - margin, least.1 - margin), (most.0 + margin, most.1 + margin), rgb, |point| {
            let segments = strokes.iter().flat_map(|stroke| stroke.windows(2));
            let nearest = segments.map(|ends| segment_distance(ends[0], ends[1], point)).fold(f32::MAX, f32::min);
            nearest - margin
        });
    }

    /// Blends a colour in wherever `distance` (negative inside) says so, within the bounds and one pixel around.
    fn fill(&mut self, least: Point, most: Point, rgb: [u8; 3], distance: impl Fn(Point) -> f32) {
        let first = |value: f32| (value.floor() - 1.0).max(0.0) as u32;
        let last = |value: f32, limit: u32| ((value.ceil() + 1.0).max(0.0) as u32).min(limit);
        for y in first(least.1)..last(most.1, self.height) {
            for x in first(least.0)..last(most.0, self.width) {
                let cover = (0.5 - distance((x as f32 + 0.5, y as f32 + 0.5))).clamp(0.0, 1.0);
                let pixel = &mut self.pixels[(y * self.width + x) as usize];
                for (value, target) in pixel.iter_mut().zip(rgb) {
                    *value += (f32::from(target) - *value) * cover;
                }
            }
        }
    }
}

/// Width of a digit over its height.
pub(super) const DIGIT_ASPECT: f32 = 0.58;

/// The least and the greatest coordinates.
fn bounds<'p>(points: impl Iterator<Item = &'p Point>) -> (Point, Point) {
    points.fold(((f32::MAX, f32::MAX), (f32::MIN, f32::MIN)), |(least, most), point| {
        ((least.0.min(point.0), least.1.min(point.1)), (most.0.max(point.0), most.1.max(point.1)))
    })
}

fn minus(a: Point, b: Point) -> Point {
    (a.0 - b.0, a.1 - b.1)
}

fn length(a: Point) -> f32 {
    a.0.hypot(a.1)
}

fn segment_distance(from: Point, to: Point, point: Point) -> f32 {
    let (along, offset) = (minus(to, from), minus(point, from));
    let squared = along.0 * along.0 + along.1 * along.1;
    let t = if squared > 0.0 { ((offset.0 * along.0 + offset.1 * along.1) / squared).clamp(0.0, 1.0) } else { 0.0 };
    length(minus(offset, (along.0 * t, along.1 * t)))
}

/// The distance to a polygon's edge, negative inside (even-odd rule).
fn polygon_distance(corners: &[Point], point: Point) -> f32 {
    let mut nearest = f32::MAX;
    let mut inside = false;
    for (index, &from) in corners.iter().enumerate() {
        let to = corners[(index + 1) % corners.len()];
        nearest = nearest.min(segment_distance(from, to, point));
        if (from.1 > point.1) != (to.1 > point.1) {
            let crossing = from.0 + (point.1 - from.1) / (to.1 - from.1) * (to.0 - from.0);
            inside ^= point.0 < crossing;
        }
    }
    if inside { -nearest } else { nearest }
}

/// The corners of a shape in the unit square, which it touches on all sides.
fn outline(shape: Shape) -> Vec<Point> {
    match shape {
        Shape::Circle | Shape::Square => vec![(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)],
        Shape::Triangle => vec![(0.5, 0.0), (1.0, 1.0), (0.0, 1.0)],
        Shape::Star => {
            let tips = (0..10).map(|step| {
                let radius = if step % 2 == 0 { 1.0 } else { 0.42 };
                let angle = std::f32::consts::PI * (step as f32 / 5.0 - 0.5);
                (radius * angle.cos(), radius * angle.sin())
            });
            // A regular star is 1.902 wide and 1.809 high: it is stretched to fill the square.
            let (wide, low) = ((std::f32::consts::PI * 0.1).cos(), (std::f32::consts::PI * 0.3).sin());
            tips.map(|(x, y)| ((x / wide + 1.0) / 2.0, (y + 1.0) / (1.0 + low))).collect()
        }
    }
}

/// The strokes of a digit in the unit square, y downwards.
fn digit_strokes(digit: u8) -> Vec<Vec<Point>> {
    match digit {
        0 => vec![arc((0.5, 0.5), (0.5, 0.5), 0.0, 360.0)],
        1 => vec![vec![(0.15, 0.22), (0.58, 0.0), (0.58, 1.0)]],
        2 => vec![[arc((0.5, 0.29), (0.48, 0.29), 190.0, 395.0), vec![(0.02, 1.0), (1.0, 1.0)]].concat()],
        3 => vec![
            [arc((0.45, 0.26), (0.45, 0.26), 205.0, 440.0), arc((0.45, 0.745), (0.53, 0.255), 280.0, 510.0)].concat(),
        ],
        4 => vec![vec![(0.74, 1.0), (0.74, 0.0), (0.0, 0.7), (1.0, 0.7)]],
        5 => {
            vec![[vec![(0.92, 0.0), (0.14, 0.0), (0.06, 0.46)], arc((0.46, 0.67), (0.52, 0.33), 220.0, 505.0)].concat()]
        }
        6 => vec![arc((0.5, 0.69), (0.5, 0.31), 0.0, 360.0), vec![(0.76, 0.0), (0.3, 0.3), (0.02, 0.64)]],
        7 => vec![vec![(0.0, 0.0), (1.0, 0.0), (0.34, 1.0)]],
        8 => vec![arc((0.5, 0.245), (0.42, 0.245), 0.0, 360.0), arc((0.5, 0.745), (0.5, 0.255), 0.0, 360.0)],
        _ => vec![arc((0.5, 0.31), (0.5, 0.31), 0.0, 360.0), vec![(0.98, 0.36), (0.7, 0.7), (0.24, 1.0)]],
    }
}

/// Part of an ellipse, from and to in degrees: 0 is right, 90 is down.
fn arc(centre: Point, radii: Point, from: f32, to: f32) -> Vec<Point> {
    (0..=20)
        .map(|step| {
            let angle = (from + (to - from) * step as f32 / 20.0).to_radians();
            (centre.0 + radii.0 * angle.cos(), centre.1 + radii.1 * angle.sin())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dark(picture: &RgbImage) -> Vec<(u32, u32)> {
        picture.enumerate_pixels().filter(|(_, _, pixel)| pixel[0] < 64).map(|(x, y, _)| (x, y)).collect()
    }

    #[test]
    fn shapes_fill_their_square_and_nothing_outside() {
        for shape in Shape::ALL {
            let mut canvas = Canvas::new(40, 40, 128);
            canvas.figure(shape, (8.0, 10.0), 24.0, [0, 0, 0]);
            let picture = canvas.into_rgb();
            for (x, y, pixel) in picture.enumerate_pixels() {
                let outside = !(7..33).contains(&x) || !(9..35).contains(&y);
                assert!(!outside || pixel[0] == 128, "{shape:?} {x} {y}");
            }
            let touched = |holds: &dyn Fn(u32, u32) -> bool| {
                picture.enumerate_pixels().any(|(x, y, pixel)| holds(x, y) && pixel[0] < 127)
            };
            assert!(touched(&|x, _| x == 8) && touched(&|x, _| x == 31), "{shape:?}");
            assert!(touched(&|_, y| y == 10) && touched(&|_, y| y == 33), "{shape:?}");
        }
    }

    #[test]
    fn areas_are_those_of_geometry() {
        let area = |shape| {
            let mut canvas = Canvas::new(64, 64, 255);
            canvas.figure(shape, (4.3, 5.7), 50.0, [0, 0, 0]);
            canvas.into_rgb().pixels().map(|pixel| 1.0 - f64::from(pixel[0]) / 255.0).sum::<f64>() / 2500.0
        };
        assert!((area(Shape::Square) - 1.0).abs() < 0.01);
        assert!((area(Shape::Circle) - std::f64::consts::PI / 4.0).abs() < 0.01);
        assert!((area(Shape::Triangle) - 0.5).abs() < 0.01);
    }

    #[test]
    fn digits_are_as_high_as_asked_and_all_differ() {
        let mut seen: Vec<Vec<(u32, u32)>> = Vec::new();
        for digit in 0..10 {
            let mut canvas = Canvas::new(32, 32, 128);
            canvas.digit(digit, (8.0, 4.0), 25.0, [0, 0, 0]);
            let picture = dark(&canvas.into_rgb());
            let top = picture.iter().map(|point| point.1).min().unwrap();
            let bottom = picture.iter().map(|point| point.1).max().unwrap();
            assert!(top <= 5 && (27..=29).contains(&bottom), "{digit}: {top} {bottom}");
            for other in &seen {
                let differing = picture.iter().filter(|point| !other.contains(point)).count();
                assert!(differing > 8, "{digit} looks like another digit");
            }
            seen.push(picture);
        }
    }
}
