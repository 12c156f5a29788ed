//! No module of a crate uses another that uses it back, by whatever way round.
//!
//! What counts: the files and folders of `src` are rooms, and so are the files and folders of every folder among
//! themselves. A folder and the file that opens it (`judge.rs` or `judge/mod.rs`) are one room: a folder's file may use its
//! children, and they may use what it holds. The root of a crate is no room. Tests do not count.

use std::collections::{BTreeMap, BTreeSet};

use crate::modules::{Crate, Tie};

/// Rooms that all lead to one another.
#[derive(Debug)]
pub(crate) struct Circle {
    /// The paths of the rooms, in order.
    pub(crate) rooms: Vec<String>,
    /// Every tie inside of the circle, by its two rooms.
    ties: BTreeMap<(String, String), Vec<String>>,
}

impl Circle {
    /// The shortest way round: its first room is not repeated at its end.
    fn shortest(&self) -> Vec<String> {
        let ways = self.rooms.iter().filter_map(|room| self.way_round(room));
        ways.min_by_key(Vec::len).unwrap_or_default()
    }

    fn way_round(&self, start: &str) -> Option<Vec<String>> {
        let mut ways = vec![vec![start.to_owned()]];
        let mut seen = BTreeSet::new();
        let mut next = 0;
        while let Some(way) = ways.get(next).cloned() {
            next += 1;
            for (_, to) in self.ties.keys().filter(|(from, _)| Some(from) == way.last()) {
                if to == start {
                    return Some(way);
                }
                if seen.insert(to.clone()) {
                    ways.push([way.as_slice(), std::slice::from_ref(to)].concat());
                }
            }
        }
        None
    }

    /// The shortest way round, with the lines that tie it.
    pub(crate) fn shown(&self) -> String {
        let way = self.shortest();
        let closed = [way.as_slice(), &way[..way.len().min(1)]].concat();
        let ties = closed.windows(2).map(|pair| self.tie(&pair[0], &pair[1]));
        format!("{}\n{}", closed.join(" -> "), ties.collect::<String>())
    }

    fn tie(&self, from: &str, to: &str) -> String {
        let places = &self.ties[&(from.to_owned(), to.to_owned())];
        let lines: String = places.iter().map(|place| format!("        {place}\n")).collect();
        format!("    {from} -> {to}\n{lines}")
    }
}

/// The circles of a crate: those between its rooms first, then those inside of its folders.
pub(crate) fn circles(house: &Crate) -> Vec<Circle> {
    let ties = house.ties();
    (0..house.len()).flat_map(|above| circles_under(house, above, &ties)).collect()
}

fn circles_under(house: &Crate, above: usize, ties: &[Tie]) -> Vec<Circle> {
    let mut between: BTreeMap<(usize, usize), Vec<String>> = BTreeMap::new();
    for tie in ties {
        let rooms = (house.child_above(above, tie.from), house.child_above(above, tie.to));
        if let (Some(from), Some(to)) = rooms
            && from != to
        {
            between.entry((from, to)).or_default().push(tie.place.clone());
        }
    }
    let children = house.children(above);
    let reached: BTreeMap<usize, BTreeSet<usize>> =
        children.iter().map(|room| (*room, reach(*room, &between))).collect();
    let mut found: Vec<Circle> = Vec::new();
    let mut placed = BTreeSet::new();
    for room in children {
        let around: BTreeSet<usize> =
            reached[&room].iter().copied().filter(|other| reached[other].contains(&room)).collect();
        if !around.is_empty() && placed.insert(room) {
            placed.extend(&around);
            let inside = between.iter().filter(|((from, to), _)| around.contains(from) && around.contains(to));
            let ties = inside.map(|((from, to), places)| ((house.path(*from), house.path(*to)), places.clone()));
            let rooms = around.iter().map(|room| house.path(*room)).collect::<BTreeSet<_>>();
            found.push(Circle { rooms: rooms.into_iter().collect(), ties: ties.collect() });
        }
    }
    found
}

/// The rooms that a room leads to; itself only where a circle leads back.
fn reach(room: usize, between: &BTreeMap<(usize, usize), Vec<String>>) -> BTreeSet<usize> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![room]);
    while let Some(from) = open.pop() {
        for (_, to) in between.keys().filter(|(start, _)| *start == from) {
            if reached.insert(*to) {
                open.push(*to);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The circles of a crate whose files are given by their paths and texts, as their rooms.
    fn rooms(files: &[(&str, &str)]) -> Vec<String> {
        let text = |path: &Path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned())
        };
        let house = Crate::read(Path::new("src/lib.rs"), &text);
        circles(&house).iter().map(|circle| circle.rooms.join(" ")).collect()
    }

    #[test]
    fn a_circle_is_found_and_named_with_its_lines() {
        let text = |path: &Path| {
            let text = match path.to_str()? {
                "src/lib.rs" => "mod a; mod b; mod c; mod d; pub use a::A;",
                "src/a.rs" => "//! a\nuse crate::b::B;\npub struct A;",
                "src/b.rs" => "pub struct B;\nfn f() -> crate::c::C { super::c::C }",
                "src/c.rs" => "use {super::d::D, std::fmt};\npub struct C;\npub struct E(crate::A);",
                "src/d.rs" => "pub struct D;",
                _ => return None,
            };
            Some(text.to_owned())
        };
        let found = circles(&Crate::read(Path::new("src/lib.rs"), &text));
        assert_eq!(found.len(), 1, "{found:?}");
        let shown = found[0].shown();
        assert!(shown.starts_with("a -> b -> c -> a\n"), "{shown}");
        for line in ["src/a.rs:2 crate::b::B", "src/b.rs:2 super::c::C", "src/c.rs:3 crate::A"] {
            assert!(shown.contains(line), "{line} is not in {shown}");
        }
    }

    #[test]
    fn a_folder_and_its_file_are_one_room_and_siblings_are_not() {
        let tree = [
            ("src/lib.rs", "pub mod a; pub mod b;"),
            ("src/a/mod.rs", "mod x; mod y; pub use x::X; pub struct Y; fn f() { y::g() }"),
            ("src/a/x.rs", "use super::Y; pub struct X;"),
            ("src/a/y.rs", "pub fn g() { super::X; }"),
            ("src/b.rs", "use crate::a::X as Z;"),
        ];
        assert_eq!(rooms(&tree), Vec::<String>::new());
        let mut tied = tree;
        tied[2].1 = "pub struct X; fn h() { super::y::g() }";
        assert_eq!(rooms(&tied), ["a::x a::y"]);
        tied[3].1 = "pub fn g() { crate::b::z() }";
        assert_eq!(rooms(&tied), ["a b"]);
    }

    #[test]
    fn tests_comments_and_strings_tie_nothing() {
        let tree = [
            ("src/lib.rs", "mod a; mod b;"),
            ("src/a.rs", "use crate::b::B; pub struct A;"),
            (
                "src/b.rs",
                "/// [`crate::a::A`]\npub struct B; const C: &str = \"crate::a::A\";\n#[cfg(test)]\nmod tests { use crate::a::A; }",
            ),
        ];
        assert_eq!(rooms(&tree), Vec::<String>::new());
    }

    #[test]
    fn globs_and_modules_that_are_imported_tie() {
        let tree = [
            ("src/lib.rs", "mod a; mod b; mod c; mod d;"),
            ("src/a.rs", "use crate::b; fn f() { b::g() }"),
            ("src/b.rs", "pub use crate::c::*; pub fn g() {}"),
            ("src/c.rs", "use crate::d::h; pub struct C;"),
            ("src/d.rs", "use crate::b; pub fn h() -> b::C { b::C }"),
        ];
        assert_eq!(rooms(&tree), ["b c d"]);
    }
}
