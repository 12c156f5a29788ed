//! Marks that stand for pictures and videos in a text, and the parts that they become.

use crate::error::{DatasetError, Result};
use crate::picture::Picture;
use crate::query::{Message, Part, Query, Role};

/// What stands for a picture in a text, in the form that we write.
pub(crate) const IMAGE_MARK: &str = "<image>";
/// What stands for a video in a text.
pub(crate) const VIDEO_MARK: &str = "<video>";
/// Other marks of a picture: those of models' own templates.
const IMAGE_MARKS: [&str; 3] = [IMAGE_MARK, "<|image|>", "<|vision_start|><|image_pad|><|vision_end|>"];
const VIDEO_MARKS: [&str; 2] = [VIDEO_MARK, "<|vision_start|><|video_pad|><|vision_end|>"];

/// A mark in a text.
struct Mark {
    at: usize,
    length: usize,
    part: Part,
    /// The picture that it names, counted from 1, where it names one.
    number: Option<usize>,
}

/// Text with marks, as parts; beside them the number that each picture's mark names (`<image 2>`), if it names one.
pub(crate) fn marked_parts(text: &str, numbers: &mut Vec<Option<usize>>) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let next = next_mark(rest);
        let before = next.as_ref().map_or(rest, |mark| &rest[..mark.at]);
        if !before.is_empty() {
            parts.push(Part::text(before));
        }
        let Some(mark) = next else { return parts };
        if mark.part == Part::Image {
            numbers.push(mark.number);
        }
        parts.push(mark.part);
        rest = &rest[mark.at + mark.length..];
    }
}

fn next_mark(text: &str) -> Option<Mark> {
    let plain = |marks: &'static [&'static str], part: Part| {
        marks.iter().filter_map(move |mark| {
            text.find(mark).map(|at| Mark { at, length: mark.len(), part: part.clone(), number: None })
        })
    };
    let numbered = text.match_indices("<image").find_map(|(at, start)| numbered(&text[at + start.len()..], at));
    plain(&IMAGE_MARKS, Part::Image).chain(plain(&VIDEO_MARKS, Part::Video)).chain(numbered).min_by_key(|mark| mark.at)
}

/// `<image 2>`, `<image_2>` or `<image2>`; `rest` follows `<image`.
fn numbered(rest: &str, at: usize) -> Option<Mark> {
    let (inside, _) = rest.split_once('>')?;
    let digits = inside.strip_prefix([' ', '_']).unwrap_or(inside);
    let number = digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some(Mark { at, length: "<image".len() + inside.len() + 1, part: Part::Image, number: Some(number) })
}

/// Puts pictures in the order in which numbered marks name them; a picture that is named twice is shown twice.
pub(super) fn in_named_order(pictures: Vec<Picture>, numbers: &[Option<usize>], place: &str) -> Result<Vec<Picture>> {
    if numbers.iter().all(Option::is_none) {
        return Ok(pictures);
    }
    let Some(numbers) = numbers.iter().copied().collect::<Option<Vec<usize>>>() else {
        return Err(DatasetError::row(
            place,
            "some picture marks have a number and some have none; number all or none",
        ));
    };
    if let Some(unnamed) = (1..=pictures.len()).find(|number| !numbers.contains(number)) {
        let reason =
            format!("no mark names picture {unnamed} of {}; write <image {unnamed}> where it belongs", pictures.len());
        return Err(DatasetError::row(place, reason));
    }
    let pick = |&number: &usize| {
        number.checked_sub(1).and_then(|index| pictures.get(index)).cloned().ok_or_else(|| {
            let reason = format!("<image {number}> names no picture: there are {}, counted from 1", pictures.len());
            DatasetError::row(place, reason)
        })
    };
    numbers.iter().map(pick).collect()
}

/// Puts parts of a kind that no mark names at the start of the last user message.
pub(super) fn place_unmarked(messages: &mut [Message], kind: &Part, count: usize) {
    let marked = messages.iter().flat_map(|message| &message.content).any(|part| part == kind);
    if let (false, Some(last)) = (marked, messages.iter_mut().rev().find(|message| message.role == Role::User)) {
        last.content.splice(0..0, std::iter::repeat_n(kind.clone(), count));
    }
}

/// That the messages name as many pictures and videos as there are.
pub(super) fn check_marks(query: &Query, place: &str) -> Result<()> {
    for (kind, what, given) in
        [(Part::Image, "pictures", query.images.len()), (Part::Video, "videos", query.videos.len())]
    {
        let parts = query.messages.iter().flat_map(|message| &message.content);
        let marks = parts.filter(|part| **part == kind).count();
        if marks != given {
            let reason = format!("the messages name {marks} {what}, but there are {given}");
            return Err(DatasetError::row(place, reason));
        }
    }
    Ok(())
}

/// The text of parts, with marks for what is no text.
pub(crate) fn marked_text<'a>(parts: impl IntoIterator<Item = &'a Part>) -> String {
    let text = |part: &'a Part| match part {
        Part::Text { text } => text.as_str(),
        Part::Image => IMAGE_MARK,
        Part::Video => VIDEO_MARK,
    };
    parts.into_iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::Split;
    use crate::synthetic::{Task, query};

    fn parts(text: &str) -> (Vec<Part>, Vec<Option<usize>>) {
        let mut numbers = Vec::new();
        (marked_parts(text, &mut numbers), numbers)
    }

    #[test]
    fn all_styles_of_marks_keep_their_places() {
        let (found, numbers) = parts("a<image>b<|image|><|vision_start|><|image_pad|><|vision_end|>c<video>");
        let text = Part::text;
        let wanted = [text("a"), Part::Image, text("b"), Part::Image, Part::Image, text("c"), Part::Video];
        assert_eq!((found, numbers), (wanted.to_vec(), vec![None; 3]));
        let (found, numbers) = parts("<image 2> or <image_1>? <image12>");
        assert_eq!(numbers, [Some(2), Some(1), Some(12)]);
        assert_eq!(found[..3], [Part::Image, text(" or "), Part::Image]);
        for plain in ["<images>", "<image two>", "<image", "a < b", "<image -1>", ""] {
            assert!(!parts(plain).0.contains(&Part::Image), "{plain}");
        }
        assert_eq!(marked_text(&parts("a<image>b<video>").0), "a<image>b<video>");
    }

    #[test]
    fn numbered_pictures_come_in_the_order_of_their_marks() {
        let picture = |index| query(Task::Clock, Split::Train, 1, index).images[0].clone();
        let pictures = vec![picture(0), picture(1)];
        let order = |numbers: &[Option<usize>]| in_named_order(pictures.clone(), numbers, "d row 1");
        assert_eq!(order(&[None, None]).unwrap(), pictures);
        assert_eq!(order(&[Some(2), Some(1), Some(2)]).unwrap(), [picture(1), picture(0), picture(1)]);
        for (numbers, says) in [
            (vec![Some(1), None], "number all or none"),
            (vec![Some(2)], "no mark names picture 1 of 2"),
            (vec![Some(1), Some(2), Some(3)], "<image 3> names no picture"),
            (vec![Some(1), Some(2), Some(0)], "<image 0> names no picture"),
        ] {
            let message = order(&numbers).unwrap_err().to_string();
            assert!(message.starts_with("d row 1: ") && message.contains(says), "{message}");
        }
    }
}
