//! Keys of earlier versions, each with the key that took its place: no key is silently ignored or silently understood.

use toml::{Table, Value};

use super::fault::{ConfigError, fault};

/// Refuses keys of earlier versions.
///
/// # Errors
/// Names the first with what to write now.
pub(super) fn refuse(table: &Table) -> Result<(), ConfigError> {
    if let Some(Value::Table(eval)) = table.get("eval")
        && let Some(key) = ["tasks", "apart", "queries_per_task", "rubric", "samples", "seed", "max_new_tokens"]
            .into_iter()
            .find(|key| eval.get(*key).is_some_and(|value| !value.is_table()))
    {
        let reason = "an evaluation has a name now: write [eval.heldout] with data = [\"NAME\", ...] (sources of \
                      [data.NAME]), unaveraged = [...] for `apart`, and queries_per_source";
        return Err(fault(format!("eval.{key}"), reason));
    }
    for (old, new) in KEEP {
        if table.get("run").is_some_and(|run| run.get(old).is_some()) {
            return Err(fault(
                format!("run.{old}"),
                format!("is now `{new}` of run.keep: run.keep = {{ {new} = ... }}"),
            ));
        }
    }
    let check = table.get("run").and_then(|run| run.get("reward_check"));
    if check.is_some_and(|check| check.get("rows_per_task").is_some()) {
        return Err(fault("run.reward_check.rows_per_task", "is now `rows_per_source`"));
    }
    let Some(Value::Table(phases)) = table.get("phases") else { return Ok(()) };
    for (name, phase) in phases {
        let Value::Table(phase) = phase else { continue };
        for (key, now) in PHASE {
            if phase.contains_key(key) {
                return Err(fault(format!("phases.{name}.{key}"), now));
            }
        }
        let entries = phase.get("data").and_then(Value::as_array).into_iter().flatten();
        if entries.filter_map(Value::as_table).any(|entry| entry.contains_key("task")) {
            let now =
                "names a source now: write { use = \"NAME\", share = 1 } with [data.NAME] source = \"synthetic:TASK\"";
            return Err(fault(format!("phases.{name}.data"), now));
        }
    }
    Ok(())
}

/// Keys of `[run]` that are keys of `[run.keep]` now.
pub(super) const KEEP: [(&str, &str); 4] =
    [("keep_checkpoints", "newest"), ("keep_every", "every"), ("keep_phase_ends", "phase_ends"), ("keep_best", "best")];

const PHASE: [(&str, &str); 9] = [
    ("tasks", "is now `data = [{ use = \"NAME\", share = 1 }]` with [data.NAME] source = \"synthetic:TASK\""),
    ("prompts_per_task", "is now `prompts_per_step`: all queries of a step, dealt out by the shares in `data`"),
    ("queries_per_task", "is now `queries_per_source`"),
    ("rubrics", "is now said where the source is used: data = [{ use = \"NAME\", rubric = \"...\" }]"),
    ("spread", "is now `algorithm = { kind = \"...\", advantage_norm = \"population\" }` (or sample, none)"),
    ("filter_live", "is now `filter = { live = true }`"),
    (
        "hasty",
        "is now an option of a generated source: [data.NAME] hasty = 0.5, or data = [{ use = \"NAME\", hasty = 0.5 }]",
    ),
    ("drop_never_solved", "is now `drop = { never_solved = true }`"),
    ("eval_after", "is now said by the evaluation: [eval.NAME] after = [\"PHASE\", ...]"),
];
