//! The next tokens of running samples: drawn on the GPU where their logits are and it can, else on all cores of the host.

use std::collections::BTreeMap;

use rayon::prelude::*;
use sapo_policies::{Draws, Found, Logits};

use super::asked::Asked;
use super::row::Row;
use crate::request::Sampling;
use crate::sampler::Draw;

/// A token of each of the samples that there are logits of, by their numbers among `running`, in that order. What is drawn depends on
/// the sample alone.
pub(super) fn draw(
    running: &mut [Row],
    asked: &BTreeMap<usize, Asked>,
    logits: Vec<(Vec<usize>, Logits)>,
) -> Vec<(usize, Draw)> {
    let sampling = |row: &Row| &asked[&row.request].request.sampling;
    let (mut draws, mut read) = (Vec::new(), Vec::new());
    for (rows, logits) in logits {
        match logits.drawn_or_values(|| on_device(running, &rows, &sampling)) {
            Found::Drawn(drawn) => {
                let of = |(index, drawn): (usize, _)| (index, Draw::of_device(drawn, sampling(&running[index])));
                draws.extend(rows.into_iter().zip(drawn).map(of));
            }
            Found::Values(values) => read.push((rows, values)),
        }
    }
    let mut of_rows: BTreeMap<usize, &[f32]> = BTreeMap::new();
    for (rows, values) in read.iter().filter(|(rows, _)| !rows.is_empty()) {
        of_rows.extend(rows.iter().copied().zip(values.chunks_exact(values.len() / rows.len())));
    }
    let drawing = running.iter_mut().enumerate();
    let drawing = drawing.filter_map(|(index, row)| Some((index, row, *of_rows.get(&index)?)));
    let drawing: Vec<(usize, &mut Row, &[f32])> = drawing.collect();
    let draw = |(index, row, logits): (usize, &mut Row, &[f32])| {
        let sampling = sampling(row);
        (index, row.draw(logits, sampling))
    };
    draws.par_extend(drawing.into_par_iter().map(draw));
    draws.sort_unstable_by_key(|(index, _)| *index);
    draws
}

/// How a device draws for some running samples, if it can for all of them: plainly, and banning the same tokens.
fn on_device<'a>(running: &mut [Row], rows: &[usize], sampling: &impl Fn(&Row) -> &'a Sampling) -> Option<Draws> {
    let banned = &sampling(&running[*rows.first()?]).banned_ids;
    let alike = |index: &usize| {
        let own = sampling(&running[*index]);
        own.is_plain() && own.banned_ids == *banned
    };
    if !rows.iter().all(alike) {
        return None;
    }
    let chance = |index: &usize| {
        let row = &mut running[*index];
        row.chance(sampling(row))
    };
    Some(Draws { chances: rows.iter().map(chance).collect(), banned: banned.iter().copied().collect() })
}
