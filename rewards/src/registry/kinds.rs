//! The table of kinds: one line for each, from which the config, the registry and the catalogue take what they know.

use std::borrow::Cow;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::code::CodeConfig;
use crate::custom::CustomConfig;
use crate::error::Result;
use crate::judge::JudgeConfig;
use crate::kind::{Endpoints, Example, Kind};
use crate::plugin::{HttpConfig, ProcessConfig};
use crate::reward::Reward;
use crate::verifiers;

/// What the catalogue says of a kind, before it is asked.
pub(crate) struct KindFacts {
    /// What stands at `kind`.
    pub(crate) kind: &'static str,
    /// The options with their documentation.
    pub(crate) schema: fn(&mut SchemaGenerator) -> Schema,
    /// A row and what it gets.
    pub(crate) example: fn() -> Example,
    /// The rule without options, where it needs none.
    plain: fn() -> Option<RewardConfig>,
}

macro_rules! kinds {
    ($($kind:literal => $variant:ident($options:ty),)*) => {
        /// A reward as a config describes it: `[rewards.NAME]` with a `kind` and the options of that kind.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind")]
        pub enum RewardConfig {
            $(
                #[doc = concat!("`kind = \"", $kind, "\"`, with its options.")]
                #[serde(rename = $kind)]
                $variant(Box<$options>),
            )*
        }

        $(
            impl From<$options> for RewardConfig {
                fn from(options: $options) -> Self {
                    Self::$variant(Box::new(options))
                }
            }
        )*

        impl RewardConfig {
            /// What stands at `kind` in a config.
            pub fn kind(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $kind,)*
                }
            }

            /// The reward that the options make; judges that a run serves are found in `served`.
            ///
            /// # Errors
            /// When the options make no sense, or what they name is missing; the message names the reward and the remedy.
            pub fn build(&self, name: &str, served: &Endpoints) -> Result<Arc<dyn Reward>> {
                match self {
                    $(Self::$variant(options) => options.build(name, served),)*
                }
            }
        }

        /// Every kind, in the order in which they are best read.
        pub(crate) static KINDS: &[KindFacts] = &[
            $(KindFacts {
                kind: $kind,
                schema: <$options>::json_schema,
                example: <$options as Kind>::example,
                plain: || <$options as Kind>::plain().map(RewardConfig::from),
            },)*
        ];
    };
}

kinds! {
    "exact" => Exact(verifiers::exact::Exact),
    "truth" => Truth(verifiers::truth::Truth),
    "number" => Number(verifiers::number::Number),
    "numeric" => Numeric(verifiers::number::Numeric),
    "math" => Math(verifiers::math::Math),
    "counting" => Counting(verifiers::counting::Counting),
    "text" => Text(verifiers::text::Text),
    "clock" => Clock(verifiers::clock::Clock),
    "grounding" => Grounding(verifiers::grounding::Grounding),
    "multiple_choice" => MultipleChoice(verifiers::multiple_choice::MultipleChoice),
    "description" => Description(verifiers::description::Description),
    "verdict" => Verdict(verifiers::verdict::Verdict),
    "f1" => F1(verifiers::similarity::F1),
    "anls" => Anls(verifiers::similarity::Anls),
    "edit" => Edit(verifiers::similarity::Edit),
    "json" => Json(verifiers::json::Json),
    "json_schema" => JsonBySchema(verifiers::json_schema::JsonBySchema),
    "instructions" => Instructions(verifiers::instructions::Instructions),
    "logic" => Logic(verifiers::logic::Logic),
    "tool_calls" => ToolCalls(verifiers::tool_calls::ToolCalls),
    "format" => Format(verifiers::format::Format),
    "length" => Length(verifiers::length::Length),
    "repetition" => Repetition(verifiers::repetition::Repetition),
    "language" => Language(verifiers::language::Language),
    "code" => Code(CodeConfig),
    "judge" => Judge(JudgeConfig),
    "process" => Process(ProcessConfig),
    "http" => Http(HttpConfig),
    "custom" => Custom(CustomConfig),
}

impl RewardConfig {
    /// The kind with all its options, as JSON.
    pub(crate) fn options(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Whether a kind is called so.
    pub(crate) fn is_kind(name: &str) -> bool {
        KINDS.iter().any(|facts| facts.kind == name)
    }

    /// Rules that need no options.
    pub(crate) fn plain() -> impl Iterator<Item = Self> {
        KINDS.iter().filter_map(|facts| (facts.plain)())
    }
}

/// One alternative for each kind, told apart by the constant `kind`, so that an editor can complete the options of each.
impl JsonSchema for RewardConfig {
    fn schema_name() -> Cow<'static, str> {
        "RewardConfig".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let kinds: Vec<Value> = KINDS.iter().map(|facts| tagged(facts, generator)).collect();
        let description = "A reward: a `kind` and the options of that kind.";
        let mut schema = Schema::default();
        schema.insert("description".to_owned(), json!(description));
        schema.insert("oneOf".to_owned(), Value::Array(kinds));
        schema
    }
}

/// The schema of a kind's options with the key that names the kind.
fn tagged(facts: &KindFacts, generator: &mut SchemaGenerator) -> Value {
    let mut schema = (facts.schema)(generator).to_value();
    let mut properties = json!({"kind": {"const": facts.kind}});
    if let (Some(all), Some(Value::Object(own))) = (properties.as_object_mut(), schema.get("properties").cloned()) {
        all.extend(own);
    }
    let mut required = vec![json!("kind")];
    required.extend(schema.get("required").and_then(Value::as_array).into_iter().flatten().cloned());
    schema["properties"] = properties;
    schema["required"] = Value::Array(required);
    schema
}
