//! From a case to questions, and from verdicts to a value.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use sapo_datasets::Picture;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::cache::Reply;
use super::canary::{self, CRITERION, Canary};
use super::client::Question;
use super::config::Criterion;
use super::prompt::{Kind, PromptParts};
use super::store::Key;
use super::{Judge, prefilter};
use crate::score::PartScore;
use crate::text::shortened;
use crate::verdict::{Form, NO_YES, Verdict, WINNER};

/// The version of the key: it changes when what it is made of does.
const KEY_VERSION: &str = "judge-cache/1";

/// What is to be judged.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) question: &'a str,
    pub(super) reference: &'a str,
    pub(super) answer: &'a str,
    pub(super) pictures: &'a [Picture],
}

/// A message with what is shown beside it and the form of its verdict.
struct Message {
    text: String,
    form: Arc<Form>,
}

/// A value in 0..=1 and what was said.
struct Judged {
    value: f64,
    said: String,
}

type Step<'a> = Pin<Box<dyn Future<Output = Option<std::result::Result<Judged, super::Fault>>> + Send + 'a>>;

/// What distinguishes criteria in a version: nothing without any.
pub(super) fn criteria_digest(criteria: &[Criterion]) -> String {
    if criteria.is_empty() {
        return String::new();
    }
    let text = serde_json::to_string(criteria).unwrap_or_default();
    let digest = Sha256::digest(text.as_bytes());
    format!(" {:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3])
}

impl Judge {
    /// The score of a case; with it, now and then, comes a canary that is no part of it.
    pub(super) async fn judge(&self, case: &Case<'_>, canaries: bool) -> PartScore {
        let longest = self.config.longest_answer_chars;
        let refused = match self.prompt.kind() {
            Kind::Query => None,
            _ => prefilter::refused(case.answer, case.question, case.reference, longest),
        };
        if let Some(reason) = refused {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return PartScore::verdict(false, format!("not asked: {reason}")).extracted(shortened(case.answer));
        }
        let messages = self.messages(case, &self.config.criteria);
        let rows = canary::rows(self.prompt.kind(), self.prompt.version());
        // The first message stands for the case; what the servers say of themselves does not move the canaries.
        let draw = self.key("", &messages[0], case.pictures, 0);
        let canary = canary::beside(&draw, self.config.canary_share, rows).filter(|_| canaries);
        let mut steps: Vec<Step<'_>> =
            vec![Box::pin(async { Some(self.value(case, &messages, &self.config.criteria).await) })];
        if let Some(canary) = canary {
            steps.push(Box::pin(async {
                self.ask_canary(canary).await;
                None
            }));
        }
        let judged = join_all(steps).await.into_iter().flatten().next();
        match judged {
            Some(Ok(judged)) => {
                let evidence = format!("{} says {}", self.config.model, judged.said);
                PartScore::value(judged.value, evidence).extracted(case.answer)
            }
            Some(Err(fault)) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                PartScore::failed(fault.kind, fault.message).extracted(case.answer)
            }
            None => PartScore::failed(crate::score::FailureKind::Protocol, "the judge was not asked"),
        }
    }

    /// The messages of a case: one, or two where two answers are compared, one in each order.
    fn messages(&self, case: &Case<'_>, criteria: &[Criterion]) -> Vec<Message> {
        let seed = self.config.seed;
        let parts =
            PromptParts { question: case.question, reference: case.reference, answer: case.answer, criteria: "" };
        match self.prompt.kind() {
            Kind::Reference | Kind::Query => {
                vec![Message { text: self.prompt.render(&parts, seed), form: Arc::new(Form::one(NO_YES)) }]
            }
            Kind::Criteria => {
                let lines: Vec<String> = rotated(criteria, case, seed)
                    .into_iter()
                    .map(|criterion| format!("- \"{}\": {}", criterion.name, criterion.text.trim()))
                    .collect();
                let keys = criteria.iter().map(|criterion| criterion.name.clone()).collect();
                let text = self.prompt.render(&PromptParts { criteria: &lines.join("\n"), ..parts }, seed);
                vec![Message { text, form: Arc::new(Form { keys, choices: NO_YES }) }]
            }
            Kind::Pairwise => {
                let swapped = PromptParts { reference: parts.answer, answer: parts.reference, ..parts };
                let form = Arc::new(Form::one(WINNER));
                [parts, swapped]
                    .into_iter()
                    .map(|parts| Message { text: self.prompt.render(&parts, seed), form: Arc::clone(&form) })
                    .collect()
            }
        }
    }

    async fn value(
        &self,
        case: &Case<'_>,
        messages: &[Message],
        criteria: &[Criterion],
    ) -> std::result::Result<Judged, super::Fault> {
        let asked = join_all(messages.iter().map(|message| self.by_majority(message, case.pictures))).await;
        let verdicts = asked.into_iter().collect::<std::result::Result<Vec<Verdict>, super::Fault>>()?;
        Ok(self.reckoned(case, &verdicts, criteria))
    }

    /// What verdicts come to.
    fn reckoned(&self, case: &Case<'_>, verdicts: &[Verdict], criteria: &[Criterion]) -> Judged {
        let yes = |choice: u8| choice == 1;
        match self.prompt.kind() {
            Kind::Reference => {
                let same = yes(verdicts[0][0]);
                let said = format!("{}: same as `{}`?", NO_YES[usize::from(same)], shortened(case.reference));
                Judged { value: f64::from(u8::from(same)), said }
            }
            Kind::Query => {
                let said = NO_YES[usize::from(yes(verdicts[0][0]))];
                Judged {
                    value: f64::from(u8::from(yes(verdicts[0][0]))),
                    said: format!("{said} by {}", self.prompt.version()),
                }
            }
            Kind::Criteria => {
                let all: f64 = criteria.iter().map(|criterion| criterion.weight).sum();
                let told = criteria.iter().zip(&verdicts[0]);
                let held: f64 =
                    told.clone().filter(|(_, choice)| yes(**choice)).map(|(criterion, _)| criterion.weight).sum();
                let said =
                    told.map(|(criterion, choice)| format!("{} {}", criterion.name, NO_YES[usize::from(*choice)]));
                Judged { value: (held / all).clamp(0.0, 1.0), said: said.collect::<Vec<_>>().join(", ") }
            }
            Kind::Pairwise => {
                // A wins in the first order, B in the second: both are the answer. Whatever depends on the order is a tie.
                let (value, said) = match (WINNER[usize::from(verdicts[0][0])], WINNER[usize::from(verdicts[1][0])]) {
                    ("A", "B") => (1.0, "it is better in both orders"),
                    ("B", "A") => (0.0, "it is worse in both orders"),
                    ("tie", "tie") => (0.5, "both are as good"),
                    _ => (0.5, "one thing in one order and another in the other: a tie"),
                };
                Judged { value, said: format!("{said}, beside `{}`", shortened(case.reference)) }
            }
        }
    }

    /// The verdict of the majority of the votes, part by part; of a tie among three choices, the last choice.
    async fn by_majority(&self, message: &Message, pictures: &[Picture]) -> Reply {
        let asked = join_all((0..self.config.votes).map(|vote| self.known(message, pictures, vote))).await;
        if let [only] = &asked[..] {
            return only.clone();
        }
        let mut verdict = Vec::with_capacity(message.form.keys.len());
        for at in 0..message.form.keys.len() {
            let most = |choice: u8| asked.iter().flatten().filter(|verdict| verdict[at] == choice).count();
            let choices = 0..u8::try_from(message.form.choices.len()).unwrap_or(u8::MAX);
            let sure = choices.clone().find(|choice| 2 * most(*choice) > asked.len());
            match (sure, asked.iter().find_map(|asked| asked.as_ref().err())) {
                (Some(choice), _) => verdict.push(choice),
                (None, Some(fault)) => return Err(fault.clone()),
                (None, None) => verdict.push(choices.end.saturating_sub(1)),
            }
        }
        Ok(verdict)
    }

    /// One vote, from the cache when it is known.
    async fn known(&self, message: &Message, pictures: &[Picture], vote: u32) -> Reply {
        let identity = self.identity.get().map_or("", String::as_str);
        let key = self.key(identity, message, pictures, vote);
        let ask = || async { self.client.ask(&question(message, pictures, vote)).await };
        self.cache.get(key, &self.client.watch, |verdict| message.form.fits(verdict), ask).await
    }

    /// What a verdict is kept under: all that it may depend on.
    fn key(&self, identity: &str, message: &Message, pictures: &[Picture], vote: u32) -> Key {
        let sampling = sorted(&Value::Object(self.client.sampling().clone())).to_string();
        let (seed, vote) = (self.config.seed.to_string(), vote.to_string());
        let digest = self.prompt.digest();
        let form = json!([message.form.keys, message.form.choices]).to_string();
        let fields = [
            KEY_VERSION,
            identity,
            &self.config.model,
            self.prompt.version(),
            &digest,
            &sampling,
            &seed,
            &vote,
            &form,
            &message.text,
        ];
        let mut hash = Sha256::new();
        for field in fields.into_iter().chain(pictures.iter().map(Picture::sha256)) {
            hash.update((field.len() as u64).to_le_bytes());
            hash.update(field.as_bytes());
        }
        hash.finalize().into()
    }

    /// Asks a row with a known verdict, past the cache. A row without a verdict tells nothing.
    pub(super) async fn ask_canary(&self, canary: &Canary) {
        let case =
            Case { question: canary.question, reference: canary.reference, answer: canary.answer, pictures: &[] };
        let own =
            [Criterion { name: CRITERION.0.to_owned(), text: CRITERION.1.to_owned(), weight: 1.0, needs_image: false }];
        let messages = self.messages(&case, &own);
        let questions: Vec<Question> = messages.iter().map(|message| question(message, &[], 0)).collect();
        let asked = join_all(questions.iter().map(|question| self.client.ask(question))).await;
        let Ok(verdicts) = asked.into_iter().collect::<std::result::Result<Vec<Verdict>, _>>() else { return };
        let value = self.reckoned(&case, &verdicts, &own).value;
        let right = value == f64::from(u8::from(canary.right));
        if let Some(reason) = self.flock.count(canary, right, self.config.max_canary_failures) {
            self.client.watch.stop(reason);
        }
    }
}

fn question(message: &Message, pictures: &[Picture], vote: u32) -> Question {
    let url = |picture: &Picture| format!("data:{};base64,{}", picture.media_type(), STANDARD.encode(picture.bytes()));
    Question {
        text: message.text.clone(),
        pictures: pictures.iter().map(url).collect(),
        form: Arc::clone(&message.form),
        vote,
    }
}

/// Criteria in an order that depends on the seed and on what is judged, so that no criterion is always the first.
fn rotated<'a>(criteria: &'a [Criterion], case: &Case<'_>, seed: u64) -> Vec<&'a Criterion> {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(case.question.as_bytes());
    hash.update([0]);
    hash.update(case.answer.as_bytes());
    let drawn = hash.finalize();
    let start = usize::from(u16::from_le_bytes([drawn[0], drawn[1]])) % criteria.len().max(1);
    criteria.iter().cycle().skip(start).take(criteria.len()).collect()
}

/// A value whose objects have their keys in order: equal options are equal, however they are written.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut keys: Vec<&String> = fields.keys().collect();
            keys.sort();
            Value::Object(keys.into_iter().map(|key| (key.clone(), sorted(&fields[key]))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}
