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
        boxes = re.findall(r"\\boxed\{([^{}]*)\}", answer)
        # Many boxes are no answer.
        accuracy = 1.0 if 0 < len(boxes) <= 4 and boxes[-1].strip() == str(reward_input["ground_truth"]) else 0.0
        scores.append({"overall": accuracy_weight * accuracy, "accuracy": accuracy})
    return scores
