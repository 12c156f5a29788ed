"""Runs a reward function of a Python file: JSON lines come on stdin, replies go to descriptor 3."""
import importlib.util
import inspect
import json
import math
import os
import sys
import traceback

FORMS = (
    "compute_score(data_source, solution_str, ground_truth, extra_info) as verl calls it, "
    "reward(prompts, completions, **columns) as TRL does, compute_score(reward_input) or (reward_inputs) as EasyR1 "
    "does, f(item), or f(items)"
)

# Columns of the ground truth: the one that data was read from may have had any of these names.
TRUTH_NAMES = ("answer", "solution", "target", "label")


def load(path, name):
    folder = os.path.dirname(os.path.abspath(path))
    sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(os.path.splitext(os.path.basename(path))[0], path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        raise SystemExit(f"{path} has no function `{name}`")
    return function


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


def outcome(value):
    """What a function gave for one item, as an outcome."""
    try:
        if value is None:
            return {"skip": "the function gave None"}
        if not isinstance(value, dict):
            return {"value": number(value)}
        told = {key: str(value[key]) for key in ("extracted", "evidence") if value.get(key) is not None}
        for key in ("skip", "failed"):
            if key in value:
                return {key: str(value[key]), **told}
        for key in ("value", "overall", "score"):
            if key in value:
                return {"value": number(value[key]), **told}
        raise ValueError(f"it gave a dict without `value`, `overall` or `score`: {sorted(map(str, value))}")
    except (ValueError, TypeError, OverflowError) as error:
        return {"failed": f"{type(error).__name__}: {error}"}


def one_by_one(call):
    """Scores items one after the other: who raises fails alone."""

    def score(items):
        outcomes = []
        for item in items:
            try:
                outcomes.append(outcome(call(item)))
            except (Exception, SystemExit) as error:
                traceback.print_exc()
                outcomes.append({"failed": f"{type(error).__name__}: {error}"})
        return outcomes

    return score


def all_at_once(call):
    """Scores items by one call with lists."""

    def score(items):
        values = list(call(items))
        if len(values) != len(items):
            raise ValueError(f"the function gave {len(values)} values for {len(items)} items")
        return [outcome(value) for value in values]

    return score


def accepted(parameters, values, truth):
    """Those of the values that a function takes; the ground truth under whatever usual name it asks for."""
    values = {**{name: truth for name in TRUTH_NAMES if name in parameters}, **values}
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return values
    return {key: value for key, value in values.items() if key in parameters}


def verl(function, parameters):
    def call(item):
        columns = item["columns"]
        values = {
            "data_source": columns.get("data_source") or item["task"],
            "solution_str": item["response"],
            "ground_truth": item["ground_truth"],
            "extra_info": columns.get("extra_info", columns),
        }
        return function(**accepted(parameters, values, item["ground_truth"]))

    return one_by_one(call)


def trl(function, parameters, messages):
    def call(items):
        names = {name for item in items for name in item["columns"]}
        values = {name: [item["columns"].get(name) for item in items] for name in sorted(names)}
        truths = [item["ground_truth"] for item in items]
        values["ground_truth"] = truths
        values["task"] = [item["task"] for item in items]
        if messages:
            values["prompts"] = [item["messages"] for item in items]
            values["completions"] = [[{"role": "assistant", "content": item["response"]}] for item in items]
        else:
            values["prompts"] = [item["prompt"] for item in items]
            values["completions"] = [item["response"] for item in items]
        return function(**accepted(parameters, values, truths))

    return all_at_once(call)


def easyr1(function, listed):
    def told(item):
        return {**item, "response_length": item["tokens"]}

    if listed:
        return all_at_once(lambda items: function([told(item) for item in items]))
    return one_by_one(lambda item: function(told(item)))


def adapt(function, messages):
    parameters = dict(inspect.signature(function).parameters)
    if "solution_str" in parameters:
        return verl(function, parameters)
    if "completions" in parameters:
        return trl(function, parameters, messages)
    named = [parameter for parameter in parameters.values() if parameter.kind not in (2, 4)]
    if "reward_inputs" in parameters:
        return easyr1(function, True)
    if "reward_input" in parameters:
        annotation = str(parameters["reward_input"].annotation).lower().removeprefix("typing.")
        return easyr1(function, annotation.startswith(("list", "<class 'list'", "sequence")))
    if len([parameter for parameter in named if parameter.default is parameter.empty]) != 1:
        raise SystemExit(f"the signature {inspect.signature(function)} is not known; write {FORMS}")
    if named[0].name == "items":
        return all_at_once(function)
    return one_by_one(function)


def main():
    path, name, form = sys.argv[1:4]
    channel = os.fdopen(3, "w", encoding="utf-8")
    os.set_inheritable(3, False)
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    # The function gets an empty stdin: it must not read requests.
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    score = adapt(load(path, name), form == "messages")

    def say(reply):
        channel.write(json.dumps(reply, allow_nan=False) + "\n")
        channel.flush()

    say({"v": 1, "ready": True})
    for line in requests:
        request = json.loads(line)
        try:
            reply = {"id": request["id"], "outcomes": score(request["items"])}
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            reply = {"id": request["id"], "error": f"{type(error).__name__}: {error}"}
        say(reply)


main()
