//! Answers on their way: from what the model's thread tells to pieces of text with what is recorded of their tokens.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use sapo_datasets::StopReason;
use sapo_policies::processor::Processor;
use sapo_rollouts::{Draw, Rollout};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::encode::Ready;
use super::fault::Fault;
use super::worker::{Job, Order, Told};
use crate::answer_text::AnswerText;

/// A token as replies tell it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    /// Its id.
    pub(super) id: u32,
    /// Written out; a special one by its name.
    pub(super) text: String,
    /// What it adds to the text.
    pub(super) bytes: Vec<u8>,
    /// Its log-prob at temperature 1.
    pub(super) log_prob: f32,
}

impl Token {
    /// Written so that tokens can be told apart: broken characters by their bytes, as OpenAI has it, and an id without a
    /// token by the id, as vLLM has it.
    pub(super) fn name(&self) -> String {
        match std::str::from_utf8(&self.bytes) {
            Ok("") if self.text.is_empty() => format!("token_id:{}", self.id),
            Ok(_) => self.text.clone(),
            Err(_) => self.bytes.iter().fold("bytes:".to_owned(), |name, byte| format!("{name}\\x{byte:02x}")),
        }
    }
}

/// A sampled token with the likeliest ones in its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    /// The sampled one.
    pub(super) token: Token,
    /// The likeliest, likeliest first.
    pub(super) top: Vec<Token>,
}

/// What comes of an answer at a time; an answer is its pieces in a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Piece {
    /// Text that is certain.
    pub(super) text: String,
    /// Its tokens, as far as log-probs are wanted: they may be ahead of the text.
    pub(super) entries: Vec<Entry>,
    /// The ids of its tokens.
    pub(super) ids: Vec<u32>,
    /// Why it ended, in the last piece.
    pub(super) finish: Option<&'static str>,
}

impl Piece {
    fn join(&mut self, next: Self) {
        self.text.push_str(&next.text);
        self.entries.extend(next.entries);
        self.ids.extend(next.ids);
        self.finish = next.finish.or(self.finish);
    }
}

/// One answer on its way.
struct Answer {
    text: AnswerText,
    /// Tokens that were told.
    told: usize,
}

/// All answers to a request on their way, by the number of the choice: the samples of the first prompt, then those of the
/// next.
pub(super) struct Answers {
    ready: Arc<Ready>,
    processor: Arc<Processor>,
    told: UnboundedReceiver<(usize, Told)>,
    answers: Vec<Answer>,
    /// For each part, the choices that its samples are.
    parts: Vec<Vec<usize>>,
    pieces: VecDeque<(usize, Piece)>,
    /// Answers that have not ended.
    left: usize,
    /// Sampled tokens so far.
    pub(super) tokens: usize,
}

impl Answers {
    /// Asks for some choices, by their numbers in rising order; `attempt` tells tries with different seeds apart.
    pub(super) fn ask(
        ready: &Arc<Ready>,
        processor: &Arc<Processor>,
        orders: &Sender<Order>,
        choices: &[usize],
        attempt: usize,
    ) -> Result<Self, Fault> {
        let (answer, told) = unbounded_channel();
        let samples = ready.asked.samples;
        let mut parts = Vec::new();
        for prompt in 0..ready.prompts.len() {
            let part: Vec<usize> = choices.iter().copied().filter(|choice| choice / samples == prompt).collect();
            if part.is_empty() {
                continue;
            }
            let numbers: Vec<usize> = part.iter().map(|choice| choice % samples).collect();
            let request = ready.request(prompt, &numbers, attempt);
            let tokens = ready.asked.stream || ready.asked.log_probs;
            let job = Job { request, part: parts.len(), tokens, answer: answer.clone() };
            orders.send(Order::Ask(Box::new(job))).map_err(|_| Fault::stopping())?;
            parts.push(part);
        }
        let new = || Answer { text: AnswerText::new(&ready.asked.sampling.stop), told: 0 };
        let answers = (0..ready.choices()).map(|_| new()).collect();
        let (ready, processor) = (Arc::clone(ready), Arc::clone(processor));
        let left = choices.len();
        Ok(Self { ready, processor, told, answers, parts, pieces: VecDeque::new(), left, tokens: 0 })
    }

    /// The next piece of any answer, with the number of its choice; nothing when all have ended.
    pub(super) async fn next(&mut self) -> Result<Option<(usize, Piece)>, Fault> {
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                return Ok(Some(piece));
            }
            if self.left == 0 {
                return Ok(None);
            }
            let (part, told) = self.told.recv().await.ok_or_else(|| Fault::internal("the model's thread ended"))?;
            match told {
                Told::Token { sample, draw } => self.token(self.parts[part][sample], draw),
                Told::Ended(rollout) => self.ended(self.parts[part][rollout.sample], &rollout)?,
                // The engine knows what it cannot answer; what it refuses lies in the prompt.
                Told::Failed(reason) => return Err(Fault::body(format!("the model cannot answer this: {reason}"))),
                Told::Cut => return Err(Fault::stopping()),
            }
        }
    }

    /// All pieces, joined, by the numbers of their choices.
    pub(super) async fn whole(&mut self) -> Result<Vec<(usize, Piece)>, Fault> {
        let mut whole = vec![Piece::default(); self.answers.len()];
        while let Some((choice, piece)) = self.next().await? {
            whole[choice].join(piece);
        }
        Ok(whole.into_iter().enumerate().filter(|(_, piece)| piece.finish.is_some()).collect())
    }

    fn token(&mut self, choice: usize, draw: Draw) {
        let mut piece = Piece { text: self.push(choice, draw.token), ..Piece::default() };
        if self.ready.asked.log_probs {
            piece.entries.push(entry(&self.processor, &draw));
        }
        piece.ids.push(draw.token);
        if !piece.text.is_empty() || self.ready.asked.log_probs || self.ready.asked.token_ids {
            self.pieces.push_back((choice, piece));
        }
    }

    /// Takes a token into the text.
    fn push(&mut self, choice: usize, token: u32) -> String {
        let answer = &mut self.answers[choice];
        answer.told += 1;
        self.tokens += 1;
        answer.text.push(self.processor.token_bytes(token))
    }

    fn ended(&mut self, choice: usize, rollout: &Rollout) -> Result<(), Fault> {
        let mut piece = Piece::default();
        let untold: Vec<u32> = rollout.ids().skip(self.answers[choice].told).collect();
        for token in untold {
            piece.text.push_str(&self.push(choice, token));
            piece.ids.push(token);
        }
        let text = &mut self.answers[choice].text;
        piece.text.push_str(&text.finish());
        piece.finish = Some(match rollout.stop {
            _ if text.is_stopped() => "stop",
            StopReason::Eos | StopReason::Stop | StopReason::Tool => "stop",
            StopReason::Length => "length",
            StopReason::Error => return Err(Fault::internal("the model failed on this request")),
        });
        self.pieces.push_back((choice, piece));
        self.left -= 1;
        Ok(())
    }
}

fn entry(processor: &Processor, draw: &Draw) -> Entry {
    let sampled = token(processor, draw.token, draw.untempered.unwrap_or(draw.log_prob));
    Entry { token: sampled, top: draw.top.iter().map(|(id, log_prob)| token(processor, *id, *log_prob)).collect() }
}

fn token(processor: &Processor, id: u32, log_prob: f32) -> Token {
    let bytes = processor.token_bytes(id).to_vec();
    let text = match bytes.is_empty() {
        true => processor.tokenizer().token(id).unwrap_or_default(),
        false => String::from_utf8_lossy(&bytes).into_owned(),
    };
    Token { id, text, bytes, log_prob }
}
