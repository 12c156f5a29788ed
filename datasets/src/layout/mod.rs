//! Rows become queries: which column holds what in the layouts of verl, EasyR1, TRL, ms-swift, ShareGPT, LLaVA and
//! our own, and what a config says beside it.

mod conversation;
pub(crate) mod marks;
mod own;
mod pick;
pub(crate) mod pictures;
pub(crate) mod template;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::columns::{Columns, Role, no_question};
use crate::error::{DatasetError, Fault, Result};
use crate::picture::Picture;
use crate::query::{Message, Part, Query, Role as Speaker};
use crate::table::{Row, Table};
use crate::video::Video;
use conversation::Conversation;
use marks::{check_marks, in_named_order, marked_parts, marked_text, place_unmarked};
use pick::{Picked, kind_of, look_up, pick};
use template::Template;

/// The column in which a row may hold the response to imitate.
pub(crate) use own::CONVERSATIONAL;
pub use own::RESPONSE_COLUMN;
pub(crate) use pick::text_of;

/// The file that lists the pictures of an image folder.
pub(crate) const METADATA: &str = "metadata.jsonl";
/// Its column with the picture's path.
const FILE_NAME: &str = "file_name";

/// A query and the response to imitate, if there is one.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// What is asked.
    pub query: Query,
    /// The whole response (thinking and answer) without the end-of-turn token.
    pub response: Option<String>,
    /// Whether the messages end with the assistant's: that is the response, and no part of the question.
    pub spoken: bool,
}

/// What a config says about all rows of a source.
#[derive(Clone, Debug, Default)]
pub(crate) struct RowRules {
    /// The task of every row, whatever its columns say.
    pub(crate) task: Option<String>,
    /// The task of a row that names none.
    pub(crate) name: String,
    pub(crate) system: Option<String>,
    pub(crate) prompt: Option<Template>,
}

impl RowRules {
    /// Puts the template and the system message into a conversation.
    pub(crate) fn reword(&self, messages: &mut Vec<Message>, columns: &Map<String, Value>, place: &str) -> Result<()> {
        if let Some(template) = &self.prompt {
            let asked = messages.iter_mut().rev().find(|message| message.role == Speaker::User);
            let asked = asked.ok_or_else(|| DatasetError::row(place, "no user message for the prompt template"))?;
            let rendered = template.render(&marked_text(&asked.content), columns, place)?;
            asked.content = marked_parts(&rendered, &mut Vec::new());
        }
        if let Some(system) = &self.system {
            messages.retain(|message| message.role != Speaker::System);
            messages.insert(0, Message { role: Speaker::System, content: vec![Part::text(system)] });
        }
        Ok(())
    }
}

/// Which columns of one file hold what.
#[derive(Debug)]
pub(crate) struct Layout {
    path: PathBuf,
    /// Names rows without an id.
    stem: String,
    /// Whether we wrote the file: some of its columns are JSON then, and some are for people.
    is_own: bool,
    question: Vec<String>,
    ground_truth: Vec<String>,
    images: Vec<String>,
    videos: Vec<String>,
    response: Vec<String>,
    task: Vec<String>,
    id: Vec<String>,
    /// The kind of value that a column of JSON holds in the first row that can be read, and the number of that row.
    kinds: BTreeMap<String, &'static str>,
    kinds_of_row: u64,
}

impl Layout {
    /// Finds the columns of a file.
    ///
    /// # Errors
    /// When no column holds a question, or `columns` names one that is not there.
    pub(crate) fn of(table: &Table, path: &Path, stem: String, columns: &Columns) -> Result<Self> {
        let present = table.columns();
        let place = path.display().to_string();
        let mut columns = columns.clone();
        let is_folder = path.file_name().is_some_and(|name| name == METADATA);
        if is_folder && columns.images.is_none() && present.iter().any(|column| column == FILE_NAME) {
            columns.images = Some(FILE_NAME.to_owned());
        }
        columns.refuse_unread(&place, table.unread())?;
        let of = |role| columns.of(role, &place, present);
        let mut layout = Self {
            path: path.to_owned(),
            stem,
            is_own: matches!(table, Table::Parquet(_)) && own::wrote(present),
            question: of(Role::Question)?,
            ground_truth: of(Role::GroundTruth)?,
            images: of(Role::Images)?,
            videos: of(Role::Videos)?,
            response: of(Role::Response)?,
            task: of(Role::Task)?,
            id: of(Role::Id)?,
            kinds: BTreeMap::new(),
            kinds_of_row: 1,
        };
        if layout.question.is_empty() {
            return Err(no_question(&place, present));
        }
        if let Table::Json(json) = table {
            let first = json.first_readable();
            layout.kinds = layout.kinds_of(&table.row(first)?.values);
            layout.kinds_of_row = first + 1;
        }
        Ok(layout)
    }

    /// Columns that hold pictures.
    pub(crate) fn images(&self) -> &[String] {
        &self.images
    }

    /// The column with the id, if there is one.
    pub(crate) fn id_column(&self) -> Option<&str> {
        self.id.first().map(String::as_str)
    }

    /// Whether a row may name its own task.
    pub(crate) fn names_tasks(&self) -> bool {
        !self.task.is_empty()
    }

    /// File and row, as errors name them; rows count from 1.
    pub(crate) fn place(&self, number: u64) -> String {
        format!("{} row {number}", self.path.display())
    }

    /// Reads a row; `number` counts from 1.
    ///
    /// # Errors
    /// When it cannot be used, with file, row, column and remedy.
    pub(crate) fn read(&self, rules: &RowRules, row: Row, number: u64) -> Result<Example> {
        // What is not said to be about something else is about the columns.
        self.query(rules, row, number).map_err(|error| error.about(Fault::Columns))
    }

    fn query(&self, rules: &RowRules, mut row: Row, number: u64) -> Result<Example> {
        let place = self.place(number);
        if self.is_own {
            own::open_json(&mut row.values, &place)?;
        }
        let is_own = own::is_own(&row.values);
        if is_own {
            own::refuse_unknown_keys(&row.values, &place)?;
        } else {
            self.check_kinds(&row.values, &place)?;
        }
        self.refuse_not_finite(&row.not_finite, &place)?;
        let about = |fault: Fault| move |error: DatasetError| error.about(fault);
        let given = rules.prompt.is_some().then(|| row.values.clone());
        let (column, pictures) = self.pictures(&mut row, &place)?;
        let videos = self.videos(&mut row.values, &place).map_err(about(Fault::Video))?;
        let named = self.named_truths(&row.values);
        let ground_truth = pick(&mut row.values, &self.ground_truth, Role::GroundTruth, &place)?;
        let mut asked = self.question(&mut row.values, !pictures.is_empty(), &place)?;
        if pictures.is_empty() && videos.is_empty() && asked.asks_nothing() {
            let reason = "the question is empty, and no picture or video stands in its place";
            return Err(DatasetError::row(place, reason).about(Fault::Question));
        }
        let spoken = asked.response.is_some();
        let response = self.response(&mut row.values, asked.response.take(), is_own, &place)?;
        let images = self.shown(&mut asked, column, pictures, &place)?;
        rules.reword(&mut asked.messages, &given.unwrap_or_default(), &place).map_err(about(Fault::Template))?;
        place_unmarked(&mut asked.messages, &Part::Video, videos.len());
        place_unmarked(&mut asked.messages, &Part::Image, images.len());
        // Our own files have messages whatever they were made of, and say so: in Parquet among the further columns.
        let mark = match (is_own, self.is_own) {
            (true, true) => {
                let columns = row.values.get_mut("columns").and_then(Value::as_object_mut);
                columns.and_then(|columns| columns.shift_remove(CONVERSATIONAL))
            }
            (true, false) => row.values.shift_remove(CONVERSATIONAL),
            (false, _) => Some(Value::Bool(asked.is_list)),
        };
        let conversational = mark == Some(Value::Bool(true));
        let query = Query {
            id: self.id(&mut row.values, &place)?.unwrap_or_else(|| format!("{}-{number}", self.stem)),
            task: self.task(&mut row.values, rules, &place)?,
            messages: asked.messages,
            conversational,
            images,
            videos,
            ground_truth: ground_truth.map(|picked| picked.value),
            rubric: own::text(row.values.shift_remove("rubric"), "rubric", &place)?,
            tools: own::tools(&mut row.values, is_own, &place)?,
            columns: Map::from_iter(own::further(row.values, is_own).into_iter().chain(named)),
        };
        check_marks(&query, &place).map_err(about(Fault::Marks))?;
        Ok(Example { query, response, spoken })
    }

    /// What the columns of the ground truth hold, by their own names: rewards of others ask for them by these.
    fn named_truths(&self, values: &Map<String, Value>) -> Vec<(String, Value)> {
        let named = self.ground_truth.iter().filter(|name| *name != Role::GroundTruth.key());
        let kept = named.filter_map(|name| values.get(name).map(|value| (name.clone(), value.clone())));
        kept.filter(|(_, value)| !value.is_null()).collect()
    }

    /// The id of a row, from its column alone.
    pub(crate) fn scanned_id(&self, values: &Map<String, Value>, number: u64) -> String {
        let id = self.id.first().and_then(|name| look_up(values, name)).filter(|id| !id.is_null());
        id.map_or_else(|| format!("{}-{number}", self.stem), text_of)
    }

    fn id(&self, values: &mut Map<String, Value>, place: &str) -> Result<Option<String>> {
        match pick(values, &self.id, Role::Id, place)? {
            None => Ok(None),
            Some(Picked { value: Value::Number(number), .. }) => Ok(Some(number.to_string())),
            Some(Picked { value: Value::String(text), .. }) if !text.is_empty() => Ok(Some(text)),
            Some(Picked { column, value }) => {
                Err(DatasetError::row(place, format!("column `{column}` is {value}; an id is text or a number")))
            }
        }
    }

    /// The task of a row. What names it stays a further column, unless the column is called `task`.
    fn task(&self, values: &mut Map<String, Value>, rules: &RowRules, place: &str) -> Result<String> {
        if let Some(task) = &rules.task {
            return Ok(task.clone());
        }
        let named = self.task.iter().find_map(|column| {
            look_up(values, column).filter(|value| !value.is_null()).map(|value| (column.as_str(), value.clone()))
        });
        match named {
            None => Ok(rules.name.clone()),
            Some((column, Value::String(text))) if !text.is_empty() => {
                if column == "task" {
                    values.shift_remove(column);
                }
                Ok(text)
            }
            Some((column, value)) => {
                Err(DatasetError::row(place, format!("column `{column}` is {value}; a task is text")))
            }
        }
    }

    /// The pictures of the row's columns, and the column that holds them.
    fn pictures(&self, row: &mut Row, place: &str) -> Result<(String, Vec<crate::table::RawPicture>)> {
        let mut filled = std::mem::take(&mut row.pictures).into_iter().filter(|(_, pictures)| !pictures.is_empty());
        let first = filled.next().unwrap_or_default();
        match filled.next() {
            Some((other, pictures)) if pictures != first.1 => {
                let reason = format!("`{}` and `{other}` both hold pictures; name one by columns.images", first.0);
                Err(DatasetError::row(place, reason))
            }
            _ => Ok(first),
        }
    }

    fn videos(&self, values: &mut Map<String, Value>, place: &str) -> Result<Vec<Video>> {
        match pick(values, &self.videos, Role::Videos, place)? {
            Some(Picked { column, value }) => {
                pictures::videos(value, &self.path, &format!("{place}, column `{column}`"))
            }
            None => Ok(Vec::new()),
        }
    }

    /// The conversation of the first column that holds one; what further columns ask must be the same.
    fn question(&self, values: &mut Map<String, Value>, has_pictures: bool, place: &str) -> Result<Conversation> {
        let mut filled = Vec::new();
        for column in &self.question {
            if let Some(value) = pick(values, std::slice::from_ref(column), Role::Question, place)? {
                filled.push(value);
            }
        }
        let mut filled = filled.into_iter();
        let Some(Picked { column, value }) = filled.next() else {
            let reason = format!("no question: column `{}` is empty", self.question[0]);
            return Err(DatasetError::row(place, reason).about(Fault::Question));
        };
        let asked = conversation::user_texts(&value);
        for other in filled {
            if !conversation::user_texts(&other.value).iter().any(|text| asked.contains(text)) {
                let reason =
                    format!("`{column}` and `{}` ask different things; name one by columns.question", other.column);
                return Err(DatasetError::row(place, reason));
            }
        }
        let place = format!("{place}, column `{column}`");
        let read = Conversation::read(value, has_pictures, &place);
        let conversation = read.map_err(|error| error.about(Fault::Messages))?;
        let last = conversation.messages.last().map(|message| message.role);
        let reason = match last {
            Some(Speaker::System) => "ends with a system message; there is nothing to answer",
            Some(Speaker::Assistant) => "ends with two messages of the assistant; there is nothing to answer",
            _ if conversation.messages.iter().all(|message| message.role != Speaker::User) => {
                "holds no message of a user; there is no question"
            }
            _ => return Ok(conversation),
        };
        Err(DatasetError::row(place, reason).about(Fault::Question))
    }

    /// The response: of its own column, or what the assistant says last. Both must be the same.
    fn response(
        &self,
        values: &mut Map<String, Value>,
        spoken: Option<String>,
        is_own: bool,
        place: &str,
    ) -> Result<Option<String>> {
        let Some(Picked { column, value }) = pick(values, &self.response, Role::Response, place)? else {
            return Ok(is_own.then(|| own::response(values)).flatten().or(spoken));
        };
        let written = conversation::response(value, &format!("{place}, column `{column}`"))?;
        match spoken {
            Some(spoken) if spoken != written => {
                let reason = format!("the last message and `{column}` are different responses; leave one out");
                Err(DatasetError::row(place, reason))
            }
            _ => Ok(Some(written)),
        }
    }

    /// The pictures in the order in which the messages name them.
    fn shown(
        &self,
        asked: &mut Conversation,
        column: String,
        pictures: Vec<crate::table::RawPicture>,
        place: &str,
    ) -> Result<Vec<Picture>> {
        let inline = std::mem::take(&mut asked.pictures);
        let (column, raw) = match (inline.is_empty(), pictures.is_empty()) {
            (true, _) => (column, pictures),
            (false, true) => (self.question[0].clone(), inline),
            (false, false) => {
                let reason = format!("the messages hold pictures, and so does column `{column}`; leave one out");
                return Err(DatasetError::row(place, reason));
            }
        };
        let read = |(index, raw)| {
            let place = format!("{place}, column `{column}`, picture {}", index + 1);
            pictures::picture(raw, &self.path, &place)
        };
        let pictures = raw.into_iter().enumerate().map(read).collect::<Result<Vec<Picture>>>()?;
        in_named_order(pictures, &asked.numbers, place).map_err(|error| error.about(Fault::Marks))
    }

    /// A number that is none must not pass for one that is not there.
    fn refuse_not_finite(&self, columns: &[String], place: &str) -> Result<()> {
        let top = |name: &String| name.split_once('.').map_or(name.clone(), |(top, _)| top.to_owned());
        match columns.iter().find(|column| self.typed().any(|name| name == *column || top(name) == **column)) {
            Some(column) => {
                let reason =
                    format!("column `{column}` holds NaN or infinity; write a number, or null where there is none");
                Err(DatasetError::row(place, reason))
            }
            None => Ok(()),
        }
    }

    /// Columns whose type must not change from row to row.
    fn typed(&self) -> impl Iterator<Item = &String> {
        [&self.question, &self.ground_truth, &self.response, &self.task, &self.id].into_iter().flatten()
    }

    fn kinds_of(&self, values: &Map<String, Value>) -> BTreeMap<String, &'static str> {
        let kind = |name: &String| Some((name.clone(), kind_of(look_up(values, name)?)?));
        self.typed().filter_map(kind).collect()
    }

    /// Parquet has one type a column; in JSON a row may hold a number where the others hold text.
    fn check_kinds(&self, values: &Map<String, Value>, place: &str) -> Result<()> {
        for (column, first) in &self.kinds {
            let here = look_up(values, column).and_then(kind_of);
            if let Some(here) = here.filter(|here| here != first) {
                let row = self.kinds_of_row;
                let reason = format!("column `{column}` is {here}, but {first} in row {row}; write all rows alike");
                return Err(DatasetError::row(place, reason));
            }
        }
        Ok(())
    }
}
