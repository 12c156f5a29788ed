//! What a check has found: counts that add up, source by source.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::inspect::Inspected;
use super::reason::Reason;
use super::target::Target;
use crate::metrics::quantile;

/// Rows of a reason that are shown.
const SHOWN: usize = 3;

/// Numbers of tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tokens(Vec<u32>);

impl Tokens {
    fn add(&mut self, tokens: Option<usize>) {
        self.0.extend(tokens.map(|tokens| u32::try_from(tokens).unwrap_or(u32::MAX)));
    }

    /// Median, 99th percentile and the most; `None` where nothing was counted.
    fn spread(&self) -> Option<[f64; 3]> {
        let mut sorted: Vec<f64> = self.0.iter().map(|tokens| f64::from(*tokens)).collect();
        sorted.sort_by(f64::total_cmp);
        (!sorted.is_empty()).then(|| [0.5, 0.99, 1.0].map(|share| quantile(&sorted, share)))
    }

    fn object(&self) -> Value {
        self.spread().map_or(Value::Null, |[p50, p99, max]| json!({"p50": p50, "p99": p99, "max": max}))
    }
}

/// What was found in one source.
#[derive(Clone, Debug, Default)]
pub struct SourceReport {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Whether it is evaluated on.
    pub is_evaluation: bool,
    /// Whether its rows were compared with each other.
    pub compared: bool,
    /// Rows that were checked.
    pub rows: u64,
    /// Rows without any fault.
    pub good: u64,
    /// Bad rows by their first reason: with the good ones they add up.
    pub first: BTreeMap<Reason, u64>,
    /// Bad rows by all of their reasons.
    pub all: BTreeMap<Reason, u64>,
    /// Good rows that lose pictures to the limit of prompts.
    pub rows_with_dropped_pictures: u64,
    /// What is worth saying of its files: columns that are not read, row groups that are slow.
    pub notes: Vec<String>,
    /// Rows that were compared with some of the rows they met only.
    pub capped: usize,
    prompt_tokens: Tokens,
    response_tokens: Tokens,
    shown: BTreeMap<Reason, Vec<String>>,
}

impl SourceReport {
    pub(super) fn of(target: &Target) -> Self {
        Self {
            name: target.name.clone(),
            address: target.address.clone(),
            is_evaluation: target.is_evaluation,
            compared: !target.may_repeat(),
            notes: target.dataset.notes(),
            ..Self::default()
        }
    }

    pub(super) fn count(&mut self, row: &Inspected) {
        self.rows += 1;
        self.prompt_tokens.add(row.prompt_tokens);
        self.response_tokens.add(row.response_tokens);
        let Some(first) = row.found.first() else {
            self.good += 1;
            self.rows_with_dropped_pictures += u64::from(row.dropped_pictures > 0);
            return;
        };
        *self.first.entry(first.reason).or_default() += 1;
        let mut reasons: Vec<Reason> = row.found.iter().map(|found| found.reason).collect();
        reasons.dedup();
        for reason in reasons {
            *self.all.entry(reason).or_default() += 1;
        }
        let shown = self.shown.entry(first.reason).or_default();
        if shown.len() < SHOWN {
            // Errors of a row name it already.
            let named = first.detail.starts_with(row.place.as_str());
            shown.push(if named { first.detail.clone() } else { format!("{}: {}", row.place, first.detail) });
        }
    }

    /// Bad rows.
    pub fn bad(&self) -> u64 {
        self.rows - self.good
    }

    /// Bad rows as a share of all.
    pub fn bad_share(&self) -> f64 {
        self.bad() as f64 / (self.rows as f64).max(1.0)
    }

    fn object(&self) -> Value {
        let counts = |counts: &BTreeMap<Reason, u64>| -> Value {
            counts.iter().map(|(reason, count)| (reason.name().to_owned(), json!(count))).collect()
        };
        json!({
            "source": self.name,
            "address": self.address,
            "evaluation": self.is_evaluation,
            "rows": self.rows,
            "good": self.good,
            "bad": self.bad(),
            "bad_share": self.bad_share(),
            "reasons": counts(&self.first),
            "all_reasons": counts(&self.all),
            "prompt_tokens": self.prompt_tokens.object(),
            "response_tokens": self.response_tokens.object(),
            "rows_with_dropped_pictures": self.rows_with_dropped_pictures,
            "notes": self.notes,
            "compared": self.compared,
            "not_compared_with_all": self.capped,
        })
    }

    fn lines(&self) -> Vec<String> {
        let part = if self.is_evaluation { ", evaluation" } else { "" };
        let mut lines = vec![format!("{} ({}{part})", self.name, self.address)];
        let mut say = |name: &str, count: u64, about: &str| {
            lines.push(format!("  {name:<18} {count:>9}  {about}").trim_end().to_owned());
        };
        say("rows", self.rows, "");
        say("good", self.good, "");
        for (reason, count) in &self.first {
            say(reason.name(), *count, reason.remedy());
        }
        for (what, tokens) in [("prompt", &self.prompt_tokens), ("response", &self.response_tokens)] {
            if let Some([p50, p99, max]) = tokens.spread() {
                lines.push(format!("  {what} tokens: {p50} in the middle, {p99} at 99 %, {max} at most"));
            }
        }
        if self.rows_with_dropped_pictures > 0 {
            let rows = self.rows_with_dropped_pictures;
            lines.push(format!("  {rows} good rows lose pictures to policy.max_prompt_tokens"));
        }
        lines.extend(self.notes.iter().map(|note| format!("  {note}")));
        if !self.compared {
            lines.push("  generated rows are not searched for duplicates".to_owned());
        }
        if self.capped > 0 {
            lines.push(format!("  {} rows resemble so many others that not all were compared", self.capped));
        }
        for (reason, rows) in &self.shown {
            lines.extend(rows.iter().map(|row| format!("  - {}: {row}", reason.name())));
            let more = self.first.get(reason).copied().unwrap_or(0).saturating_sub(rows.len() as u64);
            lines.extend((more > 0).then(|| format!("  - {}: and {more} more", reason.name())));
        }
        lines
    }
}

/// What was found in all sources.
#[derive(Clone, Debug)]
pub struct Report {
    /// Source by source.
    pub sources: Vec<SourceReport>,
    max_bad_share: f64,
}

impl Report {
    pub(super) fn new(max_bad_share: f64) -> Self {
        Self { sources: Vec::new(), max_bad_share }
    }

    /// Whether no source has more bad rows than are let pass.
    pub fn is_good(&self) -> bool {
        self.sources.iter().all(|source| source.bad_share() <= self.max_bad_share)
    }

    /// All of it as one JSON object.
    pub fn object(&self) -> Value {
        let sum = |count: fn(&SourceReport) -> u64| self.sources.iter().map(count).sum::<u64>();
        json!({
            "v": 1,
            "is_good": self.is_good(),
            "max_bad_share": self.max_bad_share,
            "rows": sum(|source| source.rows),
            "good": sum(|source| source.good),
            "bad": sum(SourceReport::bad),
            "sources": self.sources.iter().map(SourceReport::object).collect::<Vec<_>>(),
        })
    }

    /// All of it for people.
    pub fn text(&self) -> String {
        let mut lines: Vec<String> = self.sources.iter().flat_map(SourceReport::lines).collect();
        let most = self.sources.iter().max_by(|one, other| one.bad_share().total_cmp(&other.bad_share()));
        if let Some(worst) = most {
            let (share, allowed) = (100.0 * worst.bad_share(), 100.0 * self.max_bad_share);
            let verdict = if self.is_good() { "good" } else { "not good" };
            lines.push(format!("{verdict}: at most {share:.2} % of a source is bad, {allowed:.2} % may be"));
        }
        lines.iter().map(|line| format!("{line}\n")).collect()
    }
}
