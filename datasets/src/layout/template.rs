//! The template of the last user message, over the row's columns and the question as it was found.

use std::io::Error;
use std::path::Path;

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use sapo_pictures::file;
use serde_json::{Map, Value};

use crate::error::{DatasetError, Result};

/// The name under which the environment holds the template.
const NAME: &str = "prompt";
/// The variable that holds the question.
const CONTENT: &str = "content";
/// Endings that only the path of a template has.
const ENDINGS: [&str; 3] = [".jinja", ".jinja2", ".j2"];
/// Steps that one rendering may take: a loop that does not end is an error.
const FUEL: u64 = 1_000_000;
/// Bytes of a template at most.
const MOST_BYTES: u64 = 1 << 20;

/// A parsed template. A name that the row lacks is an error, and nothing is escaped.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    environment: Environment<'static>,
}

impl Template {
    /// Takes a template, or the path of one (relative to `base`).
    ///
    /// # Errors
    /// When the file cannot be read, the template cannot be parsed, or it holds no variable at all.
    pub(crate) fn open(text: &str, base: &Path, place: &str) -> Result<Self> {
        let path = base.join(text);
        let is_path = !text.contains(['{', '\n']) && (path.is_file() || ENDINGS.iter().any(|end| text.ends_with(end)));
        let (source, place) = if is_path {
            let read = file::read(&path, MOST_BYTES).and_then(|bytes| String::from_utf8(bytes).map_err(Error::other));
            let read = read.map_err(|error| DatasetError::io(&path, error))?;
            (read, format!("{place}, prompt {}", path.display()))
        } else {
            (text.to_owned(), format!("{place}, prompt"))
        };
        if !source.contains("{{") {
            let reason = "a template without a variable asks every row the same; write {{ content }} for the question";
            return Err(DatasetError::row(place, reason));
        }
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_fuel(Some(FUEL));
        environment
            .add_template_owned(NAME, source)
            .map_err(|error| DatasetError::row(place, format!("cannot be parsed: {error}")))?;
        Ok(Self { environment })
    }

    /// Its own text.
    pub(crate) fn source(&self) -> String {
        self.environment.get_template(NAME).map(|template| template.source().to_owned()).unwrap_or_default()
    }

    /// The message for a row whose question is `content`.
    ///
    /// # Errors
    /// When the template names what the row lacks, or fails in another way.
    pub(super) fn render(&self, content: &str, columns: &Map<String, Value>, place: &str) -> Result<String> {
        let mut variables = columns.clone();
        variables.insert(CONTENT.to_owned(), content.into());
        let rendered = self
            .environment
            .get_template(NAME)
            .and_then(|template| template.render(minijinja::Value::from(Serde(&variables))));
        rendered.map_err(|error| {
            let known = crate::nearest::list(variables.keys().map(String::as_str));
            DatasetError::row(place, format!("the prompt template fails: {error} (the row has {known})"))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(template: &str) -> Result<String> {
        let Value::Object(columns) = json!({"level": 3, "options": ["a", "b"], "content": "hidden"}) else {
            unreachable!("an object was written")
        };
        Template::open(template, Path::new(""), "data.geo")?.render(" <b> & 2? ", &columns, "geo row 17")
    }

    #[test]
    fn columns_and_the_question_are_variables() {
        assert_eq!(render("{{ content | trim }} Level {{ level }}.").unwrap(), "<b> & 2? Level 3.");
        assert_eq!(render("{{ content.strip() }}{% for o in options %} {{ o }}{% endfor %}").unwrap(), "<b> & 2? a b");
    }

    #[test]
    fn a_failing_template_names_the_row() {
        let message = render("{{ content }}{{ levle }}").unwrap_err().to_string();
        assert!(
            message.starts_with("geo row 17: the prompt template fails") && message.contains("`level`"),
            "{message}"
        );
        let parsed = |text: &str| render(text).unwrap_err().to_string();
        assert!(parsed("{{ content ").starts_with("data.geo, prompt: cannot be parsed"));
        assert!(parsed("Think first.").contains("{{ content }}"));
        assert!(
            parsed("{{ content }}{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}")
                .contains("fuel")
        );
    }

    #[test]
    fn a_path_is_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("math.jinja"), "{{ content | trim }} Think first.\n").unwrap();
        let template = Template::open("math.jinja", folder.path(), "d").unwrap();
        assert_eq!(template.render("2+2? ", &Map::new(), "d").unwrap(), "2+2? Think first.");
        assert!(Template::open("gone.jinja", folder.path(), "d").unwrap_err().to_string().contains("gone.jinja"));
    }
}
