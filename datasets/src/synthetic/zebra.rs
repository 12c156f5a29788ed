//! Zebra puzzles: people in a row, each with a pet and perhaps a drink, and as many clues as leave one solution.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Dice, Difficulty, Draft, Frame, Language, logic, pick, shuffled};

const PETS: [(&str, &str); 6] =
    [("cat", "猫"), ("dog", "狗"), ("fish", "鱼"), ("bird", "鸟"), ("horse", "马"), ("mouse", "老鼠")];
const DRINKS: [(&str, &str); 6] =
    [("tea", "茶"), ("milk", "牛奶"), ("juice", "果汁"), ("water", "水"), ("coffee", "咖啡"), ("wine", "酒")];

/// People, pets or drinks (0, 1, 2) and the number in its list.
type Item = (usize, usize);
/// For people, pets and drinks: the place in the row of each one of the list.
type Solution = [[u8; 4]; 3];

/// What is told about the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clue {
    /// Both stand at the same place.
    Same(Item, Item),
    /// It stands at this place, counted from 0.
    At(Item, usize),
    /// The first stands directly left of the second.
    Before(Item, Item),
}

impl Clue {
    fn holds(self, solution: &Solution) -> bool {
        let place = |(kind, number): Item| usize::from(solution[kind][number]);
        match self {
            Self::Same(one, other) => place(one) == place(other),
            Self::At(item, at) => place(item) == at,
            Self::Before(one, other) => place(one) + 1 == place(other),
        }
    }

    fn to_json(self) -> Value {
        match self {
            Self::Same(one, other) => json!(["same", one, other]),
            Self::At(item, at) => json!(["at", item, at]),
            Self::Before(one, other) => json!(["before", one, other]),
        }
    }

    fn parse(value: &Value) -> Option<Self> {
        let item = |value: &Value| serde_json::from_value::<Item>(value.clone()).ok().filter(|item| is_item(*item));
        let [kind, one, other] = value.as_array()?.as_slice() else { return None };
        Some(match kind.as_str()? {
            "same" => Self::Same(item(one)?, item(other)?),
            "at" => Self::At(item(one)?, usize::try_from(other.as_u64()?).ok()?),
            "before" => Self::Before(item(one)?, item(other)?),
            _ => return None,
        })
    }
}

fn is_item((kind, number): Item) -> bool {
    kind < 3 && number < 4
}

/// Every row of `people` with `kinds` lists.
fn rows(people: usize, kinds: usize) -> Vec<Solution> {
    let orders = orders(people);
    let mut rows = vec![[[0; 4]; 3]];
    for kind in 0..kinds {
        let with = |row: Solution| {
            orders.iter().map(move |order| {
                let mut row = row;
                row[kind] = *order;
                row
            })
        };
        rows = rows.into_iter().flat_map(with).collect();
    }
    rows
}

/// Every order of so many places.
fn orders(people: usize) -> Vec<[u8; 4]> {
    let mut orders = vec![[0; 4]];
    for number in 0..people {
        let placed = |order: [u8; 4]| {
            let free = (0..people as u8).filter(move |place| !order[..number].contains(place));
            free.map(move |place| {
                let mut order = order;
                order[number] = place;
                order
            })
        };
        orders = orders.into_iter().flat_map(placed).collect();
    }
    orders
}

/// Clues that leave this row alone, none of them superfluous; `hidden` is not among them.
fn clues(truth: &Solution, (people, kinds): (usize, usize), hidden: Option<Clue>, dice: &mut Dice) -> Vec<Clue> {
    let items: Vec<Item> = (0..kinds).flat_map(|kind| (0..people).map(move |number| (kind, number))).collect();
    let pairs = items.iter().flat_map(|&one| items.iter().map(move |&other| (one, other)));
    let told = pairs.flat_map(|(one, other)| {
        let same = (one.0 < other.0).then_some(Clue::Same(one, other));
        let before = (one != other).then_some(Clue::Before(one, other));
        [same, before].into_iter().flatten()
    });
    let mut all: Vec<Clue> = told.filter(|clue| clue.holds(truth) && Some(*clue) != hidden).collect();
    all = shuffled(dice, &all);
    // Places give much away, so they are told last.
    all.extend(shuffled(dice, &items).into_iter().map(|item| Clue::At(item, usize::from(truth[item.0][item.1]))));
    let every = rows(people, kinds);
    let mut left = every.clone();
    let mut kept = Vec::new();
    for clue in all {
        let before = left.len();
        left.retain(|row| clue.holds(row));
        if left.len() < before {
            kept.push(clue);
        }
    }
    for clue in kept.clone().into_iter().rev() {
        let others: Vec<Clue> = kept.iter().copied().filter(|other| *other != clue).collect();
        if every.iter().filter(|row| others.iter().all(|other| other.holds(row))).nth(1).is_none() {
            kept = others;
        }
    }
    shuffled(dice, &kept)
}

/// The lists of a puzzle in its words.
struct Words {
    language: Language,
    lists: Vec<Vec<&'static str>>,
}

impl Words {
    fn any(language: Language, (people, kinds): (usize, usize), dice: &mut Dice) -> Self {
        let named =
            |list: [(&'static str, &'static str); 6]| list.map(|(english, chinese)| language.choose(english, chinese));
        let mut lists = vec![shuffled(dice, &logic::names(language))[..people].to_vec()];
        for list in [named(PETS), named(DRINKS)].into_iter().take(kinds - 1) {
            lists.push(shuffled(dice, &list)[..people].to_vec());
        }
        Self { language, lists }
    }

    fn word(&self, (kind, number): Item) -> &'static str {
        self.lists[kind][number]
    }

    /// A person: by name, or by what that person has.
    fn person(&self, item: Item) -> String {
        let word = self.word(item);
        match (item.0, self.language) {
            (0, _) => word.to_owned(),
            (_, Language::English) => format!("whoever has the {word}"),
            (_, Language::Chinese) => format!("有{word}的人"),
        }
    }

    fn sentence(&self, clue: Clue) -> String {
        let english = self.language == Language::English;
        let text = match clue {
            Clue::Same(one, other) if english => format!("{} has the {}.", self.person(one), self.word(other)),
            Clue::Same(one, other) => format!("{}有{}。", self.person(one), self.word(other)),
            Clue::At(item, place) if english => {
                format!("{} is {} from the left.", self.person(item), ["first", "second", "third", "fourth"][place])
            }
            Clue::At(item, place) => format!("{}在左起第{}个。", self.person(item), ["一", "二", "三", "四"][place]),
            Clue::Before(one, other) if english => {
                format!("{} is directly left of {}.", self.person(one), self.person(other))
            }
            Clue::Before(one, other) => format!("{}紧挨在{}的左边。", self.person(one), self.person(other)),
        };
        let mut letters = text.chars();
        letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
    }

    /// Who stands there, and what they have.
    fn introduction(&self) -> String {
        match self.language {
            Language::English => {
                let lists: Vec<String> =
                    self.lists[1..].iter().map(|list| format!("a different one of {}", list.join(", "))).collect();
                format!("{} stand in a row. Each has {}.", self.lists[0].join(", "), lists.join(" and "))
            }
            Language::Chinese => {
                let lists: Vec<String> =
                    self.lists[1..].iter().map(|list| format!("{}中不同的一种", list.join("、"))).collect();
                format!("{}站成一排。每人有{}。", self.lists[0].join("、"), lists.join("，也有"))
            }
        }
    }

    fn question(&self, asked: Item) -> String {
        let word = self.word(asked);
        match self.language {
            Language::English => format!("Who has the {word}?"),
            Language::Chinese => format!("谁有{word}？"),
        }
    }

    /// The row from left to right: `1 Ann cat tea,2 Bob dog milk`.
    fn row(&self, solution: &Solution) -> String {
        let people = self.lists[0].len();
        let at = |list: &[&'static str], kind: usize, place: usize| {
            let stands = |number: &usize| usize::from(solution[kind][*number]) == place;
            (0..people).find(stands).map_or("", |number| list[number])
        };
        let person = |place: usize| {
            let words: Vec<&str> = self.lists.iter().enumerate().map(|(kind, list)| at(list, kind, place)).collect();
            format!("{} {}", place + 1, words.join(" "))
        };
        (0..people).map(person).collect::<Vec<_>>().join(",")
    }
}

pub(super) fn draw(frame: Frame, dice: &mut Dice) -> Draft {
    let size = frame.difficulty.choose((3, 2), (3, 3), (4, 3));
    let words = Words::any(frame.language, size, dice);
    let orders = orders(size.0);
    let truth: Solution = std::array::from_fn(|kind| if kind < size.1 { pick(dice, &orders) } else { [0; 4] });
    let asked = (size.1 - 1 - usize::from(size.1 == 3 && frame.coin), frame.roll % size.0);
    let place = truth[asked.0][asked.1];
    let owner = truth[0].iter().position(|&other| other == place).unwrap_or_default();
    // Nobody is told what is asked, unless it is easy.
    let hidden = (frame.difficulty != Difficulty::Easy).then_some(Clue::Same((0, owner), asked));
    let clues = clues(&truth, size, hidden, dice);
    let sentences: Vec<String> = clues.iter().map(|clue| words.sentence(*clue)).collect();
    let answer = words.word((0, owner));
    // Neither the order of the clues nor that of the lists makes another puzzle.
    let key: BTreeSet<&str> = sentences.iter().map(String::as_str).chain(words.lists.concat()).collect();
    let separator = frame.language.choose(" ", "");
    Draft {
        content: format!("zebra:{} {}", key.into_iter().collect::<Vec<_>>().join(" "), words.question(asked)),
        prompt: [words.introduction(), sentences.join(separator), words.question(asked)].join(separator),
        reward_kind: "text",
        ground_truth: answer.into(),
        working: words.row(&truth),
        answer: answer.to_owned(),
        facts: json!({
            "lists": words.lists,
            "clues": clues.iter().map(|clue| clue.to_json()).collect::<Vec<_>>(),
            "asked": asked,
        }),
        columns: Map::new(),
        painting: None,
    }
}

/// Whether the answer has what is asked for in every row that the clues allow.
pub(super) fn is_correct(facts: &Value, answer: &str) -> bool {
    owners(facts).is_some_and(|owners| owners.len() == 1 && owners.contains(answer))
}

/// Everybody who may have what is asked for.
fn owners(facts: &Value) -> Option<BTreeSet<String>> {
    let lists: Vec<Vec<String>> = serde_json::from_value(facts.get("lists")?.clone()).ok()?;
    let asked: Item = serde_json::from_value(facts.get("asked")?.clone()).ok()?;
    let clues: Option<Vec<Clue>> = facts.get("clues")?.as_array()?.iter().map(Clue::parse).collect();
    let (clues, people) = (clues?, lists.first()?.len());
    if people > 4 || lists.len() > 3 || !is_item(asked) || lists.iter().any(|list| list.len() != people) {
        return None;
    }
    let mut owners = BTreeSet::new();
    for row in rows(people, lists.len()).iter().filter(|row| clues.iter().all(|clue| clue.holds(row))) {
        let place = row[asked.0][asked.1];
        owners.extend((0..people).find(|&person| row[0][person] == place).map(|person| lists[0][person].clone()));
    }
    Some(owners)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn clues_leave_one_row_and_none_is_superfluous() {
        let mut dice = Dice::from_seed([4; 32]);
        for (size, turns) in [((3, 2), 40), ((3, 3), 40), ((4, 3), 4)] {
            let every = rows(size.0, size.1);
            for turn in 0..turns {
                let truth = pick(&mut dice, &every);
                let hidden = Clue::Same((0, turn % size.0), (1, 0));
                let told = clues(&truth, size, Some(hidden), &mut dice);
                let left = |clues: &[Clue]| every.iter().filter(|row| clues.iter().all(|clue| clue.holds(row))).count();
                assert_eq!(left(&told), 1);
                assert!(!told.contains(&hidden));
                for without in 0..told.len() {
                    let mut fewer = told.clone();
                    fewer.remove(without);
                    assert!(left(&fewer) > 1, "{told:?} without {without}");
                }
            }
        }
    }

    #[test]
    fn golden_sentences() {
        let lists = vec![vec!["Ann", "Bob", "Cid"], vec!["cat", "dog", "fish"]];
        let words = Words { language: Language::English, lists };
        assert_eq!(words.introduction(), "Ann, Bob, Cid stand in a row. Each has a different one of cat, dog, fish.");
        assert_eq!(words.sentence(Clue::Before((1, 0), (0, 1))), "Whoever has the cat is directly left of Bob.");
        assert_eq!(words.sentence(Clue::At((0, 2), 1)), "Cid is second from the left.");
        assert_eq!(words.row(&[[2, 0, 1, 0], [0, 2, 1, 0], [0; 4]]), "1 Bob cat,2 Cid fish,3 Ann dog");
    }

    #[test]
    fn what_leaves_two_solutions_has_no_answer() {
        let facts = json!({"lists": [["Ann", "Bob"], ["cat", "dog"]], "clues": [], "asked": [1, 0]});
        assert!(!is_correct(&facts, "Ann") && !is_correct(&facts, "Bob"));
        let facts =
            json!({"lists": [["Ann", "Bob"], ["cat", "dog"]], "clues": [["same", [0, 1], [1, 1]]], "asked": [1, 0]});
        assert!(is_correct(&facts, "Ann") && !is_correct(&facts, "Bob"));
    }
}
