//! `+` in chat templates. The engine puts lists together without a copy, and copies them at last without fuel: a list that is
//! added to itself again and again would take hours. Here it pays for what it copies.

use std::collections::BTreeMap;

use minijinja::machinery::{CodeGenerator, Instruction, Instructions, eval, parse};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, Output, State, context};

/// The function that adds: no template can name it.
pub(super) const ADD: &str = "+";
/// Bytes that a fuel pays for, as the engine has it. An item of a list is one.
const FUEL_BYTES: u64 = 64;

/// A template whose `+` is [`add`].
pub(super) struct Compiled {
    source: &'static str,
    instructions: Instructions<'static>,
    blocks: BTreeMap<&'static str, Instructions<'static>>,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Compiled").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Compiled {
    /// Compiles a template. Its text stays in memory as long as the process: there is one for each model that is opened.
    ///
    /// # Errors
    /// When its syntax is wrong.
    pub(super) fn new(name: &'static str, source: String, syntax: SyntaxConfig) -> Result<Self, Error> {
        let source: &'static str = Box::leak(source.into_boxed_str());
        let mut generator = CodeGenerator::new(name, source);
        generator.compile_stmt(&parse(source, name, syntax)?);
        let (mut instructions, mut blocks) = generator.finish();
        for instructions in blocks.values_mut().chain([&mut instructions]) {
            let mut at = 0;
            while let Some(instruction) = instructions.get_mut(at) {
                if matches!(instruction, Instruction::Add) {
                    *instruction = Instruction::CallFunction(ADD, Some(2));
                }
                at += 1;
            }
        }
        Ok(Self { source, instructions, blocks })
    }

    /// The template's own text.
    pub(super) fn source(&self) -> &'static str {
        self.source
    }

    /// Renders it.
    ///
    /// # Errors
    /// What the template or the engine says.
    pub(super) fn eval<'env>(
        &'env self,
        environment: &'env Environment<'env>,
        given: Value,
        out: &mut Output<'_>,
        escape: AutoEscape,
    ) -> Result<(), Error> {
        eval(environment, &self.instructions, given, &self.blocks, out, escape).map(drop)
    }
}

/// The sum of two values, as the engine has it; lists are copied, and paid for.
pub(super) fn add(state: &State<'_, '_>, left: Value, right: Value) -> Result<Value, Error> {
    if let (Some(one), Some(other)) = (left.as_str(), right.as_str()) {
        state.consume_fuel((one.len() + other.len()) as u64 / FUEL_BYTES)?;
        return Ok(Value::from([one, other].concat()));
    }
    let (left, right) = (copied(state, left)?, copied(state, right)?);
    state.env().compile_expression("left + right")?.eval(context! { left, right })
}

/// A list of its own in the place of one that was put together from others.
fn copied(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    if !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) || value.is_tuple() {
        return Ok(value);
    }
    let mut items = Vec::new();
    for item in value.try_iter()? {
        state.consume_fuel(1)?;
        items.push(item);
    }
    Ok(Value::from(items))
}
