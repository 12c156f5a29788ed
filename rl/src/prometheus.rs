//! The metrics of the last step in Prometheus' text format, for whoever watches a run from outside: `metrics.prom`.

use std::collections::BTreeMap;

use serde_json::Value;

/// The file's name in a run's folder.
pub const FILE: &str = "metrics.prom";

/// The text of a line of `metrics.jsonl`: a gauge for each number, with the phase and the metric's own name as labels. A
/// value that is not finite is `NaN` here.
pub fn text(line: &Value) -> String {
    let phase = line["phase"].as_str().unwrap_or_default();
    // Names that differ only in signs fall together; then they are samples of one family, which must stand together.
    let mut families: BTreeMap<String, Vec<(&str, f64)>> = BTreeMap::new();
    for (name, value) in line.as_object().into_iter().flatten() {
        let value = if value.is_null() { Some(f64::NAN) } else { value.as_f64() };
        if let Some(value) = value {
            families.entry(family(name)).or_default().push((name, value));
        }
    }
    let mut text = String::new();
    for (family, samples) in families {
        text.push_str(&format!("# TYPE {family} gauge\n"));
        for (name, value) in samples {
            let (name, phase) = (escaped(name), escaped(phase));
            text.push_str(&format!("{family}{{metric=\"{name}\",phase=\"{phase}\"}} {value}\n"));
        }
    }
    text
}

fn family(name: &str) -> String {
    let plain = |sign: char| if sign.is_ascii_alphanumeric() { sign } else { '_' };
    format!("sapo_{}", name.chars().map(plain).collect::<String>())
}

/// A label's value: three signs have to be written in another way.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use regex::Regex;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_number_is_a_sample_and_every_family_stands_together() {
        let line = json!({
            "step": 12, "phase": "say \"hi\"\\", "secs": 1.5, "train/reward/mean": 0.25, "train/reward/a-b/mean": 1.0,
            "train/reward/a_b/mean": 2.0, "train/reward/a_b_mean": 3.0, "optim/grad_norm": null,
        });
        let text = text(&line);
        let sample =
            Regex::new(r#"^([a-zA-Z_:][a-zA-Z0-9_:]*)\{metric="((?:[^"\\]|\\.)*)",phase="((?:[^"\\]|\\.)*)"\} (\S+)$"#);
        let sample = sample.unwrap();
        let (mut families, mut found): (Vec<String>, BTreeMap<String, String>) = Default::default();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let family = rest.strip_suffix(" gauge").unwrap().to_owned();
                assert!(!families.contains(&family), "{family} comes twice");
                families.push(family);
                continue;
            }
            let parts = sample.captures(line).unwrap_or_else(|| panic!("no sample: {line}"));
            assert_eq!(Some(&parts[1]), families.last().map(String::as_str), "{line}");
            assert_eq!(&parts[3], r#"say \"hi\"\\"#);
            found.insert(parts[2].to_owned(), parts[4].to_owned());
        }
        for (name, value) in line.as_object().unwrap().iter().filter(|(name, _)| *name != "phase") {
            let wanted = value.as_f64().unwrap_or(f64::NAN);
            assert_eq!(found[name].parse::<f64>().unwrap().to_bits(), wanted.to_bits(), "{name}");
        }
        assert_eq!(found.len(), 7);
        assert!(families.contains(&"sapo_train_reward_a_b_mean".to_owned()));
    }
}
