//! Chat texts: the checkpoint's own template, rendered by minijinja as Python's Jinja would.

use std::sync::Arc;

use minijinja::machinery::make_string_output;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value as Jinja};
use minijinja::{AutoEscape, Environment, Error, ErrorKind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::addition::{ADD, Compiled, add};
use super::json::{printable, tojson};
use crate::error::{PolicyError, Result};

/// What a template may do: steps, and 64 bytes of text for a step. Far beyond any real conversation, and a bound on
/// time and memory for a hostile one.
const FUEL: u64 = 4_000_000;
/// Bytes of a template at most.
const MOST_SOURCE: usize = 1 << 17;
/// Stack of the thread that reads and renders: a template can put lists into lists, as deep as the fuel lasts, and
/// expressions into expressions, as deep as its length allows. Only what is used of it takes memory.
const STACK: usize = 1 << 30;
const NAME: &str = "chat";

/// One message, in the shape that chat templates read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// A string, or a list of typed parts (`{"type": "text", "text": ..}`, `{"type": "image"}`, `{"type": "video"}`).
    pub content: Value,
    /// Tool calls of an assistant's turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Value>,
}

/// What a template is rendered with beside the messages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChatOptions {
    /// Whether the assistant's turn is opened at the end.
    pub add_generation_prompt: bool,
    /// Signatures of the tools that may be called.
    pub tools: Vec<Value>,
}

/// A compiled chat template.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    compiled: Arc<Compiled>,
}

impl ChatTemplate {
    /// Compiles a template; `file` names it in errors.
    ///
    /// # Errors
    /// When its syntax is wrong, or it is too long.
    pub fn new(source: &str, file: &str) -> Result<Self> {
        if source.len() > MOST_SOURCE {
            return Err(PolicyError::file(file, format!("the chat template has more than {MOST_SOURCE} bytes")));
        }
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        let syntax = syntax.map_err(|error| PolicyError::file(file, error.to_string()))?;
        environment.set_syntax(syntax.clone());
        environment.set_fuel(Some(FUEL));
        // An error must not hold what the template had made so far.
        environment.set_debug(false);
        // Lists that are put together without a copy, and without fuel; Python's Jinja has no such filter.
        environment.remove_filter("chain");
        environment.add_function(ADD, add);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_formatter(|out, state, value| {
            printable(value)?;
            minijinja::escape_formatter(out, state, value)
        });
        environment.add_filter("tojson", tojson);
        environment.add_function("raise_exception", |message: String| -> std::result::Result<Jinja, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        let source = without_marks(source);
        let compiled = on_own_stack(|| Compiled::new(NAME, source, syntax).map_err(|error| error.to_string()))?
            .map_err(|error| PolicyError::file(file, format!("the chat template cannot be read: {error}")))?;
        Ok(Self { environment, compiled: Arc::new(compiled) })
    }

    /// Gives the template names that stand for a text, such as `eos_token`.
    pub(super) fn define(&mut self, names: impl IntoIterator<Item = (String, String)>) {
        for (name, text) in names {
            self.environment.add_global(name, text);
        }
    }

    /// The template's own text.
    pub fn source(&self) -> String {
        self.compiled.source().to_owned()
    }

    /// The text of a conversation.
    ///
    /// # Errors
    /// When the template refuses the messages or takes too long.
    pub fn render(&self, messages: &[ChatMessage], options: &ChatOptions) -> Result<String> {
        let mut given = Map::from_iter([("add_generation_prompt".to_owned(), options.add_generation_prompt.into())]);
        if !options.tools.is_empty() {
            given.insert("tools".to_owned(), Value::Array(options.tools.clone()));
        }
        self.render_with(&json!(messages), &given)
    }

    /// The text of messages in any shape that the template reads, with options by the names that it knows them by.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn render_with(&self, messages: &Value, options: &Map<String, Value>) -> Result<String> {
        let mut given = json!({"messages": messages, "tools": null, "documents": null, "add_generation_prompt": false});
        if let Value::Object(given) = &mut given {
            given.extend(options.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        let render = || {
            let mut text = String::new();
            let (given, out) = (Jinja::from(Serde(&given)), &mut make_string_output(&mut text));
            self.compiled.eval(&self.environment, given, out, AutoEscape::None).map(|()| text)
        };
        // An error holds the template's values, so that it must not leave that stack.
        on_own_stack(|| render().map_err(|error: Error| format!("{error:#}")))?
            .map_err(|error| PolicyError::input(format!("the chat template failed: {error}")))
    }
}

/// Runs what goes as deep as a template does, on a stack that is large enough for the deepest.
fn on_own_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    let ended = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        thread.map(|thread| thread.join())
    });
    match ended {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) => Err(PolicyError::input("the chat template failed: it finds a fault in its engine")),
        Err(error) => Err(PolicyError::input(format!("no thread for the chat template: {error}"))),
    }
}

/// Turns the tags `generation` and `endgeneration`, with which templates mark what an assistant says, into a condition
/// that always holds.
fn without_marks(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, tag)) = rest.split_once("{%") {
        out.push_str(before);
        out.push_str("{%");
        let Some((inside, after)) = tag.split_once("%}") else { return out + tag };
        let word = inside.trim_matches(['-', '+', ' ', '\t', '\n', '\r']);
        match word {
            "generation" => out.push_str(&inside.replacen(word, "if true", 1)),
            "endgeneration" => out.push_str(&inside.replacen(word, "endif", 1)),
            _ => out.push_str(inside),
        }
        out.push_str("%}");
        rest = after;
    }
    out + rest
}
