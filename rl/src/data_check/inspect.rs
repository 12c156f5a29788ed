//! One row, held to everything that training will ask of it.

use sapo_datasets::duplicates::{Fingerprint, Look};
use sapo_datasets::{DatasetError, Example, Picture, Query};
use sapo_policies::processor::{Clip, PromptLimit};

use super::reason::Reason;
use super::target::Target;
use super::{Limits, Processor};
use crate::encode::{clips, measure};

/// A reason with what was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Why.
    pub reason: Reason,
    /// What was seen, with the place within the row.
    pub detail: String,
    /// The row that it repeats, if that is the reason.
    pub repeats: Option<Repeated>,
}

/// A row that is repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeated {
    /// Its source.
    pub source: String,
    /// Its number in the source, from 0.
    pub row: u64,
    /// Its id.
    pub id: String,
}

impl Found {
    /// A reason that has to do with no other row.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), repeats: None }
    }
}

/// What was seen of a row.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// Its number in the source, from 0.
    pub index: u64,
    /// File and row.
    pub place: String,
    /// Its id, where it could be read.
    pub id: Option<String>,
    /// What is wrong; nothing for a good row.
    pub found: Vec<Found>,
    /// What it says, where all of it could be read.
    pub fingerprint: Option<Fingerprint>,
    /// Tokens of the prompt, where they could be counted.
    pub prompt_tokens: Option<usize>,
    /// Tokens of the response with its end, where there is one.
    pub response_tokens: Option<usize>,
    /// Pictures and videos that the limit of prompts leaves out.
    pub dropped_pictures: usize,
}

/// Inspects rows.
pub struct Inspector<'a> {
    processor: &'a Processor,
    limit: Option<PromptLimit>,
    max_response_tokens: Option<usize>,
    near: f64,
}

impl<'a> Inspector<'a> {
    /// Holds rows to these limits.
    pub fn new(limits: &Limits<'a>) -> Self {
        Self {
            processor: limits.processor,
            limit: limits.processor.prompt_limit(),
            max_response_tokens: limits.max_response_tokens,
            near: limits.near,
        }
    }

    /// Everything that is wrong with a row by itself. Its pictures are decoded once, one after the other, and dropped.
    pub fn inspect(&self, target: &Target, index: u64, example: Result<Example, DatasetError>) -> Inspected {
        let mut row = Inspected {
            index,
            place: target.dataset.place(index),
            id: None,
            found: Vec::new(),
            fingerprint: None,
            prompt_tokens: None,
            response_tokens: None,
            dropped_pictures: 0,
        };
        let Example { query, response, .. } = match example {
            Ok(example) => example,
            Err(error) => {
                row.found.push(Found::new(error.fault().into(), error.to_string()));
                return row;
            }
        };
        row.id = Some(query.id.clone());
        if query.messages.iter().all(|message| message.text().trim().is_empty()) {
            row.found.push(Found::new(Reason::NoQuestion, "no message has any text"));
        }
        self.see(&query, &mut row);
        row.found.extend(truth(target, &query, response.is_some()));
        self.respond(target, response.as_deref(), &mut row);
        row
    }

    /// Pictures, videos and the length of the prompt.
    fn see(&self, query: &Query, row: &mut Inspected) {
        let mut looks = Vec::with_capacity(query.images.len());
        let mut sizes = Vec::with_capacity(query.images.len());
        for (number, picture) in query.images.iter().enumerate() {
            match self.picture(picture) {
                Ok((size, look)) => {
                    sizes.push(size);
                    looks.push(look);
                }
                Err((reason, detail)) => {
                    row.found.push(Found::new(reason, format!("picture {}: {detail}", number + 1)));
                }
            }
        }
        if looks.len() < query.images.len() {
            return;
        }
        row.fingerprint = Some(Fingerprint::of(query, &looks, self.near));
        let videos = match clips(query).map_err(|error| error.to_string()).and_then(|clips| self.frames(clips)) {
            Ok(videos) => videos,
            Err(fault) => return row.found.push(Found::new(Reason::Video, fault)),
        };
        match measure(self.processor, query, &sizes, &videos, None) {
            Err(error) => row.found.push(Found::new(Reason::Text, error.to_string())),
            Ok(measured) => {
                row.prompt_tokens = Some(measured.tokens);
                let within = self.limit.map(|limit| measure(self.processor, query, &sizes, &videos, Some(limit)));
                match within.transpose() {
                    // Nothing but the limit has been added since.
                    Err(error) => row.found.push(Found::new(Reason::PromptTooLong, error.to_string())),
                    Ok(within) => {
                        row.dropped_pictures =
                            within.map_or(0, |within| within.dropped_pictures.len() + within.dropped_videos.len());
                    }
                }
            }
        }
    }

    /// The size and the look of a picture that the processor takes.
    fn picture(&self, picture: &Picture) -> Result<([usize; 2], Look), (Reason, String)> {
        let pixels = picture.decode().map_err(|error| (error.fault().into(), error.to_string()))?;
        let size = [pixels.height() as usize, pixels.width() as usize];
        self.processor.images().size(size).map_err(|error| (Reason::PictureShape, error.to_string()))?;
        Ok((size, Look::of(&pixels)))
    }

    /// Clips whose frames can be read as the processor takes them.
    fn frames(&self, clips: Vec<Clip>) -> Result<Vec<Clip>, String> {
        let read = |clip: &Clip| self.processor.videos().process(clip).map(drop).map_err(|error| error.to_string());
        clips.iter().try_for_each(read)?;
        Ok(clips)
    }

    /// The response, where there is one or there must be.
    fn respond(&self, target: &Target, response: Option<&str>, row: &mut Inspected) {
        let Some(response) = response else {
            if target.needs_response {
                row.found.push(Found::new(Reason::NoResponse, "a supervised phase uses this source"));
            }
            return;
        };
        if response.trim().is_empty() && target.needs_response {
            row.found.push(Found::new(Reason::NoResponse, "the response is blank"));
        }
        match self.processor.tokenizer().encode(response) {
            Err(error) => row.found.push(Found::new(Reason::Text, format!("the response: {error}"))),
            Ok(tokens) => {
                // The token that ends a turn is learned with it.
                let tokens = tokens.len() + 1;
                row.response_tokens = Some(tokens);
                if let Some(most) = self.max_response_tokens.filter(|most| tokens > *most) {
                    let detail = format!("the response has {tokens} tokens, and at most {most} are taken");
                    row.found.push(Found::new(Reason::ResponseTooLong, detail));
                }
            }
        }
    }
}

/// What is wrong with the ground truth, asked of the rewards that will score answers.
fn truth(target: &Target, query: &Query, has_response: bool) -> Option<Found> {
    let reason = if query.ground_truth.is_none() { Reason::NoTruth } else { Reason::BadTruth };
    if let Some(name) = query.rubric.as_ref().filter(|_| target.scores()) {
        return match target.named_rubric(name) {
            None => Some(Found::new(Reason::Rubric, format!("there is no rubric `{name}`"))),
            Some(rubric) => rubric.check_truth(query).err().map(|fault| Found::new(reason, fault)),
        };
    }
    if !target.scores() {
        let useless = query.ground_truth.is_none() && !has_response && !target.needs_response;
        return useless.then(|| Found::new(Reason::NoTruth, "neither a ground truth nor a response"));
    }
    let mut faults = target.rubrics().filter_map(|(name, rubric)| Some((name, rubric.check_truth(query).err()?)));
    faults.next().map(|(name, fault)| Found::new(reason, format!("rubric `{name}`: {fault}")))
}
