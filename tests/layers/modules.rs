//! The modules of a crate and who names whom, read from the text of its files.
//!
//! A module is a file. Paths are followed through re-exports to the file that holds the item. What the text does not say
//! (methods that another file adds to a type, paths inside of strings) is not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::source::{self, Token};

/// A tie: one module names something that another holds.
#[derive(Clone, Debug)]
pub(crate) struct Tie {
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// File, line and path as it is written.
    pub(crate) place: String,
}

/// A crate as a tree of modules; the first is its root.
#[derive(Debug, Default)]
pub(crate) struct Crate {
    modules: Vec<Module>,
}

#[derive(Debug, Default)]
struct Module {
    name: String,
    file: PathBuf,
    parent: usize,
    children: BTreeMap<String, usize>,
    text: Text,
}

/// What the text of a module declares and names.
#[derive(Debug, Default)]
struct Text {
    declared: Vec<String>,
    items: BTreeSet<String>,
    imports: BTreeMap<String, Vec<String>>,
    globs: Vec<Vec<String>>,
    named: Vec<(Vec<String>, usize)>,
}

/// What a path leads to: a module, or an item that a module holds.
#[derive(Clone, Copy)]
enum Place {
    Module(usize),
    Item(usize),
}

/// How many re-exports a path may pass through; only circular imports need more.
const LONGEST_CHAIN: usize = 16;

impl Crate {
    /// Reads the crate whose root is `root` (`src/lib.rs`). `read` gives the text of a file, or nothing where there is none.
    pub(crate) fn read(root: &Path, read: &dyn Fn(&Path) -> Option<String>) -> Self {
        let mut house = Self::default();
        let text = read(root).unwrap_or_else(|| panic!("{} is missing", root.display()));
        house.add(String::new(), root.to_owned(), 0, &text);
        let mut next = 0;
        while next < house.modules.len() {
            for name in house.modules[next].text.declared.clone() {
                let folder = folder_of(&house.modules[next].file);
                let files = [folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs")];
                let found = files.into_iter().find_map(|file| read(&file).map(|text| (file, text)));
                let (file, text) = found.unwrap_or_else(|| panic!("{}: no file for {name}", folder.display()));
                let child = house.add(name.clone(), file, next, &text);
                house.modules[next].children.insert(name, child);
            }
            next += 1;
        }
        house
    }

    fn add(&mut self, name: String, file: PathBuf, parent: usize, text: &str) -> usize {
        let text = Text::of(&source::without_tests(&source::tokens(text)));
        self.modules.push(Module { name, file, parent, children: BTreeMap::new(), text });
        self.modules.len() - 1
    }

    pub(crate) fn len(&self) -> usize {
        self.modules.len()
    }

    /// The path of a module from the root: `judge::store`.
    pub(crate) fn path(&self, module: usize) -> String {
        let Module { name, parent, .. } = &self.modules[module];
        if *parent == 0 { name.clone() } else { format!("{}::{name}", self.path(*parent)) }
    }

    pub(crate) fn children(&self, module: usize) -> Vec<usize> {
        self.modules[module].children.values().copied().collect()
    }

    /// The child of `above` in or under which `module` lies; none for `above` itself and what lies beside it.
    pub(crate) fn child_above(&self, above: usize, mut module: usize) -> Option<usize> {
        while module != 0 {
            let parent = self.modules[module].parent;
            if parent == above {
                return Some(module);
            }
            module = parent;
        }
        None
    }

    /// Every place where a module names what another module of the crate holds.
    pub(crate) fn ties(&self) -> Vec<Tie> {
        let mut ties = Vec::new();
        for (from, module) in self.modules.iter().enumerate() {
            for (path, line) in &module.text.named {
                let Some(Place::Module(to) | Place::Item(to)) = self.resolve(from, path, LONGEST_CHAIN) else {
                    continue;
                };
                // `Config::read` adds nothing to the import of `Config`.
                let is_imported = matches!(self.look_up(from, &path[0], LONGEST_CHAIN), Some(Place::Item(_)));
                if to != from && !is_imported {
                    let place = format!("{}:{line} {}", module.file.display(), path.join("::"));
                    ties.push(Tie { from, to, place });
                }
            }
        }
        ties
    }

    /// What a path written in a module leads to; nothing where it leaves the crate.
    fn resolve(&self, from: usize, path: &[String], fuel: usize) -> Option<Place> {
        let (first, rest) = path.split_first()?;
        let mut place = match first.as_str() {
            "crate" => Place::Module(0),
            "self" => Place::Module(from),
            "super" => Place::Module(self.modules[from].parent),
            name => self.look_up(from, name, fuel)?,
        };
        for name in rest {
            let Place::Module(module) = place else { break };
            place = match name.as_str() {
                "self" => place,
                "super" => Place::Module(self.modules[module].parent),
                // A macro may make items that no text shows: they belong to the module that was named.
                name => self.look_up(module, name, fuel).unwrap_or(Place::Item(module)),
            };
        }
        Some(place)
    }

    fn look_up(&self, module: usize, name: &str, fuel: usize) -> Option<Place> {
        let Module { children, text, .. } = &self.modules[module];
        if let Some(child) = children.get(name) {
            return Some(Place::Module(*child));
        }
        if text.items.contains(name) {
            return Some(Place::Item(module));
        }
        let fuel = fuel.checked_sub(1)?;
        if let Some(path) = text.imports.get(name) {
            return self.resolve(module, path, fuel);
        }
        text.globs.iter().find_map(|path| match self.resolve(module, path, fuel)? {
            Place::Module(opened) if opened != module => self.look_up(opened, name, fuel),
            _ => None,
        })
    }
}

/// Where the children of a file's module lie.
fn folder_of(file: &Path) -> PathBuf {
    let is_folder = file.file_stem().is_some_and(|stem| stem == "lib" || stem == "mod" || stem == "main");
    if is_folder { file.parent().unwrap_or(file).to_owned() } else { file.with_extension("") }
}

impl Text {
    fn of(tokens: &[Token]) -> Self {
        let mut text = Self::default();
        let (mut at, mut depth) = (0, 0_usize);
        while at < tokens.len() {
            let is_start = at == 0 || !["::", "."].contains(&tokens[at - 1].text.as_str());
            match tokens[at].text.as_str() {
                "{" => depth += 1,
                "}" => depth = depth.saturating_sub(1),
                "use" => {
                    at = text.import(tokens, at + 1, &[]);
                    continue;
                }
                word => {
                    if depth == 0 {
                        text.declare(word, &tokens[at + 1..]);
                    }
                    if is_start && tokens[at].is_word() {
                        at = text.name(tokens, at);
                        continue;
                    }
                }
            }
            at += 1;
        }
        text
    }

    /// Notes what a keyword declares, if it is one.
    fn declare(&mut self, keyword: &str, after: &[Token]) {
        let name = match after {
            [sign, name, ..] if keyword == "macro_rules" && sign.text == "!" => name,
            [name, ..] => name,
            [] => return,
        };
        match keyword {
            "mod" if source::starts_with(&after[1..], &[";"]) => self.declared.push(name.text.clone()),
            "struct" | "enum" | "union" | "trait" | "type" | "const" | "static" | "fn" | "mod" | "macro_rules" => {
                self.items.insert(name.text.clone());
            }
            _ => {}
        }
    }

    /// Notes the path that starts at `at`, if it has more than one segment; gives the place after it.
    fn name(&mut self, tokens: &[Token], mut at: usize) -> usize {
        let line = tokens[at].line;
        let mut path = vec![tokens[at].text.clone()];
        while source::starts_with(&tokens[at + 1..], &["::"]) && tokens.get(at + 2).is_some_and(Token::is_word) {
            at += 2;
            path.push(tokens[at].text.clone());
        }
        if path.len() > 1 {
            self.named.push((path, line));
        }
        at + 1
    }

    /// Notes every path of the import tree that starts at `at`, after `before`; gives the place after it.
    fn import(&mut self, tokens: &[Token], mut at: usize, before: &[String]) -> usize {
        let mut path = before.to_vec();
        let line = tokens.get(at).map_or(0, |token| token.line);
        while let Some(token) = tokens.get(at) {
            match token.text.as_str() {
                "{" => {
                    while !matches!(tokens.get(at).map(|token| token.text.as_str()), Some("}") | None) {
                        at = self.import(tokens, at + 1, &path);
                    }
                    return at + 1;
                }
                "*" => {
                    self.globs.push(path.clone());
                    self.named.push((path, line));
                    return at + 1;
                }
                "," | "}" | ";" | "as" => break,
                "::" => {}
                word => path.push(word.to_owned()),
            }
            at += 1;
        }
        let renamed = source::starts_with(&tokens[at..], &["as"]);
        at += if renamed { 2 } else { 0 };
        if path.len() > before.len() {
            let bound = if renamed { tokens[at - 1].text.clone() } else { bound_name(&path) };
            self.named.push((path.clone(), line));
            self.imports.insert(bound, path);
        }
        at
    }
}

/// The name that an import binds: its last segment, or the one before `self`.
fn bound_name(path: &[String]) -> String {
    path.iter().rev().find(|segment| *segment != "self").cloned().unwrap_or_default()
}
