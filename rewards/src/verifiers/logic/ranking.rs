//! The synthetic ordering task: a name is right when it has the rank that is asked for in every order that fits.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Checked;
use crate::text::normalised;

/// More names than this would take too many orders.
const MOST_NAMES: usize = 7;

pub(super) fn check(facts: &Value, answer: &str) -> Checked {
    let text = |key: &str| {
        facts.get(key).and_then(Value::as_str).ok_or_else(|| format!("the column facts has no text `{key}`"))
    };
    let (shown, asked) = (text("comparisons")?, text("asked")?);
    // (higher, lower)
    let pairs: Option<Vec<(&str, &str)>> = shown
        .split(',')
        .map(|told| told.split_once('>').or_else(|| told.split_once('<').map(|(low, high)| (high, low))))
        .collect();
    let pairs = pairs.ok_or_else(|| format!("the comparisons `{shown}` cannot be read"))?;
    let names: BTreeSet<&str> = pairs.iter().flat_map(|(high, low)| [*high, *low]).collect();
    let names: Vec<&str> = names.into_iter().collect();
    if names.len() > MOST_NAMES {
        return Err(format!("more than {MOST_NAMES} names are compared"));
    }
    let rank = match asked {
        "tallest" => 0,
        "middle" => names.len() / 2,
        "shortest" => names.len() - 1,
        other => return Err(format!("the rank `{other}` is not known")),
    };
    let mut right = BTreeSet::new();
    orders(&mut names.clone(), 0, &mut |order| {
        let place = |name: &str| order.iter().position(|other| *other == name);
        if pairs.iter().all(|(high, low)| place(high) < place(low)) {
            right.insert(order[rank]);
        }
    });
    let mut right = right.into_iter();
    let (Some(name), None) = (right.next(), right.next()) else {
        return Err(format!("`{shown}` does not settle who is {asked}"));
    };
    Ok(if normalised(answer) == normalised(name) {
        Ok(name.to_owned())
    } else {
        Err(format!("the answer is not who is {asked}"))
    })
}

fn orders<'n>(names: &mut Vec<&'n str>, from: usize, visit: &mut impl FnMut(&[&'n str])) {
    if from == names.len() {
        visit(names);
        return;
    }
    for at in from..names.len() {
        names.swap(from, at);
        orders(names, from + 1, visit);
        names.swap(from, at);
    }
}
