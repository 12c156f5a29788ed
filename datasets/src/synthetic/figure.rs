//! Figures: the shapes and colours that pictures hold, and their words in two languages.

use super::{Dice, Language, pick};

/// What a figure looks like in outline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shape {
    Circle,
    Square,
    Triangle,
    Star,
}

/// What it is filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Colour {
    Red,
    Green,
    Blue,
}

/// A coloured shape; the order (colour, then shape) is that of canonical phrases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Figure {
    pub(super) colour: Colour,
    pub(super) shape: Shape,
}

impl Shape {
    pub(super) const ALL: [Self; 4] = [Self::Circle, Self::Square, Self::Triangle, Self::Star];

    /// The word for one of them.
    pub(super) fn word(self, language: Language) -> &'static str {
        let (english, chinese) = match self {
            Self::Circle => ("circle", "圆形"),
            Self::Square => ("square", "方形"),
            Self::Triangle => ("triangle", "三角形"),
            Self::Star => ("star", "星形"),
        };
        language.choose(english, chinese)
    }
}

impl Colour {
    pub(super) const ALL: [Self; 3] = [Self::Red, Self::Green, Self::Blue];

    pub(super) fn word(self, language: Language) -> &'static str {
        let (english, chinese) = match self {
            Self::Red => ("red", "红色"),
            Self::Green => ("green", "绿色"),
            Self::Blue => ("blue", "蓝色"),
        };
        language.choose(english, chinese)
    }

    pub(super) fn rgb(self) -> [u8; 3] {
        match self {
            Self::Red => [220, 40, 40],
            Self::Green => [40, 175, 60],
            Self::Blue => [45, 75, 230],
        }
    }
}

impl Figure {
    pub(super) fn any(dice: &mut Dice) -> Self {
        Self { colour: pick(dice, &Colour::ALL), shape: pick(dice, &Shape::ALL) }
    }

    /// `red circle`, `红色圆形`.
    pub(super) fn words(self, language: Language) -> String {
        let (colour, shape) = (self.colour.word(language), self.shape.word(language));
        language.choose(format!("{colour} {shape}"), format!("{colour}{shape}"))
    }

    /// Reads [`Figure::words`] in English.
    pub(super) fn parse(words: &str) -> Option<Self> {
        let (colour, shape) = words.split_once(' ')?;
        Some(Self {
            colour: Colour::ALL.into_iter().find(|item| item.word(Language::English) == colour)?,
            shape: Shape::ALL.into_iter().find(|item| item.word(Language::English) == shape)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back() {
        for colour in Colour::ALL {
            for shape in Shape::ALL {
                let figure = Figure { colour, shape };
                assert_eq!(Figure::parse(&figure.words(Language::English)), Some(figure));
            }
        }
    }
}
