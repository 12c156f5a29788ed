//! Who answers a curation's queries: the policy, another model, or the record of an earlier run.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use sapo_policies::weights::Loading;
use sapo_policies::{Model, PolicyInput};
use sapo_rollouts::{LocalEngine, Request, Sampling, seed_of};

use crate::config::AnsweredBy;
use crate::data::Prompt;
use crate::error::Result;
use crate::records::{Records, read_records};
use crate::run::Run;
use crate::sample::{Generator, Sampled, ScoredGroup, local_engine, refuse_not_finite};
use crate::score::ReadyRubric;

/// Who answers, ready.
pub(super) enum Answers {
    /// The policy of the run.
    Policy,
    /// Another model.
    Model(Box<Model>, LocalEngine),
    /// Outcomes of an earlier run, by query.
    Record(Records),
}

/// Some samples that are wanted of one query.
pub(super) struct Wanted<'a> {
    /// What is scored: the query as it stands.
    pub(super) prompt: Prompt,
    /// What is answered.
    pub(super) input: PolicyInput,
    /// The numbers of the samples; a sample's seed depends on its number alone.
    pub(super) samples: Range<usize>,
    /// What seeds depend on beside the run's seed.
    pub(super) place: &'a str,
    /// How answers are sampled.
    pub(super) sampling: Sampling,
}

impl Answers {
    /// Opens a model or reads a record.
    ///
    /// # Errors
    /// When it cannot be used.
    pub(super) fn open(by: &AnsweredBy, run: &Run<'_>) -> Result<Self> {
        Ok(match by {
            AnsweredBy::Policy => Self::Policy,
            AnsweredBy::Record(path) => Self::Record(read_records(path)?),
            AnsweredBy::Model(path) => {
                let config = run.config;
                let (name, loading) = (path.display().to_string(), Loading::kept_in(config.run.dtype));
                let device = run.model.policy.device();
                let mut model = Model::open_as(&name, config.run.seed, loading, device)?;
                model.limit_prompts(config.policy.prompt_limit());
                let engine = local_engine(&model, config.run.decode_rows, config.run.cache_mib);
                Self::Model(Box::new(model), engine)
            }
        })
    }

    /// What samples and scores; none for a record.
    pub(super) fn generator<'a>(&'a self, run: &'a Run<'_>) -> Option<Generator<'a>> {
        match self {
            Self::Policy => Some(run.generator()),
            Self::Model(model, engine) => {
                Some(Generator { policy: &model.policy, processor: &model.processor, engine, rewards: &run.rewards })
            }
            Self::Record(_) => None,
        }
    }
}

/// Samples and scores what is wanted: in its order, the groups with their samples numbered, or why there is none.
///
/// # Errors
/// When the engine fails as a whole, or a reward died.
pub(super) fn ask(
    generator: Generator<'_>,
    run: &Run<'_>,
    rubrics: &[ReadyRubric],
    wanted: Vec<Wanted<'_>>,
) -> Result<Vec<std::result::Result<ScoredGroup, String>>> {
    let all = wanted.iter().map(|one| one.samples.len()).sum();
    let (mut prompts, mut requests, mut asked) = (Vec::new(), Vec::new(), Vec::new());
    for Wanted { prompt, input, samples, place, sampling } in wanted {
        let id = prompt.query.id.clone();
        let seeds = samples.clone().map(|sample| seed_of(run.config.run.seed, place, &id, sample)).collect();
        requests.push(Request { query_id: id.clone(), prompt: input, seeds, sampling, follow: None });
        prompts.push(prompt);
        asked.push((id, samples.start));
    }
    let progress = run.progress;
    let Sampled { groups, failed, .. } = generator.answer_and_score(prompts, requests, rubrics, &mut |ended| {
        progress.rollouts(ended.rollouts, all);
        ControlFlow::Continue(())
    })?;
    refuse_not_finite(&groups)?;
    let lost: BTreeMap<String, String> = failed.into_iter().map(|lost| (lost.query_id, lost.reason)).collect();
    let mut groups = groups.into_iter();
    let given = asked.into_iter().map(|(id, first)| match lost.get(&id) {
        Some(reason) => Err(reason.clone()),
        None => {
            let mut group = groups.next().ok_or_else(|| "the engine gave no answer".to_owned())?;
            group.rollouts.iter_mut().for_each(|scored| scored.rollout.sample += first);
            Ok(group)
        }
    });
    Ok(given.collect())
}
