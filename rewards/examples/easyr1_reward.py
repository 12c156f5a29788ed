"""A reward with EasyR1's signature: a list of dicts in, dicts with `overall` out.

[rewards.mine]
kind = "process"
python = "rewards/examples/easyr1_reward.py:compute_score"
"""
import re


def compute_score(reward_inputs, accuracy_weight=1.0):
    scores = []
    for reward_input in reward_inputs:
        answer = reward_input["response"].rsplit("</think>", 1)[-1]
        boxes = [box.strip() for box in re.findall(r"\\boxed\{([^{}]*)\}", answer)]
        # Boxes that differ choose nothing, and many are no answer.
        accuracy = 1.0 if len(boxes) <= 4 and set(boxes) == {str(reward_input["ground_truth"])} else 0.0
        scores.append({"overall": accuracy_weight * accuracy, "accuracy": accuracy})
    return scores
