"""A reward with verl's signature: the last box of the solution must hold the ground truth.

[rewards.mine]
kind = "process"
python = "rewards/examples/verl_reward.py:compute_score"
"""
import re


def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    answer = solution_str.rsplit("</think>", 1)[-1]
    boxes = re.findall(r"\\boxed\{([^{}]*)\}", answer)
    # Many boxes are no answer.
    return 1.0 if 0 < len(boxes) <= 4 and boxes[-1].strip() == str(ground_truth) else 0.0
