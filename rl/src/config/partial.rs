//! Configurations of rewards alone: what a run needs is filled in where nothing is said of a run.

use toml::{Table, Value};

/// Keys that say what a run does.
const OF_RUNS: [&str; 2] = ["run", "phases"];

/// Fills in a run without phases, where a configuration says nothing of what a run does.
pub(super) fn fill(merged: &mut Table) {
    if OF_RUNS.iter().any(|key| merged.contains_key(*key)) {
        return;
    }
    let mut run = Table::new();
    run.insert("name".to_owned(), "rewards".into());
    run.insert("seed".to_owned(), Value::Integer(1));
    run.insert("phases".to_owned(), Value::Array(Vec::new()));
    let mut policy = Table::new();
    policy.insert("model".to_owned(), "tiny".into());
    for (key, table) in OF_RUNS.into_iter().zip([run, Table::new()]) {
        merged.insert(key.to_owned(), Value::Table(table));
    }
    merged.entry("policy").or_insert(Value::Table(policy));
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use sapo_rewards::RewardConfig;

    use crate::config::Config;

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rewards.toml");
        std::fs::write(&file, text).unwrap();
        (folder, file)
    }

    #[test]
    fn rewards_and_rubrics_are_enough_where_nothing_is_trained() {
        let (_folder, file) = written("[rewards.near]\nkind = \"numeric\"\n[rubrics.mine]\ncorrect = \"near\"\n");
        let files = [file];
        let config = Config::compose_rewards(&files, &[]).unwrap();
        assert!(config.run.phases.is_empty() && config.rubrics.contains_key("mine"));
        let (_folder, with_policy) = written("[policy]\nmodel = \"judge\"\n[rewards.near]\nkind = \"numeric\"\n");
        assert_eq!(Config::compose_rewards(&[with_policy], &[]).unwrap().policy.model, "judge");
        let whole = Config::compose(&files, &[]).unwrap_err().to_string();
        assert!(whole.contains("run"), "{whole}");
    }

    #[test]
    fn paths_of_rewards_are_looked_for_beside_the_file() {
        let (folder, file) = written(
            "[rewards.own]\nkind = \"process\"\npython = \"own.py:f\"\ninterpreter = \"venv/bin/python\"\n\
             sandbox = \"auto\"\nread = [\"tables\", \"/usr/share\"]\n",
        );
        for name in ["venv/bin", "tables"] {
            std::fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        for name in ["own.py", "venv/bin/python"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let config = Config::compose_rewards(&[file], &[]).unwrap();
        let RewardConfig::Process(own) = &config.rewards["own"] else { panic!("a process") };
        let beside = |name: &str| folder.path().join(name);
        assert_eq!(own.python, Some(beside("own.py:f").display().to_string()));
        assert_eq!(own.interpreter, beside("venv/bin/python").display().to_string());
        assert_eq!(own.read, [beside("tables"), PathBuf::from("/usr/share")]);
    }

    #[test]
    fn a_configuration_of_a_run_is_not_completed() {
        let (_folder, file) = written("[run]\nname = \"half\"\nseed = 1\nphases = []\n");
        let fault = Config::compose_rewards(&[file], &[]).unwrap_err().to_string();
        assert!(fault.contains("policy"), "{fault}");
    }
}
