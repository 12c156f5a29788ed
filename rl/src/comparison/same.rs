//! Whether two evaluations are of the same queries: by id, and where both tell, by ground truth and pictures.

use std::collections::BTreeMap;

use super::read::{Recorded, RecordedQuery};

/// What two evaluations have in common.
pub(super) struct Shared<'a> {
    /// Ids of queries that are the same in both, in order.
    pub(super) ids: Vec<&'a str>,
    only_a: Vec<&'a str>,
    only_b: Vec<&'a str>,
    /// Ids that both have, of queries that are not the same.
    changed: Vec<&'a str>,
}

impl<'a> Shared<'a> {
    pub(super) fn of(a: &'a Recorded, b: &'a Recorded) -> Self {
        let lacking = |one: &'a Recorded, other: &'a Recorded| -> Vec<&'a str> {
            let ids = one.queries.keys().filter(|id| !other.queries.contains_key(*id));
            ids.map(String::as_str).collect()
        };
        let both = a.queries.iter().filter_map(|(id, query)| Some((id.as_str(), query, b.queries.get(id)?)));
        let (same, changed): (Vec<_>, Vec<_>) = both.partition(|(_, a, b)| is_same(a, b));
        Self {
            ids: same.into_iter().map(|(id, ..)| id).collect(),
            only_a: lacking(a, b),
            only_b: lacking(b, a),
            changed: changed.into_iter().map(|(id, ..)| id).collect(),
        }
    }

    /// Whether both have the same queries and no other.
    pub(super) fn is_all(&self) -> bool {
        self.left_out() == 0
    }

    /// Queries that are not shared.
    pub(super) fn left_out(&self) -> usize {
        self.only_a.len() + self.only_b.len() + self.changed.len()
    }

    /// Why the two are not compared.
    pub(super) fn refusal(&self, a: &Recorded, b: &Recorded) -> String {
        let mut said = vec![match self.ids.len() {
            1 => "1 query is shared".to_owned(),
            count => format!("{count} queries are shared"),
        }];
        let mut say = |ids: &[&str], of: &Recorded, how: &str| {
            if let Some(first) = ids.first() {
                let (count, tasks) = (ids.len(), tasks(ids, of));
                said.push(format!("{count} {how} ({tasks}; the first: `{first}`)"));
            }
        };
        say(&self.only_a, a, "only in A");
        say(&self.only_b, b, "only in B");
        say(&self.changed, b, "with the same id but another ground truth or picture");
        let remedy = match self.ids.is_empty() {
            true => "evaluate both on the same data with the same seed",
            false => "evaluate both on the same data with the same seed, or compare what they share with --shared",
        };
        format!("A ({}) and B ({}) are not of the same queries: {}; {remedy}", a.place, b.place, said.join(", "))
    }

    /// What else differs.
    pub(super) fn differs(&self, a: &Recorded, b: &Recorded) -> Vec<String> {
        let mut differs = Vec::new();
        let names = a.sampling.keys().chain(b.sampling.keys());
        let mut names: Vec<&&str> = names.collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            // Records of earlier versions do not say it.
            if let (Some(a), Some(b)) = (a.sampling.get(name), b.sampling.get(name))
                && a != b
            {
                differs.push(format!("{name}: {a} in A, {b} in B"));
            }
        }
        let count = |is_so: fn(&RecordedQuery, &RecordedQuery) -> bool| {
            self.ids.iter().filter(|id| is_so(&a.queries[**id], &b.queries[**id])).count()
        };
        let prompts = count(|a, b| a.prompt.is_some() && b.prompt.is_some() && a.prompt != b.prompt);
        let rubrics = count(|a, b| a.rubric != b.rubric);
        let all = self.ids.len();
        if prompts > 0 {
            differs.push(format!("the prompts of {prompts} of {all} queries"));
        }
        if rubrics > 0 {
            differs.push(format!("the rubrics of {rubrics} of {all} queries: their scores may mean different things"));
        }
        if a.unaveraged != b.unaveraged {
            differs.push("the tasks that are no part of `all`; those of B are left out of it".to_owned());
        }
        differs
    }
}

fn is_same(a: &RecordedQuery, b: &RecordedQuery) -> bool {
    let alike = |a: &Option<_>, b: &Option<_>| a.is_none() || b.is_none() || a == b;
    alike(&a.truth, &b.truth) && alike(&a.images, &b.images)
}

/// How many queries of each task: `40 of clock, 2 of logic`.
fn tasks(ids: &[&str], of: &Recorded) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    ids.iter().for_each(|id| *counts.entry(&of.queries[*id].task).or_default() += 1);
    counts.iter().map(|(task, count)| format!("{count} of {task}")).collect::<Vec<_>>().join(", ")
}
