//! Chat texts: the checkpoint's own template, rendered by minijinja as Python's Jinja would.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value as Jinja};
use minijinja::{Environment, Error, ErrorKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{PolicyError, Result};

/// Steps that a template may take: far beyond any real conversation, and a bound for a hostile one.
const FUEL: u64 = 20_000_000;
const NAME: &str = "chat";

/// One message, in the shape that chat templates read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// A string, or a list of typed parts (`{"type": "text", "text": ..}`, `{"type": "image"}`).
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
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
}

impl ChatTemplate {
    /// Compiles a template; `file` names it in errors.
    ///
    /// # Errors
    /// When its syntax is wrong.
    pub fn new(source: &str, file: &str) -> Result<Self> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| PolicyError::file(file, error.to_string()))?);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", tojson);
        environment.add_function("raise_exception", |message: String| -> std::result::Result<Jinja, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(|error| PolicyError::file(file, format!("the chat template cannot be read: {error}")))?;
        Ok(Self { environment })
    }

    /// The text of a conversation.
    ///
    /// # Errors
    /// When the template refuses the messages or takes too long.
    pub fn render(&self, messages: &[ChatMessage], options: &ChatOptions) -> Result<String> {
        let tools = (!options.tools.is_empty()).then_some(&options.tools);
        let context = minijinja::context! {
            messages => Jinja::from(Serde(messages)),
            tools => Jinja::from(Serde(tools)),
            add_generation_prompt => options.add_generation_prompt,
        };
        let template = self.environment.get_template(NAME).map_err(|error| PolicyError::input(error.to_string()))?;
        template.render(context).map_err(|error| PolicyError::input(format!("the chat template failed: {error:#}")))
    }
}

/// JSON as Python writes it: `", "` and `": "`, nothing escaped for HTML, non-ASCII kept; `indent` as in Python.
fn tojson(value: &Jinja, options: Kwargs) -> std::result::Result<Jinja, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let _: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let json =
        serde_json::to_value(value).map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    let mut text = String::new();
    write_json(&json, indent, 0, &mut text);
    Ok(Jinja::from_safe_string(text))
}

fn write_json(value: &Value, indent: Option<usize>, depth: usize, out: &mut String) {
    let newline = |depth: usize, out: &mut String| {
        if let Some(indent) = indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', (indent * depth).min(4096)));
        }
    };
    let separator = if indent.is_some() { "," } else { ", " };
    match value {
        Value::Array(items) if !items.is_empty() => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { separator } else { "" });
                newline(depth + 1, out);
                write_json(item, indent, depth + 1, out);
            }
            newline(depth, out);
            out.push(']');
        }
        Value::Object(items) if !items.is_empty() => {
            out.push('{');
            for (index, (key, item)) in items.iter().enumerate() {
                out.push_str(if index > 0 { separator } else { "" });
                newline(depth + 1, out);
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push_str(": ");
                write_json(item, indent, depth + 1, out);
            }
            newline(depth, out);
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}
