"""A program that speaks the protocol itself, as one in any language can: `sapo reward schema` describes it.

[rewards.mine]
kind = "process"
command = ["python3", "rewards/examples/json_lines.py"]
"""
import json
import os
import re
import sys


def outcome(item):
    if item["answer"] is None:
        return {"value": 0, "evidence": "the thinking is not closed"}
    if item["ground_truth"] is None:
        return {"failed": "the query has no ground truth"}
    boxes = [box.strip() for box in re.findall(r"\\boxed\{([^{}]*)\}", item["answer"])]
    # Boxes that differ choose nothing, and many are no answer.
    if not 0 < len(boxes) <= 4 or len(set(boxes)) > 1:
        return {"value": 0, "evidence": f"{len(boxes)} boxes are no answer"}
    return {"value": 1 if boxes[0] == str(item["ground_truth"]) else 0, "extracted": boxes[0]}


with open(os.environ["SAPO_REWARD_CHANNEL"], "w", encoding="utf-8") as channel:

    def say(line):
        channel.write(json.dumps(line) + "\n")
        channel.flush()

    say({"v": 1, "ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        say({"id": request["id"], "outcomes": [outcome(item) for item in request["items"]]})
