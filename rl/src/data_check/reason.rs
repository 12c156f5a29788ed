//! Why a row cannot be used, in the order in which a row is counted: the first is what stands in the way of the others.

use sapo_datasets::Fault;

/// Why a row is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// No JSON object, or a page of Parquet that cannot be decoded.
    Unreadable,
    /// A column of the wrong type, or two that disagree.
    Columns,
    /// Nothing is asked.
    NoQuestion,
    /// A message of no known form.
    Messages,
    /// Other pictures or videos than the messages name.
    Placeholders,
    /// The template of the source fails.
    Template,
    /// A picture that is not there.
    PictureMissing,
    /// A picture that cannot be decoded.
    PictureDamaged,
    /// A picture of too many bytes or pixels.
    PictureTooLarge,
    /// A picture whose sides the processor refuses.
    PictureShape,
    /// A video that cannot be used.
    Video,
    /// Text that the processor refuses.
    Text,
    /// A rubric that is not there.
    Rubric,
    /// No ground truth.
    NoTruth,
    /// A ground truth that a reward cannot read.
    BadTruth,
    /// No response to imitate.
    NoResponse,
    /// A prompt that is too long.
    PromptTooLong,
    /// A response that is too long.
    ResponseTooLong,
    /// The id of an earlier row.
    RepeatedId,
    /// A query of an evaluation.
    Overlap,
    /// Nearly a query of an evaluation.
    NearOverlap,
    /// An earlier row again.
    Duplicate,
    /// Nearly an earlier row again.
    NearDuplicate,
}

impl Reason {
    /// All of them, in order.
    pub const ALL: [Self; 23] = [
        Self::Unreadable,
        Self::Columns,
        Self::NoQuestion,
        Self::Messages,
        Self::Placeholders,
        Self::Template,
        Self::PictureMissing,
        Self::PictureDamaged,
        Self::PictureTooLarge,
        Self::PictureShape,
        Self::Video,
        Self::Text,
        Self::Rubric,
        Self::NoTruth,
        Self::BadTruth,
        Self::NoResponse,
        Self::PromptTooLong,
        Self::ResponseTooLong,
        Self::RepeatedId,
        Self::Overlap,
        Self::NearOverlap,
        Self::Duplicate,
        Self::NearDuplicate,
    ];

    /// The name in tables and files.
    pub fn name(self) -> &'static str {
        self.words().0
    }

    /// What to do about it, in a few words.
    pub fn remedy(self) -> &'static str {
        self.words().1
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Unreadable => ("unreadable", "write one whole JSON object a line, in UTF-8"),
            Self::Columns => ("columns", "give a column one type; name it under `columns` where two disagree"),
            Self::NoQuestion => ("no_question", "fill the question in, or leave the row out"),
            Self::Messages => ("messages", "write messages as role and content"),
            Self::Placeholders => ("placeholders", "one <image> for each picture"),
            Self::Template => ("template", "give the row the columns that `prompt` names"),
            Self::PictureMissing => ("picture_missing", "paths start where the file lies; nothing is downloaded"),
            Self::PictureDamaged => ("picture_damaged", "encode it again, such as PNG"),
            Self::PictureTooLarge => ("picture_too_large", "scale it down: 64 MiB and 100 million pixels are taken"),
            Self::PictureShape => ("picture_shape", "crop it: no side over 200 times the other"),
            Self::Video => ("video", "give a folder of frames or an animated file"),
            Self::Text => ("text", "take special tokens as <|im_start|> out"),
            Self::Rubric => ("rubric", "name a rubric of the configuration"),
            Self::NoTruth => ("no_truth", "fill the ground truth in; name its column under `columns`"),
            Self::BadTruth => ("bad_truth", "write it as its reward reads it: `sapo reward list`"),
            Self::NoResponse => ("no_response", "fill `response` in; supervised phases imitate it"),
            Self::PromptTooLong => ("prompt_too_long", "shorten it, scale pictures down, or raise the limit"),
            Self::ResponseTooLong => ("response_too_long", "shorten it, or raise the limit"),
            Self::RepeatedId => ("repeated_id", "make ids unique, or leave the column out"),
            Self::Overlap => ("overlap", "leave it out of what is trained on"),
            Self::NearOverlap => ("near_overlap", "compare both; leave it out of what is trained on"),
            Self::Duplicate => ("duplicate", "keep the first"),
            Self::NearDuplicate => ("near_duplicate", "compare both; keep one, or raise --near"),
        }
    }
}

impl From<Fault> for Reason {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unreadable => Self::Unreadable,
            Fault::Columns => Self::Columns,
            Fault::Question => Self::NoQuestion,
            Fault::Messages => Self::Messages,
            Fault::Marks => Self::Placeholders,
            Fault::PictureMissing => Self::PictureMissing,
            Fault::PictureDamaged => Self::PictureDamaged,
            Fault::PictureTooLarge => Self::PictureTooLarge,
            Fault::Video => Self::Video,
            Fault::Template => Self::Template,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_told_apart_and_documented() {
        let page = include_str!("../../../docs/data-check.md");
        assert!(Reason::ALL.is_sorted());
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert!(Reason::ALL[..at].iter().all(|other| other.name() != reason.name()), "{}", reason.name());
            assert!(!reason.remedy().is_empty());
            assert!(page.contains(&format!("| `{}` |", reason.name())), "docs/data-check.md: {}", reason.name());
        }
    }
}
