//! Who watches a check: what it is told, and whom it tells how far it is.

/// What a check tells while it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// So many rows are done.
    Row(usize),
    /// The first answer that got no value in time, and why.
    Stalled(&'a str),
}

/// The token ids of a text.
pub type Tokenizer<'a> = &'a dyn Fn(&str) -> Vec<u32>;
/// Hears what a check tells.
type Listener<'a> = &'a mut dyn FnMut(Heard<'_>);

/// What a check is told beside its rubric and rows, and who hears of it.
#[derive(Default)]
pub struct Watch<'a> {
    tokenizer: Option<Tokenizer<'a>>,
    listener: Option<Listener<'a>>,
}

impl<'a> Watch<'a> {
    /// With a tokenizer: rewards are told the tokens of each answer. Without one they are told of none.
    #[must_use]
    pub fn counting(self, tokenizer: Option<Tokenizer<'a>>) -> Self {
        Self { tokenizer, ..self }
    }

    /// With somebody who hears how far it is.
    #[must_use]
    pub fn heard_by(self, listener: Listener<'a>) -> Self {
        Self { listener: Some(listener), ..self }
    }

    pub(super) fn tokens(&self, text: &str) -> Vec<u32> {
        self.tokenizer.map(|tokenizer| tokenizer(text)).unwrap_or_default()
    }

    pub(super) fn hear(&mut self, heard: Heard<'_>) {
        if let Some(listener) = &mut self.listener {
            listener(heard);
        }
    }
}
