"""Runs a reward function of a Python file: JSON lines come on stdin, replies go to descriptor 3."""
import asyncio
import difflib
import importlib.util
import inspect
import json
import math
import os
import sys
import traceback

FORMS = (
    "compute_score(data_source, solution_str, ground_truth, extra_info) as verl calls it, "
    "reward(prompts, completions, **columns) as TRL does, compute_score(reward_input), (reward_inputs) or "
    "(predict, ground_truth) as EasyR1 does, reward(completion, answer, **columns) as verifiers does, f(item), or f(items)"
)

# Columns of the ground truth: the one that data was read from may have had any of these names.
TRUTH_NAMES = ("answer", "solution", "target", "label")
# The same of the question.
QUESTION_NAMES = ("problem", "question", "query")
# What the data gives in one of the forms, so that no kwargs can.
GIVEN = {
    "data_source", "data_sources", "solution_str", "solution_strs", "ground_truth", "ground_truths", "extra_info",
    "extra_infos", "prompts", "completions", "completion_ids", "prompt", "completion", "reward_input", "reward_inputs",
    "predict", "predicts",
}
# Keys of a returned dict that hold the value itself, the first that is there.
VALUE_KEYS = ("value", "overall", "score")
NONE = "the function gave None, which is: it does not apply to this answer"
# Characters of a text that a function gives beside its value.
LONGEST_TEXT = 500


class Complaint(Exception):
    """Something that is said as it is, without the line of the code."""


class Fault:
    """What an item has in place of a value: why there is none."""

    def __init__(self, reason):
        self.reason = reason


def shown(file):
    """A path as people know it from where they stand."""
    near = os.path.relpath(file)
    return file if near.startswith("..") else near


def told(error):
    """An error in words, with the line of the user's code that it comes from."""
    if isinstance(error, Complaint):
        return str(error)
    words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        return f"{shown(error.filename)} line {error.lineno}: {type(error).__name__}: {error.msg}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    folder = os.path.dirname(os.path.abspath(sys.argv[1]))
    own = [frame for frame in frames if frame.filename.startswith(folder) and "site-packages" not in frame.filename]
    if not (own or frames):
        return words
    frame = (own or frames)[-1]
    within = "" if frame.name == "<module>" else f", in {frame.name}"
    return f"{shown(frame.filename)} line {frame.lineno}{within}: {words}"


def load(path, name):
    """The module of a file, and its function of that name."""
    folder = os.path.dirname(os.path.abspath(path))
    sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(os.path.splitext(os.path.basename(path))[0], os.path.abspath(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        raise Complaint(
            f"{told(error)}; it is run by {sys.executable}: install the module there, or say which `interpreter` has it"
        ) from error
    except (Exception, SystemExit) as error:
        raise Complaint(told(error)) from error
    function = getattr(module, name, None)
    if callable(function):
        return module, function
    if function is not None:
        raise Complaint(f"`{name}` of {shown(path)} is no function: {function!r}")
    known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    near = difflib.get_close_matches(name, known, 1) or known[:5]
    hint = f"; did you mean {' or '.join(f'`{one}`' for one in near)}?" if near else ""
    raise Complaint(f"{shown(path)} has no function `{name}`{hint}")


def number(value):
    """A finite number from what a function gave."""
    if not isinstance(value, (bool, int, float)) and hasattr(value, "item"):
        value = value.item()
    if not isinstance(value, (bool, int, float)):
        raise ValueError(f"it gave {value!r}, which is not a number")
    value = float(value)
    if not math.isfinite(value):
        raise ValueError(f"it gave {value}, which is not a finite number")
    return value


def beside(given):
    """What a function gave beside its value: numbers are metrics, `pred` is the answer that it read, the rest is evidence."""
    metrics, said, notes = {}, {}, []
    for key, value in given.items():
        key = str(key)
        if value is None:
            continue
        if key in ("extracted", "evidence"):
            said[key] = str(value)
            continue
        try:
            metrics[key] = number(value)
        except (ValueError, TypeError, OverflowError):
            text = str(value)[:LONGEST_TEXT]
            if key == "pred" and "extracted" not in given:
                said["extracted"] = text
            else:
                notes.append(f"{key}: {text}")
    if notes:
        said["evidence"] = "; ".join([said[key] for key in ("evidence",) if key in said] + notes)
    return {**said, "metrics": metrics} if metrics else said


def outcome(value):
    """What a function gave for one item, as an outcome."""
    if isinstance(value, Fault):
        return {"failed": value.reason}
    try:
        if value is None:
            return {"skip": NONE}
        if not isinstance(value, dict):
            return {"value": number(value)}
        for key in ("skip", "failed"):
            if isinstance(value.get(key), str):
                return {key: value[key], **beside({name: one for name, one in value.items() if name != key})}
        for key in VALUE_KEYS:
            if key in value:
                rest = beside({name: one for name, one in value.items() if name != key})
                return {"skip": NONE, **rest} if value[key] is None else {"value": number(value[key]), **rest}
        raise ValueError(f"it gave a dict without `value`, `overall` or `score`: {sorted(map(str, value))}")
    except (ValueError, TypeError, OverflowError) as error:
        return {"failed": f"{type(error).__name__}: {error}"}


class Loop:
    """Where functions that are `async` are waited for. It lasts, since clients that they keep belong to it."""

    loop = None

    @classmethod
    def run(cls, waiting):
        if cls.loop is None:
            cls.loop = asyncio.new_event_loop()
            asyncio.set_event_loop(cls.loop)
        return cls.loop.run_until_complete(waiting)


async def guarded(waiting):
    """What an `async` function gives, or why it gives nothing."""
    try:
        return await waiting
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        return Fault(told(error))


async def together(waiting):
    return await asyncio.gather(*map(guarded, waiting))


def one_by_one(call):
    """Scores items one after the other, `async` ones side by side: who raises fails alone."""

    def tried(item):
        try:
            return call(item)
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            return Fault(told(error))

    def score(items):
        values = [tried(item) for item in items]
        late = [at for at, value in enumerate(values) if inspect.isawaitable(value)]
        if late:
            for at, value in zip(late, Loop.run(together(values[at] for at in late))):
                values[at] = value
        return [outcome(value) for value in values]

    return score


def all_at_once(call):
    """Scores items by one call with lists."""

    def score(items):
        values = call(items)
        if inspect.isawaitable(values):
            values = Loop.run(values)
        if values is None or isinstance(values, (dict, str)) or not hasattr(values, "__iter__"):
            raise Complaint(f"the function gave {values!r}; a list with a value for each item is wanted")
        values = list(values)
        if len(values) != len(items):
            raise Complaint(f"the function gave {len(values)} values for {len(items)} items")
        return [outcome(value) for value in values]

    return score


class Function:
    """A function with its parameters, and the arguments that the config gives it."""

    def __init__(self, function, name, kwargs):
        self.function, self.kwargs = function, kwargs
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError) as error:
            raise Complaint(f"the signature of `{name}` is not known: {error}") from error
        self.said = f"{name}{signature}"
        self.parameters = dict(signature.parameters)
        kinds = {parameter.kind for parameter in self.parameters.values()}
        self.takes_any = inspect.Parameter.VAR_KEYWORD in kinds
        variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        self.named = [one for one in self.parameters.values() if one.kind not in variable]
        self.required = [one.name for one in self.named if one.default is one.empty and one.name not in kwargs]
        for key in kwargs:
            if key in GIVEN:
                raise Complaint(f"kwargs: `{key}` is what the data gives; leave it out")
            if key not in self.parameters and not self.takes_any:
                near = difflib.get_close_matches(key, self.parameters, 1)
                hint = f"; did you mean `{near[0]}`?" if near else ""
                raise Complaint(f"kwargs: {self.said} takes no `{key}`{hint}")

    def names(self, *names):
        """The first of the names that a parameter has."""
        return next((name for name in names if name in self.parameters), None)

    def call(self, values, columns=()):
        """Calls it with those of the values that it names; with all of them, when it takes any."""
        values = {**values, **self.kwargs}
        missing = [name for name in self.required if name not in values]
        if missing:
            known = ", ".join(sorted(columns)) or "none"
            raise Complaint(
                f"{self.said} wants `{missing[0]}`, which is no column of the data (columns: {known}) and not in kwargs"
            )
        if not self.takes_any:
            values = {name: value for name, value in values.items() if name in self.parameters}
        return self.function(**values)

    def wants_only(self, *names):
        """Holds it to parameters that there are values for."""
        more = [name for name in self.required if name not in names]
        if more:
            raise Complaint(f"{self.said} wants `{more[0]}` as well: give it by kwargs = {{ {more[0]} = ... }}")

    def call_with(self, told):
        """Calls it with one thing, and the arguments of the config."""
        return self.function(told, **self.kwargs)


def aliases(function, names, value, columns):
    """A value under whichever of its usual names a function asks for, where no column has that name."""
    return {name: value for name in names if name in function.parameters and name not in columns}


class Ids:
    """The ids of a text whose tokens are not known, only their number: whoever looks at one is told so."""

    def __init__(self, item):
        self.count = item["tokens"]

    def complain(self, *_):
        raise Complaint(
            "the token ids of this answer are not known: `sapo reward check --tokenizer MODEL` makes them, a run has them"
        )

    __iter__ = __getitem__ = __contains__ = complain

    def __len__(self):
        return self.count or self.complain()


def ids_of(item):
    """The ids of an answer's tokens, or what says that they are not known."""
    known = item.get("token_ids")
    return known or [] if known or not item["response"] else Ids(item)


def messages_of(item, wanted):
    """Whether an item's answer is handed over as a list of messages."""
    return item["conversational"] if wanted is None else wanted


def said_by(item, wanted):
    text = item["response"]
    return [{"role": "assistant", "content": text}] if messages_of(item, wanted) else text


def asked_of(item, wanted):
    return item["messages"] if messages_of(item, wanted) else item["prompt"]


class Log:
    """What TRL's trainer hands to functions as `log_extra` and `log_metric`."""

    def __init__(self, count):
        self.count, self.notes = count, [{} for _ in range(count)]

    def extra(self, column, values):
        values = list(values)
        if len(values) != self.count:
            raise ValueError(f"log_extra({column!r}) got {len(values)} values for {self.count} items")
        for note, value in zip(self.notes, values):
            note[column] = value

    def metric(self, name, value):
        for note in self.notes:
            note[name] = value

    def into(self, outcomes):
        for one, note in zip(outcomes, self.notes):
            more = beside(note)
            for key, value in more.items():
                one[key] = {**value, **one.get(key, {})} if key == "metrics" else one.get(key, value)
        return outcomes


def trl(function, wanted):
    if wanted is None and "completions" in function.parameters:
        annotation = str(function.parameters["completions"].annotation).lower()
        wanted = True if "dict" in annotation else False if "list[str]" in annotation else None

    def score(items):
        names = sorted({name for item in items for name in item["columns"]})
        values = {name: [item["columns"].get(name) for item in items] for name in names}
        truths = [item["ground_truth"] for item in items]
        values.update(aliases(function, TRUTH_NAMES, truths, values))
        values.update(aliases(function, QUESTION_NAMES, [item["prompt"] for item in items], values))
        if any("images" in item for item in items):
            values["images"] = [item.get("images", []) for item in items]
        log = Log(len(items))
        values.update(
            ground_truth=truths,
            task=[item["task"] for item in items],
            prompts=[asked_of(item, wanted) for item in items],
            completions=[said_by(item, wanted) for item in items],
            completion_ids=[ids_of(item) for item in items],
            log_extra=log.extra,
            log_metric=log.metric,
        )
        return log.into(all_at_once(lambda _: function.call(values, names))(items))

    return score


def verl(function):
    names = ("data_source", "solution_str", "ground_truth", "extra_info")
    function.wants_only(*names, *TRUTH_NAMES, *(f"{name}s" for name in names))

    def values(item):
        columns = item["columns"]
        return {
            "data_source": columns.get("data_source") or item["task"],
            "solution_str": item["response"],
            "ground_truth": item["ground_truth"],
            "extra_info": columns.get("extra_info", columns),
        }

    def one(item):
        named = {**values(item), **aliases(function, TRUTH_NAMES, item["ground_truth"], ())}
        return function.call(named, item["columns"])

    def many(items):
        told = [values(item) for item in items]
        return function.call({f"{name}s": [one[name] for one in told] for name in values(items[0])})

    return all_at_once(many) if "solution_strs" in function.parameters else one_by_one(one)


def easyr1(function, kind):
    name = function.names("reward_inputs", "reward_input", "predicts", "predict")
    annotation = str(function.parameters[name].annotation).lower()
    annotation = annotation.replace("typing.", "").replace("collections.abc.", "")
    listed = name.endswith("s") or annotation.startswith(("list", "<class 'list'", "sequence"))
    function.wants_only(name, "ground_truth", "ground_truths")
    listed = {"batch": True, "sequential": False}.get(kind, listed)

    def told(item):
        return {**item, "response_length": item["tokens"]}

    def predicted(items):
        said, truths = [item["response"] for item in items], [item["ground_truth"] for item in items]
        said, truths = (said, truths) if listed else (said[0], truths[0])
        return function.call({name: said, "ground_truth": truths, "ground_truths": truths})

    if name.startswith("predict"):
        return all_at_once(predicted) if listed else one_by_one(lambda item: predicted([item]))
    if listed:
        return all_at_once(lambda items: function.call_with([told(item) for item in items]))
    return one_by_one(lambda item: function.call_with(told(item)))


def verifiers(function, wanted):
    def call(item):
        columns, as_messages = item["columns"], True if wanted is None else wanted
        asked, said, truth = asked_of(item, as_messages), said_by(item, as_messages), item["ground_truth"]
        info = columns.get("info", {})
        state = {"prompt": asked, "completion": said, "answer": truth, "task": item["task"], "info": info}
        values = {**columns, **aliases(function, TRUTH_NAMES, truth, columns), **state, "state": state}
        return function.call(values, columns)

    return one_by_one(call)


def adapt(module, function, wanted):
    """How a function wants to be called, in words, and what scores items by it."""
    if function.names("solution_str", "solution_strs"):
        return "as verl does", verl(function)
    if function.names("completions", "completion_ids", "prompts"):
        return "as TRL does", trl(function, wanted)
    if function.names("reward_inputs", "reward_input", "predicts", "predict"):
        return "as EasyR1 does", easyr1(function, getattr(module, "REWARD_TYPE", None))
    if function.names("completion"):
        return "as verifiers does", verifiers(function, wanted)
    if len(function.required) != 1:
        raise Complaint(f"the signature {function.said} is not known; write {FORMS}")
    if function.named[0].name == "items":
        return "with all items", all_at_once(function.call_with)
    return "with one item", one_by_one(function.call_with)


def main():
    path, name, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    channel = os.fdopen(3, "w", encoding="utf-8")
    os.set_inheritable(3, False)
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    # The function gets an empty stdin: it must not read requests.
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)

    def say(reply):
        channel.write(json.dumps(reply, allow_nan=False) + "\n")
        channel.flush()

    try:
        module, function = load(path, name)
        called, score = adapt(module, Function(function, name, options["kwargs"]), options["messages"])
    except Complaint as complaint:
        say({"v": 1, "ready": False, "error": str(complaint)})
        return
    say({"v": 1, "ready": True, "called": called})
    for line in requests:
        request = json.loads(line)
        try:
            reply = {"id": request["id"], "outcomes": score(request["items"])}
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            reply = {"id": request["id"], "error": told(error)}
        say(reply)


main()
