//! The thread that owns the model: it takes batches of waiting requests and answers them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use sapo_datasets::hex;
use sapo_policies::processor::ChatOptions;
use sapo_policies::{Model, PolicyError, PolicyInput};
use sapo_rollouts::{Request, Rollout, Sampling, sample_all, seed_of};
use sha2::{Digest, Sha256};

use super::Limits;
use super::chat::Chat;
use super::fault::Fault;
use super::queue::{Job, Queue};
use super::reply::{Answered, Sample};
use crate::sample::local_engine;

/// Samples of one request that are decoded together at most; bounds memory.
const MOST_ROWS: usize = 16;
/// Pixels of all pictures of a request at most: their decoded size, which an encoded one may hide.
const MOST_PIXELS: u64 = 1 << 25;

/// The model at work.
pub(super) struct Worker<'a> {
    pub(super) model: &'a Model,
    pub(super) limits: Limits,
    /// Requests that are answered together at most.
    pub(super) batch: usize,
}

/// A request that is ready to be sampled.
struct Ready {
    job: Job,
    prompt: PolicyInput,
    seeds: Vec<u64>,
}

impl Worker<'_> {
    /// Answers what waits until the line is closed and empty.
    pub(super) fn run(&self, queue: &Queue) {
        while let Some(jobs) = queue.take(self.batch) {
            // A fault of this program must not take the server down: whoever asked is told, the next one is answered.
            // Nothing that outlives a request changes while it is answered.
            drop(catch_unwind(AssertUnwindSafe(|| self.answer(jobs))));
        }
    }

    fn answer(&self, jobs: Vec<Job>) {
        let mut ready: Vec<Ready> = jobs.into_iter().filter_map(|job| self.prepare(job)).collect();
        while !ready.is_empty() {
            let lengths: Vec<usize> = ready.iter().map(|one| one.prompt.ids().len()).collect();
            let rest = ready.split_off(fitting(&lengths, self.limits.prompt_tokens));
            self.sample(ready);
            ready = rest;
        }
    }

    /// Encodes a request; one that cannot be encoded is refused at once.
    fn prepare(&self, job: Job) -> Option<Ready> {
        match self.encode(&job.chat) {
            Ok(prompt) => {
                let seeds = seeds(&job.chat, &prompt);
                Some(Ready { job, prompt, seeds })
            }
            Err(fault) => {
                send(job, Err(fault));
                None
            }
        }
    }

    fn encode(&self, chat: &Chat) -> Result<PolicyInput, Fault> {
        let mut pictures = Vec::with_capacity(chat.pictures.len());
        let mut pixels = 0;
        for (index, picture) in chat.pictures.iter().enumerate() {
            let decoded = picture
                .decode()
                .map_err(|error| Fault::field("messages", format!("picture {}: {error}", index + 1)))?;
            pixels += u64::from(decoded.width()) * u64::from(decoded.height());
            if pixels > MOST_PIXELS {
                let reason = format!("the pictures have more than {MOST_PIXELS} pixels; scale them down first");
                return Err(Fault::field("messages", reason));
            }
            pictures.push(decoded);
        }
        let options = ChatOptions { add_generation_prompt: true, tools: Vec::new() };
        let prompt = self.model.processor.encode(&chat.messages, &pictures, &options).map_err(refusal)?;
        let (tokens, most) = (prompt.ids().len(), self.limits.prompt_tokens);
        if tokens > most {
            let reason = format!("the prompt has {tokens} tokens, and at most {most} are taken; shorten it");
            return Err(Fault::field("messages", reason));
        }
        Ok(prompt)
    }

    /// Samples all answers of some requests, which want the same sampling.
    fn sample(&self, ready: Vec<Ready>) {
        let Some(sampling) = ready.first().map(|one| one.job.chat.sampling.clone()) else { return };
        match self.rollouts(&ready, &sampling) {
            Ok(rollouts) => {
                for (one, rollouts) in ready.into_iter().zip(rollouts) {
                    let answered = Answered {
                        samples: rollouts.iter().map(|rollout| Sample::of(rollout, &self.model.processor)).collect(),
                        prompt_tokens: one.prompt.ids().len(),
                        completion_tokens: rollouts.iter().map(Rollout::sampled).sum(),
                    };
                    send(one.job, Ok(answered));
                }
            }
            // One prompt among several is at fault: each is answered alone.
            Err(_) if ready.len() > 1 => ready.into_iter().for_each(|one| self.sample(vec![one])),
            Err(error) => ready.into_iter().for_each(|one| send(one.job, Err(Fault::field("messages", error.clone())))),
        }
    }

    fn rollouts(&self, ready: &[Ready], sampling: &Sampling) -> Result<Vec<Vec<Rollout>>, String> {
        let mut requests = Vec::new();
        let mut owners = Vec::new();
        for (owner, one) in ready.iter().enumerate() {
            for seeds in one.seeds.chunks(MOST_ROWS) {
                let query_id = String::new();
                let (prompt, sampling) = (one.prompt.clone(), sampling.clone());
                requests.push(Request { query_id, prompt, seeds: seeds.to_vec(), sampling, follow: None });
                owners.push(owner);
            }
        }
        let engine = local_engine(self.model, self.batch.max(MOST_ROWS));
        let groups = sample_all(&engine, &self.model.policy, &requests).map_err(|error| error.to_string())?;
        let mut rollouts = vec![Vec::new(); ready.len()];
        for (owner, group) in owners.into_iter().zip(groups) {
            rollouts[owner].extend(group?);
        }
        Ok(rollouts)
    }
}

/// How many prompts from the front may be padded to the longest of them; at least one.
fn fitting(lengths: &[usize], most_tokens: usize) -> usize {
    let mut longest = 0;
    let fits = |(index, length): &(usize, &usize)| {
        longest = longest.max(**length);
        (index + 1) * longest <= most_tokens
    };
    lengths.iter().enumerate().take_while(fits).count().max(1)
}

/// Seeds depend on the request alone: its own seed, what is asked, and the number of the sample.
fn seeds(chat: &Chat, prompt: &PolicyInput) -> Vec<u64> {
    let mut hash = Sha256::new();
    for id in prompt.ids() {
        hash.update(id.to_le_bytes());
    }
    for picture in &chat.pictures {
        hash.update(picture.sha256());
    }
    let key = hex(&hash.finalize());
    (0..chat.samples).map(|sample| seed_of(chat.seed, "serve", &key, sample)).collect()
}

fn refusal(error: PolicyError) -> Fault {
    match error {
        PolicyError::Input(reason) => Fault::field("messages", reason),
        other => Fault::internal(&other.to_string()),
    }
}

fn send(job: Job, answer: Result<Answered, Fault>) {
    // An error means that the client went away while its answer was made.
    drop(job.answer.send(answer));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padded_prompts_stay_within_the_bound() {
        assert_eq!(fitting(&[10, 20, 30], 60), 2);
        assert_eq!(fitting(&[30, 1, 1], 60), 2);
        assert_eq!(fitting(&[10, 10, 10], 30), 3);
        assert_eq!(fitting(&[70, 10], 60), 1);
    }
}
