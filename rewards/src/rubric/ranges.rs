//! The numbers of a rubric, each with its range.

use super::config::RubricConfig;

/// The largest weight, and the largest value of a reward.
const LARGEST: f64 = 1e6;
/// The most tokens that a text may have.
const MOST_TOKENS: usize = 1 << 24;

impl RubricConfig {
    /// The key that is out of its range and what must hold of it, if there is one.
    pub fn fault(&self) -> Option<(String, String)> {
        let parts = [("parts", &self.parts), ("penalties", &self.penalties)];
        let of_parts = parts.into_iter().flat_map(|(list, parts)| {
            parts.iter().enumerate().map(move |(index, part)| (format!("{list}[{index}]"), part))
        });
        let mut checks = vec![("weight".to_owned(), is_weight(self.weight), WEIGHT)];
        for (place, part) in of_parts {
            checks.push((format!("{place}.weight"), is_weight(part.weight), WEIGHT));
            checks.push((format!("{place}.clip"), is_clip(part.clip), CLIP));
        }
        for (index, gate) in self.gates.iter().enumerate() {
            checks.push((
                format!("gates[{index}].min"),
                gate.min.abs() <= LARGEST,
                "must be a number from -1e6 to 1e6",
            ));
        }
        for (key, weight) in
            [("language_penalty", self.language_penalty), ("repetition_penalty", self.repetition_penalty)]
        {
            checks.push((key.to_owned(), weight == 0.0 || is_weight(weight), "must be from 0 to 1e6; 0 turns it off"));
        }
        checks.push(("clip".to_owned(), is_clip(self.clip), CLIP));
        if let Some(overlong) = &self.overlong {
            let tokens = "must be at least 1 and at most 16777216";
            let most = overlong.max_tokens.unwrap_or(MOST_TOKENS);
            let buffer = "must be at least 1, and at most `max_tokens`";
            checks.push(("overlong.max_tokens".to_owned(), (1..=MOST_TOKENS).contains(&most), tokens));
            checks.push(("overlong.buffer_tokens".to_owned(), (1..=most).contains(&overlong.buffer_tokens), buffer));
            checks.push(("overlong.weight".to_owned(), is_weight(overlong.weight), WEIGHT));
        }
        checks.into_iter().find(|(_, holds, _)| !holds).map(|(key, _, reason)| (key, reason.to_owned()))
    }
}

const WEIGHT: &str = "must be above 0 and at most 1e6; penalties are taken off";
const CLIP: &str = "must be [least, greatest], both numbers from -1e6 to 1e6";

fn is_weight(weight: f64) -> bool {
    weight > 0.0 && weight <= LARGEST
}

fn is_clip(clip: Option<[f64; 2]>) -> bool {
    clip.is_none_or(|[least, greatest]| least.abs() <= LARGEST && greatest.abs() <= LARGEST && least <= greatest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_that_is_out_of_range_is_named() {
        let of = |text: &str| serde_json::from_str::<RubricConfig>(text).unwrap().fault().map(|(key, _)| key);
        assert_eq!(of("{}"), None);
        assert_eq!(of(r#"{"weight": 0}"#).as_deref(), Some("weight"));
        let penalty = r#"{"penalties": [{"reward": "length", "weight": -1}]}"#;
        assert_eq!(of(penalty).as_deref(), Some("penalties[0].weight"));
        assert_eq!(of(r#"{"clip": [1, 0]}"#).as_deref(), Some("clip"));
        let overlong = r#"{"overlong": {"max_tokens": 8, "buffer_tokens": 9}}"#;
        assert_eq!(of(overlong).as_deref(), Some("overlong.buffer_tokens"));
    }
}
