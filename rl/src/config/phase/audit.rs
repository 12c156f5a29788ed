//! `[phases.NAME.audit]`: a slice of the rollouts of reinforcement learning, scored again by a second grader.

use sapo_rewards::RewardConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Work;
use crate::config::Config;
use crate::config::data::SourceUse;
use crate::config::fault::{ConfigError, must};

/// A random slice of the rollouts, scored again by a second rubric: what the trained one passes and the second fails shows a
/// policy that pleases its reward. No reward, advantage or weight depends on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditConfig {
    /// The second rubric; rules, functions, programs and judges may be in it.
    pub rubric: String,
    /// The chance of each rollout to be audited, above 0 and at most 1.
    #[serde(default = "share")]
    pub share: f64,
    /// Two graders differ now and then: of the answers that the trained rubric passes, this share may be failed by the second
    /// one. An alarm says that it is more.
    #[serde(default = "tolerated")]
    pub tolerated: f64,
    /// The chance that there is ever an alarm in the phase, however long it goes, while the share is no more than tolerated;
    /// above 0 and at most 0.5.
    #[serde(default = "false_alarm")]
    pub false_alarm: f64,
    /// Whether the first alarm stops the run, at a checkpoint; else it is a warning.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schemars(extend("default" = false))]
    pub stop: bool,
}

/// What an audit costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AuditPlan {
    /// The second rubric.
    pub rubric: String,
    /// Rollouts of the phase.
    pub rollouts: u64,
    /// Those of them that are scored again, on average.
    pub about_audited: u64,
    /// The judges that are asked then, each with its calls, on average: one for each vote.
    pub about_calls: Vec<(String, u64)>,
}

fn share() -> f64 {
    0.02
}

fn tolerated() -> f64 {
    0.05
}

fn false_alarm() -> f64 {
    0.01
}

impl AuditConfig {
    /// What must hold of the audit of a phase whose key is `place`.
    pub(super) fn check(
        &self,
        place: &str,
        config: &Config,
        data: &[SourceUse],
        trained: &str,
    ) -> Result<(), ConfigError> {
        let key = |name: &str| format!("{place}.audit.{name}");
        config.named_rubric(&key("rubric"), &self.rubric)?;
        let second = data.iter().any(|used| config.rubric_of(used, trained) != self.rubric);
        let same = format!("is `{}`, by which all is trained already: a second grader is another one", self.rubric);
        must(second, key("rubric"), &same)?;
        let said = |number: f64, range: &str| format!("is {number:?}; it must be {range}");
        let above_0 = |number: f64, most: f64| number > 0.0 && number <= most;
        must(above_0(self.share, 1.0), key("share"), &said(self.share, "above 0 and at most 1"))?;
        let tolerated = (0.0..1.0).contains(&self.tolerated);
        must(tolerated, key("tolerated"), &said(self.tolerated, "at least 0 and below 1"))?;
        let false_alarm = above_0(self.false_alarm, 0.5);
        must(false_alarm, key("false_alarm"), &said(self.false_alarm, "above 0 and at most 0.5"))
    }

    /// What it costs in a phase that does so much.
    pub fn planned(&self, config: &Config, work: Work) -> AuditPlan {
        let a_step = (work.prompts_per_step * work.rollouts_per_prompt) as u64;
        let rollouts = work.steps.saturating_mul(a_step);
        let about_audited = (rollouts as f64 * self.share).round() as u64;
        let calls = |judge: &str| {
            let votes = match config.rewards.get(judge) {
                Some(RewardConfig::Judge(judge)) => u64::from(judge.votes),
                _ => 1,
            };
            (judge.to_owned(), about_audited.saturating_mul(votes))
        };
        let about_calls = config.judges_of(&self.rubric).into_iter().map(calls).collect();
        AuditPlan { rubric: self.rubric.clone(), rollouts, about_audited, about_calls }
    }
}

impl AuditPlan {
    /// The words for it.
    pub fn line(&self) -> String {
        let Self { rubric, rollouts, about_audited, .. } = self;
        let calls =
            self.about_calls.iter().map(|(judge, calls)| format!("; about {calls} calls of the judge `{judge}`"));
        format!(
            "audit by `{rubric}`: about {about_audited} of {rollouts} rollouts are scored again{}",
            calls.collect::<String>()
        )
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn what_it_costs_is_told_with_the_calls_of_each_judge() {
        let recipes = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../configs/recipes");
        let files = ["rl", "2b", "audit"].map(|name| recipes.join(format!("{name}.toml")));
        let config =
            Config::compose(&files, &["rewards.second.votes=3", "rewards.second.temperature=0.5"].map(str::to_owned))
                .unwrap();
        let kind = config.phases["reasoning"].kind();
        let plan = kind.audit().unwrap().planned(&config, kind.work());
        // 200 steps of 256 queries with 16 rollouts, of which 2 % are asked three times.
        assert_eq!((plan.rollouts, plan.about_audited), (819_200, 16_384));
        assert_eq!(plan.about_calls, [("second".to_owned(), 3 * 16_384)]);
        let said = plan.line();
        assert!(
            said.contains("about 16384 of 819200 rollouts") && said.contains("49152 calls of the judge `second`"),
            "{said}"
        );
        assert!(config.used_rubrics().contains("second"));
    }
}
