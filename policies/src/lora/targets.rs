//! Which linear maps get an adapter: names by their ends or a regular expression of the whole path, as PEFT reads them.

use std::collections::BTreeSet;

use fancy_regex::Regex;
use serde::{Deserialize, Serialize};

use crate::nearest::nearest;
use crate::part::Part;

/// The word for all linear maps.
const ALL_LINEAR: &str = "all-linear";

/// Linear maps, by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum Targets {
    /// `all-linear`, or a regular expression that the whole path must match.
    Pattern(String),
    /// Whole paths, or their ends: `q_proj` names every `...self_attn.q_proj`.
    Names(Vec<String>),
}

/// A named part of a model in the reference implementation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Module {
    /// Its path.
    pub(crate) name: String,
    /// The shape of its weight in files; empty where it has none.
    pub(crate) shape: Vec<usize>,
    /// Whether an adapter can stand beside it.
    pub(crate) takes_adapter: bool,
}

/// [`Targets`], ready to be asked.
enum Matcher<'a> {
    AllLinear,
    Names(&'a [String]),
    Whole(Regex),
}

impl Targets {
    /// What is wrong with it whatever the model, if something is.
    pub(crate) fn fault(&self) -> Option<String> {
        match self {
            Self::Names(names) if names.is_empty() => Some("is empty; name a linear map".to_owned()),
            Self::Names(names) if names.iter().any(String::is_empty) => Some("has an empty name".to_owned()),
            _ => Matcher::new(self).err().map(|reason| format!("cannot be used: {reason}")),
        }
    }
}

impl<'a> Matcher<'a> {
    fn new(targets: &'a Targets) -> Result<Self, String> {
        match targets {
            Targets::Names(names) => Ok(Self::Names(names)),
            Targets::Pattern(word) if word == ALL_LINEAR => Ok(Self::AllLinear),
            Targets::Pattern(pattern) => Ok(Self::Whole(whole(pattern)?)),
        }
    }

    fn matches(&self, module: &Module) -> Result<bool, String> {
        match self {
            Self::AllLinear => Ok(module.takes_adapter && module.shape.len() == 2),
            Self::Names(names) => Ok(names.iter().any(|name| ends_in(&module.name, name))),
            Self::Whole(pattern) => asked(pattern, &module.name),
        }
    }
}

/// A regular expression that must match a whole text.
fn whole(pattern: &str) -> Result<Regex, String> {
    Regex::new(&format!(r"\A(?:{pattern})\z"))
        .map_err(|error| format!("`{pattern}` is not a regular expression: {error}"))
}

fn asked(pattern: &Regex, text: &str) -> Result<bool, String> {
    pattern.is_match(text).map_err(|error| format!("a regular expression is too much work: {error}"))
}

fn ends_in(path: &str, end: &str) -> bool {
    path.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// Values by patterns that the end of a path must match, as PEFT looks up ranks and alphas.
pub(crate) struct ByPattern<T> {
    patterns: Vec<(Regex, T)>,
}

impl<T: Copy> ByPattern<T> {
    pub(crate) fn new(patterns: &[(String, T)]) -> Result<Self, String> {
        let ready = |(pattern, value): &(String, T)| Ok((whole(&format!(r"(?:.*\.)?(?:{pattern})"))?, *value));
        Ok(Self { patterns: patterns.iter().map(ready).collect::<Result<_, String>>()? })
    }

    /// The value of the first pattern that matches.
    pub(crate) fn of(&self, path: &str) -> Result<Option<T>, String> {
        for (pattern, value) in &self.patterns {
            if asked(pattern, path)? {
                return Ok(Some(*value));
            }
        }
        Ok(None)
    }
}

/// The names of the maps that `targets` but not `exclude` name. When `each`, every name must find something.
pub(crate) fn choose(
    modules: &[Module],
    targets: &Targets,
    exclude: Option<&Targets>,
    each: bool,
) -> Result<Vec<String>, String> {
    let found = Matcher::new(targets)?;
    let excluded = exclude.map(Matcher::new).transpose()?;
    let mut chosen = Vec::new();
    for module in modules {
        let out = match &excluded {
            Some(excluded) => excluded.matches(module)?,
            None => false,
        };
        if out || !found.matches(module)? {
            continue;
        }
        if module.takes_adapter {
            chosen.push(module.name.clone());
        } else if matches!(found, Matcher::Names(_)) {
            return Err(no_adapter_beside(&module.name));
        }
    }
    if let (true, Targets::Names(names)) = (each, targets) {
        let useless = names.iter().find(|name| !modules.iter().any(|module| ends_in(&module.name, name)));
        if let Some(name) = useless {
            return Err(unknown(name, modules));
        }
    }
    match (chosen.is_empty(), targets) {
        (false, _) => Ok(chosen),
        (true, Targets::Names(names)) => Err(unknown(&names.join("`, `"), modules)),
        (true, Targets::Pattern(pattern)) => Err(format!("`{pattern}` matches no linear map of this model")),
    }
}

/// Why an adapter cannot stand beside something.
pub(crate) fn no_adapter_beside(name: &str) -> String {
    let why = match Part::of(&format!("{name}.")) {
        Part::Router | Part::Experts => {
            "routers and fused experts take no adapter: the reference has no linear map there"
        }
        _ => "it is not a linear map",
    };
    format!("`{name}` cannot have an adapter: {why}")
}

fn unknown(name: &str, modules: &[Module]) -> String {
    let last = |module: &Module| module.name.rsplit('.').next().unwrap_or_default().to_owned();
    let known: BTreeSet<String> = modules.iter().filter(|module| module.takes_adapter).map(last).collect();
    let experts = match name.rsplit('.').next() {
        Some("down_proj" | "gate_proj" | "up_proj" | "gate_up_proj")
            if modules.iter().any(|module| module.name.ends_with(".mlp.experts")) =>
        {
            " (fused experts take no adapter)"
        }
        _ => "",
    };
    format!("`{name}` is not a linear map of this model{experts}{}", nearest(name, known.iter().map(String::as_str)))
}

/// The targets to write into files: as they were said when PEFT would choose the same maps by them, else every path.
pub(crate) fn as_peft_reads_them(
    modules: &[Module],
    targets: &Targets,
    exclude: Option<&Targets>,
    chosen: &[String],
) -> Targets {
    let same = Matcher::new(targets).and_then(|matcher| {
        let excluded = exclude.map(Matcher::new).transpose()?;
        for module in modules {
            let out = excluded.as_ref().map_or(Ok(false), |excluded| excluded.matches(module))?;
            if (!out && matcher.matches(module)?) != chosen.contains(&module.name) {
                return Ok(false);
            }
        }
        Ok(*targets != Targets::Pattern(ALL_LINEAR.to_owned()))
    });
    if same == Ok(true) { targets.clone() } else { Targets::Names(chosen.to_vec()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(name: &str) -> Module {
        let takes_adapter = ["q_proj", "proj", "fc1"].iter().any(|end| ends_in(name, end));
        Module { name: name.to_owned(), shape: vec![4, 4], takes_adapter }
    }

    fn model() -> Vec<Module> {
        ["model.a.0", "model.a.0.q_proj", "model.a.1.q_proj", "model.a.norm", "model.b.proj", "model.b.fc1"]
            .map(module)
            .to_vec()
    }

    fn names(all: &[&str]) -> Targets {
        Targets::Names(all.iter().map(|name| (*name).to_owned()).collect())
    }

    fn pattern(text: &str) -> Targets {
        Targets::Pattern(text.to_owned())
    }

    #[test]
    fn names_are_whole_or_ends_after_a_dot() {
        let chosen = |targets: &Targets| choose(&model(), targets, None, true);
        assert_eq!(chosen(&names(&["q_proj"])).unwrap(), ["model.a.0.q_proj", "model.a.1.q_proj"]);
        assert_eq!(chosen(&names(&["1.q_proj"])).unwrap(), ["model.a.1.q_proj"]);
        // `proj` is the end of `q_proj`, but not after a dot.
        assert_eq!(chosen(&names(&["proj"])).unwrap(), ["model.b.proj"]);
        assert_eq!(chosen(&names(&["model.b.fc1"])).unwrap(), ["model.b.fc1"]);
        assert!(chosen(&names(&["q_prj"])).unwrap_err().contains("did you mean `q_proj`"));
        assert!(chosen(&names(&["norm"])).unwrap_err().contains("not a linear map"));
        assert_eq!(choose(&model(), &names(&["q_proj"]), Some(&names(&["0.q_proj"])), true).unwrap().len(), 1);
    }

    #[test]
    fn patterns_match_the_whole_path() {
        let chosen = |text: &str| choose(&model(), &pattern(text), None, true);
        assert_eq!(chosen(r".*\.a\.\d+\.q_proj").unwrap().len(), 2);
        assert_eq!(chosen(r"^(?!.*\.a\.).*proj$").unwrap(), ["model.b.proj"], "PEFT users look ahead");
        assert!(chosen("q_proj").unwrap_err().contains("matches no linear map"), "a whole path, not a part");
        assert!(chosen("(").unwrap_err().contains("not a regular expression"));
        assert_eq!(chosen(ALL_LINEAR).unwrap().len(), 4);
    }

    #[test]
    fn a_pattern_that_never_ends_is_refused() {
        let all = vec![Module { name: "a".repeat(64), ..module("x.fc1") }];
        let error = choose(&all, &pattern(r"(?=(a+)+$)(?:(a|aa)+)+b"), None, true).unwrap_err();
        assert!(error.contains("too much work") || error.contains("matches no"), "{error}");
    }

    #[test]
    fn ranks_are_looked_up_from_the_end() {
        let patterns = [("q_proj".to_owned(), 2), (r"b\..*".to_owned(), 3), ("^model.b.fc1".to_owned(), 4)];
        let of = |patterns, path| ByPattern::new(patterns).unwrap().of(path).unwrap();
        assert_eq!(of(&patterns, "model.a.0.q_proj"), Some(2));
        assert_eq!(of(&patterns, "model.b.proj"), Some(3));
        assert_eq!(of(&patterns[2..], "model.b.fc1"), Some(4));
        assert_eq!(of(&patterns, "model.a.norm"), None);
        assert!(ByPattern::new(&[("(".to_owned(), 1)]).is_err());
    }

    #[test]
    fn what_peft_would_read_otherwise_is_written_in_full() {
        let written = |targets: Targets| {
            let chosen = choose(&model(), &targets, None, true).unwrap();
            as_peft_reads_them(&model(), &targets, None, &chosen)
        };
        assert_eq!(written(names(&["q_proj"])), names(&["q_proj"]));
        assert_eq!(written(pattern(r".*q_proj")), pattern(r".*q_proj"));
        // It matches `model.a.0` and the norm as well, beside which PEFT can put nothing.
        assert_eq!(written(pattern(r"model\.a.*")), names(&["model.a.0.q_proj", "model.a.1.q_proj"]));
        assert!(matches!(written(pattern(ALL_LINEAR)), Targets::Names(all) if all.len() == 4));
    }
}
