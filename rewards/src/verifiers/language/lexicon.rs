//! Small words that tell languages of one script apart.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::LazyLock;

/// A hash for short words of this file; nobody else's keys go in, so that it need not be a strong one.
struct ShortHash(u64);

impl Default for ShortHash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for ShortHash {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

/// Words and what is known of them.
type Words = HashMap<&'static str, Known, BuildHasherDefault<ShortHash>>;

/// No word of the lists is longer, in bytes.
const LONGEST_WORD: usize = 16;

/// What is known of a word: bits are languages in the order of [`LATIN`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    /// Languages in which it is a small word.
    pub(super) small: u8,
    /// Languages in which it joins clauses.
    pub(super) joins: u8,
    /// It is an everyday English word.
    pub(super) everyday: bool,
}

static WORDS: LazyLock<Words> = LazyLock::new(|| {
    let mut words = Words::default();
    for language in LATIN {
        let bit = bit(language);
        for word in small_words(language).split(' ') {
            words.entry(word).or_default().small |= bit;
        }
        for word in connectives(language).split(' ') {
            words.entry(word).or_default().joins |= bit;
        }
    }
    for word in EVERYDAY.split(' ') {
        words.entry(word).or_default().everyday = true;
    }
    words
});

/// What is known of a word in lower case.
pub(super) fn known(word: &str) -> Known {
    if word.len() > LONGEST_WORD { Known::default() } else { WORDS.get(word).copied().unwrap_or_default() }
}

/// The bit of a language; 0 when it is none of [`LATIN`].
pub(super) fn bit(language: &str) -> u8 {
    LATIN.iter().position(|known| *known == language).map_or(0, |at| 1 << at)
}

/// The most frequent small words of a language, in lower case.
fn small_words(language: &str) -> &'static str {
    match language {
        "en" => ENGLISH,
        "fr" => FRENCH,
        "de" => GERMAN,
        "es" => SPANISH,
        "it" => ITALIAN,
        "pt" => PORTUGUESE,
        "nl" => DUTCH,
        _ => "",
    }
}

/// The languages of the Latin script that are told apart.
pub(super) const LATIN: &[&str] = &["en", "fr", "de", "es", "it", "pt", "nl"];

/// Words that join clauses: one alone gives a switch of language away.
fn connectives(language: &str) -> &'static str {
    match language {
        "en" => "because therefore then which and but the thus hence with however while",
        "fr" => "donc alors parce puisque mais ensuite cependant aussi avec voici ainsi",
        "de" => "weil deshalb aber dann denn daher jedoch nicht und oder nämlich",
        "es" => "porque entonces pero también aunque luego además ahora según así tanto",
        "it" => "perché quindi allora però dunque anche oppure poiché adesso",
        "pt" => "porque então portanto mas também porém agora assim não",
        "nl" => "omdat daarom maar dus echter niet vervolgens",
        _ => "",
    }
}

/// Everyday English words that are no technical terms: in a text of another script they are a switch.
const EVERYDAY: &str = "\
    about above actually add after again all also answer any are around ask back before behind below best \
    between big bigger black blue both bottom call calculate can car cars check choose clear close come \
    correct could count day different does down each equal equals every exactly few final finally find first \
    five four get give gives go good green has have here his how into it its just know large larger last \
    left less let like little long look looks make many maybe mean means more most much must near need next \
    nine now only other our over people picture please put question quite really red right same say second \
    see seven several should show shows side simply six small smaller some sum take tall tell ten think \
    third three total tree very want";

const ENGLISH: &str = "\
    the of and to in is that it for was with as on be by are this from at which or an have not has but they \
    we he she his her their its one two there so because then if than when where who what how can will would \
    should been were had more other some these those into only after before between both each also you your \
    my our us them do does did need let now first second answer therefore about behind while i me am him see \
    look three four five very out up under could may just";

const FRENCH: &str = "\
    le la les de des du un une et est en que qui dans pour pas sur au aux par avec ce cette ces il elle ils \
    elles nous vous sont ont être avoir donc mais ou où ne se sa son ses plus deux trois comme tout alors \
    parce aussi très bien y à a première deuxième réponse leur entre sous était fait cela puis";

const GERMAN: &str = "\
    der die das und ist ein eine einen einem einer den dem des zu von mit auf für nicht im in sich auch es \
    er sie wir ich als an bei nach aus wie oder aber wenn weil dass sind war hat haben wird werden kann zwei \
    drei zum zur über unter hinter vor noch nur sehr dann also deshalb antwort hier man zwischen dieser \
    diese dieses links rechts steht";

const SPANISH: &str = "\
    el la los las de del un una unos y es en que con por para no se su sus lo al como más pero hay está \
    están son fue dos tres uno ellos ella este esta estos porque entonces también muy o si sobre entre \
    cuando detrás desde hasta donde tiene tienen así ya respuesta segundo primera nos ser cada otro otra \
    todo imagen luego";

const ITALIAN: &str = "\
    il lo la i gli le di del della dei delle un una uno e è in che con per non si su al alla nel nella da \
    dal dalla sono ha hanno come più ma anche o se due tre questo questa quindi perché allora molto sul \
    sulla dietro prima seconda risposta ci quello suo sua loro tra poi";

const PORTUGUESE: &str = "\
    o a os as de do da dos das um uma e é em no na nos nas que com por para não se seu sua ao como mais mas \
    há está estão são foi dois duas três este esta porque então também muito ou sobre entre quando onde tem \
    têm assim já resposta primeira segunda atrás ele ela eles pelo portanto";

const DUTCH: &str = "\
    de het een en is van in op te dat die met voor niet zijn er aan om ook als dan maar door naar bij uit \
    over of we wij ze zij hij ik je dit deze twee drie heeft hebben wordt worden kan nog omdat dus daarom \
    antwoord achter tussen staat";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_is_longer_than_is_looked_up() {
        assert!(WORDS.keys().all(|word| word.len() <= LONGEST_WORD));
    }

    #[test]
    fn no_foreign_connective_is_an_english_word() {
        let known = |words: &str, wanted: &str| words.split(' ').any(|word| word == wanted);
        for language in LATIN.iter().filter(|language| **language != "en") {
            for word in connectives(language).split(' ') {
                assert!(
                    [small_words("en"), connectives("en"), EVERYDAY].iter().all(|words| !known(words, word)),
                    "{word}"
                );
            }
        }
    }
}
