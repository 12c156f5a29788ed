//! What joins the items of a list: commas, words, and the signs of logic.

use super::expression::{Expr, Joint};

/// Items by what joins them: where some are joined by "and" and others by "or", the former are taken together first.
pub(super) fn grouped(items: Vec<Expr>, joints: &[Joint]) -> (Vec<Expr>, Joint) {
    let Some(either) = joints.iter().copied().find(|joint| joint.is_either()) else {
        let joint = joints.iter().copied().max_by_key(|joint| *joint as u8).unwrap_or(Joint::Comma);
        return (items, joint);
    };
    let both = |joint: &Joint| matches!(joint, Joint::And | Joint::Conjunction);
    if !joints.iter().any(both) {
        return (items, either);
    }
    let mut groups: Vec<(Vec<Expr>, Joint)> = Vec::new();
    for (at, item) in items.into_iter().enumerate() {
        let joint = at.checked_sub(1).and_then(|before| joints.get(before)).copied();
        match (joint, groups.last_mut()) {
            (Some(joint), Some((group, own))) if !joint.is_either() => {
                group.push(item);
                *own = if *own as u8 > joint as u8 { *own } else { joint };
            }
            _ => groups.push((vec![item], Joint::Comma)),
        }
    }
    let grouped = groups.into_iter().map(|(mut group, joint)| match (group.len(), group.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            group.extend(last);
            Expr::List(group, joint)
        }
    });
    (grouped.collect(), either)
}
