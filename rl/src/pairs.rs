//! Which evaluations are compared: the one place that knows, for the summary and the report.

/// Pairs of evaluations to compare, earlier and later, as places in `evaluations`, whose labels stand in the order of the
/// run. Those that `compare` names come first; then the last with the first, and each with the one before and with the
/// first. The first pair is what the run is about.
pub fn pairs(evaluations: &[&str], compare: &[[String; 2]]) -> Vec<(usize, usize)> {
    let place = |name: &String| evaluations.iter().rposition(|label| label == name);
    let named = compare.iter().filter_map(|[from, to]| place(from).zip(place(to)));
    let mut pairs: Vec<(usize, usize)> = Vec::new();
    for pair in named.chain(usual(evaluations)) {
        if pair.0 != pair.1 && !pairs.contains(&pair) {
            pairs.push(pair);
        }
    }
    pairs
}

/// Evaluations within a phase make a curve, not pairs; only where a run has come no further does the last one count.
fn usual(evaluations: &[&str]) -> Vec<(usize, usize)> {
    let last = evaluations.len().saturating_sub(1);
    let counts = |at: &usize| *at == last || phase_and_step(evaluations[*at]).is_none();
    let ends: Vec<usize> = (0..evaluations.len()).filter(counts).collect();
    let (Some(&first), Some(&last)) = (ends.first(), ends.last()) else { return Vec::new() };
    let each = ends.windows(2).flat_map(|pair| [(pair[0], pair[1]), (first, pair[1])]);
    std::iter::once((first, last)).chain(each).collect()
}

/// Phase and step of an evaluation within a phase, which is labelled `PHASE@STEP`; `None` for one after a phase.
pub fn phase_and_step(label: &str) -> Option<(&str, u64)> {
    let (phase, step) = label.rsplit_once('@')?;
    step.parse().ok().map(|step| (phase, step))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(pairs: &[[&str; 2]]) -> Vec<[String; 2]> {
        pairs.iter().map(|pair| pair.map(str::to_owned)).collect()
    }

    #[test]
    fn without_names_the_whole_way_comes_first() {
        assert_eq!(pairs(&["init", "cold", "rl"], &[]), [(0, 2), (0, 1), (1, 2)]);
        assert_eq!(pairs(&["init", "a", "b", "c"], &[]), [(0, 3), (0, 1), (1, 2), (0, 2), (2, 3)]);
        assert_eq!(pairs(&["init", "rl"], &[]), [(0, 1)]);
        assert_eq!(pairs(&["init"], &[]), []);
        assert_eq!(pairs(&[], &[]), []);
    }

    #[test]
    fn evaluations_within_a_phase_are_compared_only_at_the_end() {
        assert_eq!(pairs(&["init", "rl@10", "rl@20", "rl"], &[]), [(0, 3)]);
        assert_eq!(pairs(&["init", "rl@10", "rl@20"], &[]), [(0, 2)]);
    }

    #[test]
    fn named_pairs_come_first_and_may_be_absent() {
        let compare = named(&[["mixed", "rl"], ["rl", "later"], ["rl", "rl"]]);
        assert_eq!(pairs(&["init", "mixed", "rl"], &compare), [(1, 2), (0, 2), (0, 1)]);
        // Of an evaluation that took place twice, the last counts.
        let twice = pairs(&["init", "mixed", "mixed", "rl"], &named(&[["mixed", "rl"]]));
        assert_eq!(twice, [(2, 3), (0, 3), (0, 1), (1, 2), (0, 2)]);
    }

    #[test]
    fn labels_within_a_phase_are_told_from_names_with_the_sign() {
        assert_eq!(phase_and_step("rl@20"), Some(("rl", 20)));
        assert_eq!((phase_and_step("rl"), phase_and_step("rl@home")), (None, None));
    }
}
