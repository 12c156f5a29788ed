"""A reward with verl's signature: the box of the solution must hold the ground truth.

[rewards.mine]
kind = "process"
python = "rewards/examples/verl_reward.py:compute_score"
"""
import re


def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    answer = solution_str.rsplit("</think>", 1)[-1]
    boxes = [box.strip() for box in re.findall(r"\\boxed\{([^{}]*)\}", answer)]
    # Boxes that differ choose nothing, and many are no answer.
    return 1.0 if len(boxes) <= 4 and set(boxes) == {str(ground_truth)} else 0.0
