//! Demonstrations as groups of one: the response of a row, and the token that ends it.

use sapo_policies::Completion;
use sapo_policies::processor::Processor;

use crate::data::Prompt;
use crate::error::{Result, RunError};
use crate::update::TrainGroup;

/// The token that ends a turn.
///
/// # Errors
/// When the tokenizer has none.
pub(super) fn end_of_turn(processor: &Processor) -> Result<u32> {
    let end = processor.tokenizer().id("<|im_end|>");
    end.ok_or_else(|| RunError::User("the tokenizer has no <|im_end|>".to_owned()))
}

/// The responses of a batch.
///
/// # Errors
/// When a response cannot be encoded.
pub(super) fn demonstrations<'a>(
    processor: &Processor,
    end: u32,
    prompts: &'a [Prompt],
) -> Result<Vec<TrainGroup<'a>>> {
    let group = |prompt: &'a Prompt| {
        let mut tokens = processor.tokenizer().encode(prompt.response.as_deref().unwrap_or_default())?;
        tokens.push(end);
        Ok(TrainGroup { prompt: &prompt.input, completions: vec![Completion::of_sampled(tokens)] })
    };
    prompts.iter().map(group).collect()
}
