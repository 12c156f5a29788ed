//! Language: whether running text mixes languages, or is wholly in another one than it should be.
//!
//! Scripts are told apart letter by letter; languages of the Latin script by their small words. Code, formulas, quoted
//! text, names, technical terms and words under discussion are no mixing.

mod finding;
mod latin;
mod lexicon;
mod other;
mod running;
mod script;
mod words;

use sapo_datasets::{Query, Transcript};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::extract;
use crate::kind::{Example, Verifier};
use crate::reward::{Item, Role};
use crate::score::PartScore;
pub use finding::Finding;
use latin::in_latin;
use other::{beside_latin, without_kana};
use script::{Script, strays_from};
use words::{Word, discussed_sentences, disguised, is_excused, split};

/// Looks for another language than `expected` (a code as `en` or `zh`) in the running text of a response.
pub fn examine(text: &str, expected: &str) -> Finding {
    let running = running::running(text);
    let words = split(&running);
    let native = Script::native(expected);
    if let Some(word) = disguised(&words) {
        return Finding::mixed(format!("look-alike letters in `{word}`"));
    }
    let other = |word: &&Word<'_>| !native.contains(&word.script) && word.script != Script::Latin;
    let discussed = if words.iter().any(|word| other(&word)) { discussed_sentences(&running) } else { Vec::new() };
    let foreign = words.iter().filter(|word| other(word) && !is_excused(word, &discussed));
    let foreign: Vec<&Word<'_>> = foreign.collect();
    let finding = if native == [Script::Latin] {
        in_latin(&words, &foreign, expected)
    } else {
        // Han letters are Chinese only in sentences without kana.
        let kana = |sentence: usize| words.iter().any(|word| word.sentence == sentence && word.script == Script::Kana);
        let own = words.iter().any(|word| {
            native.contains(&word.script) && !(expected == "zh" && foreign.len() > 1 && kana(word.sentence))
        });
        beside_latin(&words, &foreign, own, expected)
    };
    if finding == Finding::default() && expected == "ja" { without_kana(&words) } else { finding }
}

/// 1 (a penalty) when the thinking or the answer mixes languages or is in another one than the query: its column
/// `language`, else the script of its question.
pub fn score(query: &Query, transcript: &Transcript, options: Language) -> PartScore {
    let expected = match query.columns.get("language").and_then(|language| language.as_str()) {
        Some(language) => language.to_owned(),
        None => guess(&query.question()).to_owned(),
    };
    let texts = [
        ("thinking", Some(transcript.reasoning()).filter(|_| options.thinking)),
        ("answer", extract::answer(transcript)),
    ];
    for (place, text) in texts {
        let Some(text) = text else { continue };
        let fault = if options.strict_script {
            strays_from(&expected, text)
        } else {
            let finding = examine(text, &expected);
            let what = if finding.mixed { "mixes languages" } else { "is in another language" };
            finding.evidence.map(|evidence| format!("{what}: {evidence}"))
        };
        if let Some(fault) = fault {
            return PartScore::verdict(true, format!("{place}, {expected}: {fault}"));
        }
    }
    PartScore::verdict(false, format!("{expected} throughout"))
}

/// The language that a question is most likely in: by its script, and English for Latin letters.
pub fn guess(question: &str) -> &'static str {
    let running = running::running(question);
    let words = split(&running);
    let count = |script| words.iter().filter(|word| word.script == script).map(Word::letters).sum::<usize>();
    let latin = count(Script::Latin);
    if count(Script::Kana) > 0 && count(Script::Kana) + count(Script::Han) >= latin / 4 {
        return "ja";
    }
    let scripts = [(Script::Han, "zh"), (Script::Hangul, "ko"), (Script::Cyrillic, "ru"), (Script::Arabic, "ar")];
    // A syllable or a Chinese letter says as much as several Latin letters.
    let weight = |script| if matches!(script, Script::Han | Script::Hangul) { 4 } else { 1 };
    let best = scripts.into_iter().max_by_key(|(script, _)| count(*script) * weight(*script));
    best.filter(|(script, _)| count(*script) * weight(*script) > latin).map_or("en", |(_, language)| language)
}

/// A penalty for mixing languages, or another one than the query's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Language {
    /// Any letter of another script counts, names and terms too.
    pub strict_script: bool,
    /// The thinking counts as well as the answer.
    pub thinking: bool,
}

impl Default for Language {
    fn default() -> Self {
        Self { strict_script: false, thinking: true }
    }
}

impl Verifier for Language {
    const VERSION: &'static str = "language/2";
    const ROLE: Role = Role::Penalty;

    fn score(&self, item: &Item<'_>) -> PartScore {
        score(item.query, item.transcript, *self)
    }

    fn example() -> Example {
        Example::new(Value::Null, "The answer is \u{4e94}.", 1.0).columns(json!({"language": "en"}))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn switches_are_found() {
        for (language, text) in [
            ("en", "The left bar is higher, donc we pick A."),
            ("en", "We count them all: 一共五个, so five."),
            ("en", "The car is red weil es so ist."),
            ("en", "First we add both bars. Después sumamos los dos y el total es quince."),
            ("zh", "这个 answer 应该是五。"),
            ("zh", "答案是 because 左边更高。"),
            ("zh", "图中有两辆车。そして、右の車は赤い。"),
            ("ru", "Здесь три столбца, therefore ответ три."),
            ("fr", "Le graphique montre trois barres, and the tallest one is July."),
            ("de", "Das Bild zeigt zwei Autos, 因此 ist die Antwort zwei."),
            ("ja", "棒は三本です。所以这个答案是三。"),
            ("en", "The bоx is red."),
        ] {
            let finding = examine(text, language);
            assert!(finding.mixed && !finding.wrong_language, "{text}: {finding:?}");
        }
    }

    #[test]
    fn other_languages_are_wrong_and_not_mixed() {
        for (language, text) in [
            ("en", "Le chien est dans le jardin et il dort."),
            ("en", "答案是五。"),
            ("zh", "The answer is five."),
            ("de", "The picture shows two cars in a street."),
            ("fr", "Das Auto steht hinter dem Baum und ist rot."),
            ("ru", "The tallest bar is the third one."),
            ("en", "Ответ пять."),
        ] {
            let finding = examine(text, language);
            assert!(finding.wrong_language && !finding.mixed, "{text}: {finding:?}");
        }
    }

    #[test]
    fn names_terms_quotes_and_formulas_are_excused() {
        for (language, text) in [
            ("en", "Beijing (北京) is the capital."),
            ("en", "The Chinese word for water is 水."),
            ("en", "Rio de Janeiro and Los Angeles are far apart."),
            ("en", "The angle Δx is small, and λ = 3 μm."),
            ("en", "See https://例子.cn/a for more."),
            ("zh", "他在 Bank of America 工作，用的是 Python 和 PyTorch。"),
            ("zh", "设 x 为 5，则 f(x) = 2x + 1。"),
            ("zh", "用 learning rate 和 dropout 训练。"),
            ("ja", "モデルは Transformer です。"),
            ("ru", "Модель GPT обучена на Python."),
            ("en", "two red circles and one blue square"),
            ("zh", "两个红色圆形和一个蓝色方形"),
            ("en", "11:35"),
            ("zh", "85"),
        ] {
            assert_eq!(examine(text, language), Finding::default(), "{text}");
        }
    }

    #[test]
    fn languages_are_guessed_by_script() {
        for (text, language) in [
            ("How many?", "en"),
            ("有几个 red 图形？", "zh"),
            ("いくつありますか", "ja"),
            ("Сколько?", "ru"),
            ("5+5", "en"),
        ] {
            assert_eq!(guess(text), language, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "(\\PC|[a-zа-я一-三あ-う \"`$<>()]){0,120}", language in "(en|zh|ja|ru|fr|xx)") {
            let finding = examine(&text, &language);
            prop_assert!(!(finding.mixed && finding.wrong_language));
        }
    }
}
