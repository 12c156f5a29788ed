//! The `sapo` command with a reward of one's own in Rust, for configs to use by name:
//!
//! ```toml
//! [rewards.brief]
//! kind = "custom"
//! type = "brief"
//! options = { most_words = 12 }
//! ```
//!
//! `cargo run --release --example custom_reward -- train my.toml` is then what `sapo train my.toml` is otherwise.

use std::process::ExitCode;
use std::sync::Arc;

use sapo_rewards::reward::Rule;
use sapo_rewards::{Item, Kinds, PartScore, Reward, RewardSpec};
use serde_json::{Map, Value};

/// 1 for an answer of few words, 0 for any other; nothing can go wrong, so it never fails.
fn brief(name: &str, options: &Map<String, Value>) -> Result<Arc<dyn Reward>, String> {
    let most =
        options.get("most_words").and_then(Value::as_u64).ok_or("options.most_words: a whole number is wanted")?;
    if let Some(unknown) = options.keys().find(|key| *key != "most_words") {
        return Err(format!("options.{unknown}: there is no such option; there is most_words"));
    }
    // The version changes when a verdict can change.
    let spec = RewardSpec::rule(name, "brief/1");
    let check = move |item: &Item<'_>| {
        let words = item.transcript.answer().map_or(usize::MAX, |answer| answer.split_whitespace().count());
        PartScore::verdict(words as u64 <= most, format!("{words} words, {most} at most"))
    };
    Ok(Arc::new(Rule::new(spec, check)))
}

fn main() -> ExitCode {
    sapo::main(Kinds::default().with("brief", brief))
}
