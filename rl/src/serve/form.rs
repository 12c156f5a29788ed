//! What an answer must be: any text, a JSON object, or JSON that keeps a schema.

use sapo_rewards::verifiers::json_schema::Schema;
use serde_json::{Map, Value};

use super::fault::Fault;
use super::fields::{Fields, wrong};

/// The form of an answer.
#[derive(Clone)]
pub(super) enum Form {
    /// Any text.
    Text,
    /// A JSON object.
    Object,
    /// JSON that keeps a schema.
    Schema(Schema),
}

impl std::fmt::Debug for Form {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Text => "Text",
            Self::Object => "Object",
            Self::Schema(_) => "Schema",
        })
    }
}

impl Form {
    /// Reads a `response_format`.
    pub(super) fn read(format: Option<&Map<String, Value>>) -> Result<Self, Fault> {
        let Some(format) = format else { return Ok(Self::Text) };
        let kind = format.get("type").unwrap_or(&Value::Null);
        match kind.as_str() {
            Some("text") => Ok(Self::Text),
            Some("json_object") => Ok(Self::Object),
            Some("json_schema") => {
                let place = "response_format.json_schema.schema";
                let named = Fields::new(format).object("json_schema")?.and_then(|named| named.get("schema"));
                let schema = named.ok_or_else(|| Fault::field(place, "is missing; give a JSON schema"))?;
                let schema = Schema::new(schema, false).map_err(|reason| Fault::field(place, reason))?;
                Ok(Self::Schema(schema))
            }
            _ => Err(wrong("response_format.type", kind, "\"text\", \"json_object\" or \"json_schema\"")),
        }
    }

    /// Whether any text will do.
    pub(super) fn is_text(&self) -> bool {
        matches!(self, Self::Text)
    }

    /// Why a whole answer is not of this form, if it is not. White space around it is let pass.
    pub(super) fn fault(&self, answer: &str) -> Option<String> {
        if self.is_text() {
            return None;
        }
        let value: Value = match serde_json::from_str(answer) {
            Ok(value) => value,
            Err(error) => return Some(format!("not JSON: {error}")),
        };
        match self {
            Self::Schema(schema) => schema.check(&value).err(),
            _ if value.is_object() => None,
            _ => Some("JSON, but not an object".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn form(format: &Value) -> Result<Form, Fault> {
        Form::read(format.as_object())
    }

    #[test]
    fn an_answer_is_checked_as_a_whole() {
        let object = form(&json!({"type": "json_object"})).unwrap();
        assert_eq!(object.fault(" {\"a\": 1}\n"), None);
        for wrong in ["", "{", "[1]", "1", "{} {}", "so: {\"a\": 1}", "{\"a\": 1,}"] {
            assert!(object.fault(wrong).is_some(), "{wrong}");
        }
        let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]});
        let schema = form(&json!({"type": "json_schema", "json_schema": {"name": "a", "schema": schema}})).unwrap();
        assert_eq!(schema.fault("{\"a\": 1}"), None);
        assert!(schema.fault("{\"a\": \"1\"}").is_some_and(|fault| fault.contains("/a")));
        assert!(schema.fault("{}").is_some());
        assert_eq!(form(&json!({"type": "text"})).unwrap().fault("anything"), None);
    }

    #[test]
    fn what_is_no_format_is_refused() {
        for wrong in [
            json!({}),
            json!({"type": "xml"}),
            json!({"type": "json_schema"}),
            json!({"type": "json_schema", "json_schema": {"name": "x"}}),
            json!({"type": "json_schema", "json_schema": {"schema": {"type": 3}}}),
            json!({"type": "json_schema", "json_schema": {"schema": {"$ref": "https://example.org/s.json"}}}),
        ] {
            assert!(form(&wrong).is_err(), "{wrong}");
        }
    }
}
