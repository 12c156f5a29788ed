//! Text to token ids and back, and the training of a small byte-level BPE with Qwen3-VL's special tokens.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use std::sync::{Arc, OnceLock};

use serde_json::Value;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::{AddedToken, SplitDelimiterBehavior};
use tokenizers::{Tokenizer as Inner, TokenizerBuilder};

use super::settled::settle;
use crate::error::{PolicyError, Result};

/// How Qwen2 and its successors split text before merging: single digits, words with their leading space, runs of
/// punctuation, line ends.
const SPLIT: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Qwen3-VL's added tokens, in the order of their ids, and whether decoding may leave them out.
const ADDED: [(&str, bool); 20] = [
    ("<|endoftext|>", true),
    ("<|im_start|>", true),
    ("<|im_end|>", true),
    ("<|object_ref_start|>", true),
    ("<|object_ref_end|>", true),
    ("<|box_start|>", true),
    ("<|box_end|>", true),
    ("<|quad_start|>", true),
    ("<|quad_end|>", true),
    ("<|vision_start|>", true),
    ("<|vision_end|>", true),
    ("<|vision_pad|>", true),
    ("<|image_pad|>", true),
    ("<|video_pad|>", true),
    ("<tool_call>", false),
    ("</tool_call>", false),
    ("<tool_response>", false),
    ("</tool_response>", false),
    ("<think>", false),
    ("</think>", false),
];

/// Decoders of the format.
const DECODERS: [&str; 10] = [
    "BPEDecoder",
    "ByteLevel",
    "WordPiece",
    "Metaspace",
    "CTC",
    "Sequence",
    "Replace",
    "Fuse",
    "Strip",
    "ByteFallback",
];

fn known_decoder(decoder: &Value) -> bool {
    let known = decoder["type"].as_str().is_some_and(|kind| DECODERS.contains(&kind));
    decoder.is_null() || (known && decoder["decoders"].as_array().is_none_or(|all| all.iter().all(known_decoder)))
}

/// A checkpoint's tokenizer.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: Inner,
    /// What of its file is switched off.
    notes: Arc<[String]>,
    /// Made when it is first asked for.
    bytes: Arc<OnceLock<TokenBytes>>,
}

/// What every token adds to a text, in bytes: a character may be spread over tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenBytes {
    all: Vec<u8>,
    ends: Vec<usize>,
}

impl TokenBytes {
    fn of(tokenizer: &Inner) -> Self {
        let byte_level = matches!(tokenizer.get_decoder(), Some(DecoderWrapper::ByteLevel(_)));
        let byte_of: BTreeMap<char, u8> = byte_characters();
        let special: BTreeSet<u32> = tokenizer
            .get_added_tokens_decoder()
            .into_iter()
            .filter_map(|(id, token)| token.special.then_some(id))
            .collect();
        let mut table = Self::default();
        let count = tokenizer.get_vocab(true).into_values().max().map_or(0, |largest| largest + 1);
        for id in 0..count {
            let token = if special.contains(&id) { None } else { tokenizer.id_to_token(id) };
            match token {
                None => {}
                Some(token) if byte_level => {
                    let bytes: Option<Vec<u8>> = token.chars().map(|one| byte_of.get(&one).copied()).collect();
                    table.all.extend(bytes.unwrap_or_else(|| token.into_bytes()));
                }
                Some(_) => table.all.extend(tokenizer.decode(&[id], true).unwrap_or_default().into_bytes()),
            }
            table.ends.push(table.all.len());
        }
        table
    }

    /// The bytes of a token; none of a special one, and none of an id without a token.
    pub fn get(&self, id: u32) -> &[u8] {
        let at = id as usize;
        match self.ends.get(at) {
            Some(end) => &self.all[at.checked_sub(1).map_or(0, |before| self.ends[before])..*end],
            None => &[],
        }
    }
}

/// The characters that a byte-level tokenizer writes bytes as: printable ones as themselves, the others from U+0100 on.
fn byte_characters() -> BTreeMap<char, u8> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut next = 0x100_u32;
    (0..=u8::MAX)
        .filter_map(|byte| {
            let mut code = u32::from(byte);
            if !printable(byte) {
                code = next;
                next += 1;
            }
            Some((char::from_u32(code)?, byte))
        })
        .collect()
}

/// The largest id of a token: many times that of any published tokenizer.
const MOST_ID: u64 = (1 << 24) - 1;

/// The ids that a `tokenizer.json` names.
fn ids(json: &Value) -> impl Iterator<Item = u64> {
    let vocabulary = json["model"]["vocab"].as_object().into_iter().flat_map(|vocabulary| vocabulary.values());
    let added = json["added_tokens"].as_array().into_iter().flatten().map(|token| &token["id"]);
    vocabulary.chain(added).filter_map(Value::as_u64)
}

impl Tokenizer {
    /// Reads a `tokenizer.json`; `file` names it in errors.
    ///
    /// # Errors
    /// When it cannot be read as one.
    pub fn from_bytes(bytes: &[u8], file: &str) -> Result<Self> {
        let wrong = |reason: String| PolicyError::file(file, reason);
        let mut json: Value = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        // What the reader of the format takes for granted.
        if !known_decoder(&json["decoder"]) {
            return Err(wrong(format!("has no decoder that is known; one of {} is wanted", DECODERS.join(", "))));
        }
        // Tables are as long as the largest id.
        if let Some(id) = ids(&json).find(|id| *id > MOST_ID) {
            return Err(wrong(format!("has the token id {id}; ids up to {MOST_ID} are read")));
        }
        let before = json["model"]["dropout"].clone();
        let notes = settle(&mut json).map_err(wrong)?;
        let is_as_it_was = notes.is_empty() && before == json["model"]["dropout"];
        let settled = if is_as_it_was { Cow::Borrowed(bytes) } else { Cow::Owned(json.to_string().into_bytes()) };
        match catch_unwind(AssertUnwindSafe(|| Inner::from_bytes(&settled))) {
            Ok(read) => {
                let notes = notes.into_iter().map(|note| format!("{file}: {note}")).collect();
                Ok(Self { inner: read.map_err(|error| wrong(error.to_string()))?, notes, bytes: Arc::default() })
            }
            Err(_) => Err(wrong("cannot be read as a tokenizer".to_owned())),
        }
    }

    /// What of its file is switched off, since it would change prompts: a line for each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Token ids of a text; special tokens written in it are recognised.
    ///
    /// # Errors
    /// When the tokenizer refuses the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false).map_err(|error| PolicyError::input(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of token ids; with `skip_special` those tokens that only steer the conversation are left out.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        self.inner.decode(ids, skip_special).unwrap_or_default()
    }

    /// What every token adds to a text.
    pub fn bytes(&self) -> &TokenBytes {
        self.bytes.get_or_init(|| TokenBytes::of(&self.inner))
    }

    /// The id of one token, written out.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// One token written out, by its id.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The special tokens, which text from outside must not contain.
    pub fn special_tokens(&self) -> Vec<String> {
        let added = self.inner.get_added_tokens_decoder();
        let mut tokens: Vec<String> =
            added.values().filter(|token| token.special).map(|token| token.content.clone()).collect();
        tokens.sort();
        tokens
    }

    /// The largest id of any token.
    pub fn largest_id(&self) -> u32 {
        self.inner.get_vocab(true).into_values().max().unwrap_or(0)
    }

    /// Size of the vocabulary, added tokens included.
    pub fn vocabulary_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }
}

/// Trains a byte-level BPE of `vocabulary_size` tokens (the added ones included) and gives its `tokenizer.json`.
///
/// # Errors
/// When the vocabulary is too small to hold the bytes and the added tokens, or training fails.
pub fn train_tokenizer(texts: impl Iterator<Item = String> + Send, vocabulary_size: usize) -> Result<Vec<u8>> {
    let least = 256 + ADDED.len();
    if vocabulary_size < least {
        return Err(PolicyError::input(format!(
            "a vocabulary of {vocabulary_size} is too small: bytes and special tokens need {least}"
        )));
    }
    let failed = |error: tokenizers::Error| PolicyError::input(format!("training the tokenizer failed: {error}"));
    let split =
        Split::new(SplitPattern::Regex(SPLIT.to_owned()), SplitDelimiterBehavior::Isolated, false).map_err(failed)?;
    let bytes = ByteLevel::new(false, false, false);
    let mut tokenizer = TokenizerBuilder::new()
        .with_model(BPE::default())
        .with_normalizer(None::<tokenizers::normalizers::NFC>)
        .with_pre_tokenizer(Some(Sequence::new(vec![split.into(), bytes.into()])))
        .with_post_processor(Some(bytes))
        .with_decoder(Some(bytes))
        .build()
        .map_err(failed)?;
    let mut trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(vocabulary_size - ADDED.len())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    tokenizer.train(&mut trainer, texts).map_err(failed)?;
    let added: Vec<AddedToken> = ADDED.iter().map(|(token, special)| AddedToken::from(*token, *special)).collect();
    tokenizer.add_tokens(added).map_err(failed)?;
    let mut json = tokenizer.to_string(true).map_err(failed)?;
    json.push('\n');
    Ok(json.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_beyond_any_table_is_named() {
        let texts = (0..9).map(|index| format!("how many red circles? {index}"));
        let mut json: Value = serde_json::from_slice(&train_tokenizer(texts, 300).expect("trains")).expect("JSON");
        for place in ["/model/vocab/a", "/added_tokens/0/id"] {
            let whole = json.clone();
            *json.pointer_mut(place).expect("it is there") = 2_147_483_648_u64.into();
            let error = Tokenizer::from_bytes(json.to_string().as_bytes(), "tokenizer.json").expect_err("refused");
            assert!(error.to_string().contains("has the token id 2147483648"), "{error}");
            json = whole;
        }
    }

    #[test]
    fn a_trained_tokenizer_keeps_text_and_splits_digits() {
        let texts = (0..200).map(|index| format!("how many red circles? 红色圆形 {index}"));
        let bytes = train_tokenizer(texts.clone(), 320).expect("trains");
        assert_eq!(bytes, train_tokenizer(texts, 320).expect("trains"), "the same text gives the same tokenizer");
        let tokenizer = Tokenizer::from_bytes(&bytes, "tokenizer.json").expect("reads");
        assert!(tokenizer.vocabulary_size() <= 320);
        let text = "<|im_start|>how many 红色 123?<|im_end|> ё";
        let ids = tokenizer.encode(text).expect("encodes");
        assert_eq!(tokenizer.decode(&ids, false), text);
        let bytes: Vec<u8> = ids.iter().flat_map(|id| tokenizer.bytes().get(*id)).copied().collect();
        assert_eq!(String::from_utf8_lossy(&bytes), tokenizer.decode(&ids, true), "special tokens have no text");
        assert!(tokenizer.bytes().get(4_000_000).is_empty());
        let digits: Vec<u32> = ["1", "2", "3"].iter().filter_map(|digit| tokenizer.id(digit)).collect();
        assert!(ids.windows(3).any(|three| three == digits.as_slice()));
    }

    #[test]
    fn a_vocabulary_without_room_is_refused() {
        assert!(train_tokenizer(std::iter::empty(), 100).is_err());
    }
}
