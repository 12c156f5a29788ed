//! Which evaluations are compared: the one place that knows, for the summary and the report.

/// Pairs of evaluations to compare, earlier and later, as places in `evaluations`, whose labels stand in the order of the
/// run. `compare` names them; without it the last is compared with the first, then each with the one before. The first
/// pair is what the run is about.
pub fn pairs(evaluations: &[&str], compare: &[[String; 2]]) -> Vec<(usize, usize)> {
    if compare.is_empty() {
        return usual(evaluations);
    }
    let place = |name: &String| evaluations.iter().rposition(|label| label == name);
    let named = compare.iter().filter_map(|[from, to]| place(from).zip(place(to)));
    named.filter(|(from, to)| from != to).collect()
}

/// Evaluations within a phase make a curve, not pairs; only where a run has come no further does the last one count.
fn usual(evaluations: &[&str]) -> Vec<(usize, usize)> {
    let last = evaluations.len().saturating_sub(1);
    let counts = |at: &usize| *at == last || phase_and_step(evaluations[*at]).is_none();
    let ends: Vec<usize> = (0..evaluations.len()).filter(counts).collect();
    let steps = ends.windows(2).map(|pair| (pair[0], pair[1]));
    match ends[..] {
        [first, _, .., last] => std::iter::once((first, last)).chain(steps).collect(),
        _ => steps.collect(),
    }
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
    fn named_pairs_stand_in_their_order_and_may_be_absent() {
        let compare = named(&[["mixed", "rl"], ["init", "rl"], ["rl", "later"], ["rl", "rl"]]);
        assert_eq!(pairs(&["init", "mixed", "rl"], &compare), [(1, 2), (0, 2)]);
        // Of an evaluation that took place twice, the last counts.
        assert_eq!(pairs(&["init", "mixed", "mixed", "rl"], &named(&[["mixed", "rl"]])), [(2, 3)]);
    }

    #[test]
    fn labels_within_a_phase_are_told_from_names_with_the_sign() {
        assert_eq!(phase_and_step("rl@20"), Some(("rl", 20)));
        assert_eq!((phase_and_step("rl"), phase_and_step("rl@home")), (None, None));
    }
}
