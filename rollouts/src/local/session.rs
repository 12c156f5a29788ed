//! Requests that are answered together: new ones join while others are decoded, and a finished one's place is taken at once.
//!
//! A step feeds one token of every running sample, and beside them a bounded number of tokens of prompts that wait, so
//! that a long prompt never stalls the others. When the cache is full, the newest sample gives its blocks up and waits; it
//! reads its tokens again later, and goes on as if nothing had happened.

use std::collections::BTreeMap;

use sapo_datasets::StopReason;
use sapo_policies::{Cache, Context, Fed, Policy};

use super::LocalEngine;
use super::asked::Asked;
use super::drawing;
use super::features::Features;
use super::following::Following;
use super::row::Row;
use crate::engine::{EngineError, Event};
use crate::request::{Next, Request};
use crate::sampler::Draw;

/// Tokens of prompts that are read in one step at most.
const READ_AT_ONCE: usize = 512;

/// What a session is busy with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Samples that wait for a place.
    pub waiting: usize,
    /// Samples that have one.
    pub running: usize,
    /// Blocks of the cache that hold something.
    pub used_blocks: usize,
    /// Blocks that the cache may have.
    pub blocks: usize,
    /// Bytes of a block, keys and values of all layers.
    pub block_bytes: usize,
    /// Pictures that went through the vision tower so far.
    pub pictures_seen: usize,
    /// How often a sample gave its blocks up so far.
    pub evicted: usize,
}

/// Requests that are answered together.
#[derive(Debug)]
pub struct Session<'a> {
    engine: &'a LocalEngine,
    policy: &'a Policy,
    cache: Cache,
    /// By number; those with samples that have not ended.
    asked: BTreeMap<usize, Asked>,
    /// Samples that have a place, the one that took it first in front.
    running: Vec<Row>,
    /// Samples that have a place and wait for another's turn.
    following: Following,
    refused: Vec<(usize, String)>,
    submitted: usize,
    features: Features,
    evicted: usize,
}

/// A part of a step.
enum Part {
    /// Tokens of the running sample with this index.
    Row(usize, usize),
    /// Tokens of the prompt of the request with this number.
    Prompt(usize, usize),
}

impl<'a> Session<'a> {
    pub(super) fn new(engine: &'a LocalEngine, policy: &'a Policy) -> Self {
        let blocks = engine.cache_bytes / Cache::block_bytes(&policy.config);
        Self {
            engine,
            policy,
            cache: Cache::new(policy, blocks),
            asked: BTreeMap::new(),
            running: Vec::new(),
            following: Following::default(),
            refused: Vec::new(),
            submitted: 0,
            features: Features::default(),
            evicted: 0,
        }
    }

    /// Takes a request and gives its number, by which events name it. What cannot be answered is told by the next
    /// [`Session::step`].
    pub fn submit(&mut self, request: Request) -> usize {
        let number = self.submitted;
        self.submitted += 1;
        match self.fault(&request) {
            Some(reason) => self.refused.push((number, reason)),
            None if request.seeds.is_empty() => {}
            None => drop(self.asked.insert(number, Asked::new(number, request, self.policy))),
        }
        number
    }

    /// Why a request cannot be answered, if it cannot.
    fn fault(&self, request: &Request) -> Option<String> {
        let prompt = &request.prompt;
        let ends_in_picture = prompt.spans().last().is_some_and(|span| span.start + span.len == prompt.ids().len());
        if prompt.ids().is_empty() || ends_in_picture {
            return Some("a prompt must end with a text token, so that an answer can follow it".to_owned());
        }
        let vocabulary = self.policy.config.text.vocab_size;
        if let Some(id) = prompt.ids().iter().find(|id| **id as usize >= vocabulary) {
            return Some(format!("the prompt has the id {id}, and the vocabulary ends at {}", vocabulary - 1));
        }
        if let Some((key, reason)) = request.sampling.fault() {
            return Some(format!("{key} {reason}"));
        }
        if !request.sampling.stop.is_empty() && self.engine.processor.is_none() {
            return Some("stop texts need a tokenizer, and this engine has none".to_owned());
        }
        let tokens = prompt.ids().len() + request.sampling.max_new_tokens;
        let (blocks, all) = (Cache::blocks_of(tokens) + 1, self.cache.total_blocks());
        (blocks > all).then(|| {
            let needed = (blocks * Cache::block_bytes(&self.policy.config)) >> 20;
            format!(
                "a prompt of {} tokens and {} new ones need {needed} MiB of keys and values, and the cache may have {} MiB; \
                 ask for fewer, or give the cache more",
                prompt.ids().len(),
                request.sampling.max_new_tokens,
                self.engine.cache_bytes >> 20
            )
        })
    }

    /// Forgets a request: nothing more is told of it, and its places are free.
    pub fn cancel(&mut self, request: usize) {
        self.refused.retain(|(number, _)| *number != request);
        let (gone, running) = std::mem::take(&mut self.running).into_iter().partition(|row| row.request == request);
        self.running = running;
        let gone: Vec<Row> = gone;
        for mut row in gone.into_iter().chain(self.following.forget(request)) {
            let context = row.forget();
            self.give_back(context);
        }
        self.close(request);
    }

    /// Ends a running sample with the tokens that it has, as if its limit had been here; one that does not run stays as it is.
    pub fn cut(&mut self, request: usize, sample: usize, events: &mut dyn FnMut(Event)) {
        if let Some(index) = self.running.iter().position(|row| row.request == request && row.sample == sample) {
            let mut row = self.running.remove(index);
            row.end_turn(StopReason::Length, None);
            self.finish(row, StopReason::Length, events);
        }
    }

    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.asked.is_empty() && self.refused.is_empty()
    }

    /// What there is to do.
    pub fn load(&self) -> Load {
        Load {
            waiting: self.asked.values().map(|asked| asked.waiting.len()).sum(),
            running: self.running.len() + self.following.len(),
            used_blocks: self.cache.used_blocks(),
            blocks: self.cache.total_blocks(),
            block_bytes: Cache::block_bytes(&self.policy.config),
            pictures_seen: self.features.computed,
            evicted: self.evicted,
        }
    }

    /// One step: reads some of the prompts that wait and draws a token of every running sample. Where all wait for somebody
    /// else's turn, it waits for one.
    ///
    /// # Errors
    /// When the engine as a whole cannot go on.
    pub fn step(&mut self, events: &mut dyn FnMut(Event)) -> Result<(), EngineError> {
        for (request, reason) in std::mem::take(&mut self.refused) {
            events(Event::Failed { request, reason });
        }
        self.hear(events);
        self.start_samples();
        let mut left = READ_AT_ONCE;
        let mut parts = self.rows_to_feed(&mut left, events);
        parts.extend(self.prompts_to_read(left));
        let draws = self.feed(&parts);
        self.take(draws, events);
        Ok(())
    }

    /// Takes the turns that others have said.
    fn hear(&mut self, events: &mut dyn FnMut(Event)) {
        let nobody_waits = || self.asked.values().all(|asked| asked.waiting.is_empty());
        let idle = self.running.is_empty() && (self.places() == 0 || nobody_waits());
        for (mut row, next) in self.following.heard(idle) {
            match next {
                Next::End => {
                    let stop = row.stop();
                    self.finish(row, stop, events);
                }
                Next::Turn { role, input } if is_turn(&input, self.policy.config.text.vocab_size) => {
                    let features = self.features.of(self.policy, &input);
                    row.inject(role, input, self.policy.config.vision.spatial_merge_size, features);
                    if row.context.is_some() {
                        self.running.push(row);
                    } else if let Some(asked) = self.asked.get_mut(&row.request) {
                        asked.waiting.push_front(row);
                    }
                }
                Next::Turn { .. } | Next::Fail(_) => self.finish(row, StopReason::Error, events),
            }
        }
    }

    /// Places that are free.
    fn places(&self) -> usize {
        self.engine.max_rows.saturating_sub(self.running.len() + self.following.len())
    }

    fn free_blocks(&self) -> usize {
        self.cache.total_blocks() - self.cache.used_blocks()
    }

    /// Gives places to samples whose prompts were read.
    fn start_samples(&mut self) {
        let ready = self.asked.iter().filter(|(_, asked)| !asked.waiting.is_empty() && asked.unread().is_empty());
        for number in ready.map(|(number, _)| *number).collect::<Vec<usize>>() {
            // Room for one may have been made by forgetting what was read for another.
            let ready = |asked: &Asked| !asked.waiting.is_empty() && asked.unread().is_empty();
            while self.places() > 0 && self.asked.get(&number).is_some_and(ready) {
                if !self.start_sample(number) && !self.make_room_but_for(number) {
                    return;
                }
            }
        }
    }

    /// Gives a place to a sample of a request whose prompt was read; `false` when the cache has no room for it.
    fn start_sample(&mut self, number: usize) -> bool {
        // A block for each of the others must be left, or it would soon be sent away again.
        let room = self.free_blocks() > self.running.len();
        let Some(asked) = self.asked.get_mut(&number) else { return false };
        let context = asked.take_context().unwrap_or_else(|| self.cache.open());
        let own = if asked.waiting.len() == 1 {
            // The last one needs no copy.
            Some(context)
        } else {
            let own = if room { self.cache.fork(&context) } else { None };
            asked.put_context(context);
            own
        };
        let Some(own) = own else { return false };
        let Some(mut row) = asked.waiting.pop_front() else { return false };
        row.context = Some(own);
        self.running.push(row);
        true
    }

    /// When nobody runs who will give blocks back, takes some from the newest prompt that was read, other than that of a
    /// request, or from a sample that waits for somebody else. `false` when there are none.
    fn make_room_but_for(&mut self, number: usize) -> bool {
        if !self.running.is_empty() {
            return false;
        }
        let others = self.asked.iter_mut().rev().filter(|(other, _)| **other != number);
        let held = others.into_iter().find_map(|(_, asked)| asked.take_context());
        let held = held.or_else(|| self.following.forget_one());
        let found = held.is_some();
        self.give_back(held);
        found
    }

    /// One token of each running sample, more of those that have more to read, with room for them in the cache.
    fn rows_to_feed(&mut self, left: &mut usize, events: &mut dyn FnMut(Event)) -> Vec<Part> {
        let (mut parts, mut index) = (Vec::new(), 0);
        while index < self.running.len() {
            let row = &mut self.running[index];
            let count = if row.unread() == 1 { 1 } else { row.unread().min(*left) };
            let room = row.context.as_mut().is_none_or(|context| self.cache.reserve(context, count));
            if room {
                *left -= if self.running[index].unread() == 1 { 0 } else { count };
                parts.extend((count > 0).then_some(Part::Row(index, count)));
                index += 1;
            } else if !self.evict(index) {
                // It is alone, and the cache is too small for it: its turns from outside were too long.
                let mut row = self.running.remove(index);
                let context = row.forget();
                self.give_back(context);
                self.finish(row, StopReason::Error, events);
            }
        }
        parts
    }

    /// Makes room for the running sample `index`: prompts that were read, then the newest sample give up what they have.
    /// `false` when it is alone.
    fn evict(&mut self, index: usize) -> bool {
        let held = self.asked.values_mut().rev().find_map(Asked::take_context);
        let held = held.or_else(|| self.following.forget_one());
        if let Some(context) = held {
            self.cache.release(context);
            return true;
        }
        if self.running.len() == 1 {
            return false;
        }
        self.evicted += 1;
        // Perhaps it is the newest itself.
        debug_assert!(index < self.running.len());
        if let Some(mut row) = self.running.pop() {
            let context = row.forget();
            self.give_back(context);
            if let Some(asked) = self.asked.get_mut(&row.request) {
                asked.waiting.push_front(row);
            }
        }
        true
    }

    /// Tokens of prompts, so many at most, whose samples could start soon, with room for them in the cache.
    fn prompts_to_read(&mut self, mut left: usize) -> Vec<Part> {
        let mut places = self.places();
        let mut parts = Vec::new();
        for number in self.asked.keys().copied().collect::<Vec<usize>>() {
            if places == 0 || left == 0 {
                break;
            }
            let Some(asked) = self.asked.get(&number) else { continue };
            places = places.saturating_sub(asked.waiting.len());
            let count = asked.unread().len().min(left);
            if asked.waiting.is_empty() || count == 0 {
                continue;
            }
            if !self.room_for_prompt(number, count, parts.is_empty()) {
                break;
            }
            if let Some(asked) = self.asked.get_mut(&number) {
                asked.see(self.policy, &mut self.features);
            }
            left -= count;
            parts.push(Part::Prompt(number, count));
        }
        parts
    }

    /// Makes room for more tokens of a prompt, unless running samples will need what is left. The first of a step is read
    /// in any case when nobody runs.
    fn room_for_prompt(&mut self, number: usize, count: usize, first: bool) -> bool {
        loop {
            let free = self.free_blocks();
            let Some(asked) = self.asked.get_mut(&number) else { return false };
            let start = asked.unread().start;
            let needed = Cache::blocks_of(start + count) - Cache::blocks_of(start);
            if free >= needed + self.running.len() {
                let mut context = asked.take_context().unwrap_or_else(|| self.cache.open());
                let room = self.cache.reserve(&mut context, count);
                asked.put_context(context);
                return room;
            }
            if !first || !self.make_room_but_for(number) {
                return false;
            }
        }
    }

    /// Feeds the parts of a step, and draws a token of each sample that has read all it has.
    fn feed(&mut self, parts: &[Part]) -> Vec<(usize, Draw)> {
        let mut contexts: Vec<Context> = parts.iter().map(|part| self.take_context(part)).collect();
        let mut fed: Vec<Fed<'_>> = Vec::with_capacity(parts.len());
        for (part, context) in parts.iter().zip(&mut contexts) {
            match part {
                Part::Row(index, count) => fed.push(self.running[*index].fed(context, *count)),
                Part::Prompt(number, count) => {
                    let asked = &self.asked[number];
                    let start = context.tokens();
                    fed.push(asked.fed(context, start..start + count));
                }
            }
        }
        // On a thread of the pool: from outside, each of the many products of a step would wake the pool and wait for it.
        let (policy, cache) = (self.policy, &mut self.cache);
        let logits = rayon::scope(|_| policy.feed(cache, &mut fed));
        for (part, context) in parts.iter().zip(contexts) {
            match part {
                Part::Row(index, count) => {
                    let row = &mut self.running[*index];
                    row.has_read(*count);
                    row.context = Some(context);
                }
                Part::Prompt(number, _) => {
                    if let Some(asked) = self.asked.get_mut(number) {
                        asked.put_context(context);
                    }
                }
            }
        }
        let row_of = |number: &usize| match parts[*number] {
            Part::Row(index, _) => Some(index),
            Part::Prompt(..) => None,
        };
        let logits = logits.into_iter().map(|of| (of.numbers.iter().filter_map(row_of).collect(), of)).collect();
        drawing::draw(&mut self.running, &self.asked, logits)
    }

    fn take_context(&mut self, part: &Part) -> Context {
        let context = match part {
            Part::Row(index, _) => self.running[*index].context.take(),
            Part::Prompt(number, _) => self.asked.get_mut(number).and_then(Asked::take_context),
        };
        context.unwrap_or_else(|| self.cache.open())
    }

    /// Takes the tokens that were drawn, in the order of the running samples.
    fn take(&mut self, draws: Vec<(usize, Draw)>, events: &mut dyn FnMut(Event)) {
        let mut ended = Vec::new();
        for (index, draw) in draws {
            let row = &mut self.running[index];
            let sampling = &self.asked[&row.request].request.sampling;
            let ends = row.take(&draw, sampling, &self.engine.stop_ids, self.engine.processor.as_deref());
            ended.extend(ends.then_some(index));
            events(Event::Token { request: row.request, sample: row.sample, draw });
        }
        // From the back, so that the numbers of the others stay.
        let rows: Vec<Row> = ended.iter().rev().map(|index| self.running.remove(*index)).collect();
        for row in rows.into_iter().rev() {
            // Samples of a request that has enough of them by now are gone.
            let Some(asked) = self.asked.get(&row.request) else { continue };
            let goes_on = matches!(row.stop(), StopReason::Eos | StopReason::Stop);
            match &asked.request.follow {
                Some(follow) if goes_on && row.tokens() < asked.request.sampling.max_new_tokens => {
                    self.following.ask(row, follow);
                }
                _ => {
                    let stop = row.stop();
                    self.finish(row, stop, events);
                }
            }
        }
    }

    /// Records a sample that has ended.
    fn finish(&mut self, mut row: Row, stop: StopReason, events: &mut dyn FnMut(Event)) {
        let (request, context) = (row.request, row.forget());
        self.give_back(context);
        events(Event::Ended { request, rollout: row.record(stop, self.engine.version) });
        let Some(asked) = self.asked.get_mut(&request) else { return };
        asked.open -= 1;
        if asked.open == 0 {
            self.close(request);
        }
    }

    /// Lets go of what a request holds.
    fn close(&mut self, request: usize) {
        let Some(mut asked) = self.asked.remove(&request) else { return };
        let context = asked.take_context();
        self.give_back(context);
        drop(asked);
        self.features.forget_unused();
    }

    fn give_back(&mut self, context: Option<Context>) {
        if let Some(context) = context {
            self.cache.release(context);
        }
    }
}

/// Whether a policy can go on after a turn: it ends with text, and its ids are of the vocabulary.
fn is_turn(input: &sapo_policies::PolicyInput, vocabulary: usize) -> bool {
    let ends_in_picture = input.spans().last().is_some_and(|span| span.start + span.len == input.ids().len());
    !input.ids().is_empty() && !ends_in_picture && input.ids().iter().all(|id| (*id as usize) < vocabulary)
}
