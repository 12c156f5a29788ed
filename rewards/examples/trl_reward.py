"""A reward with TRL's signature: lists in, a list out; columns of the data come by name.

[rewards.mine]
kind = "process"
python = "rewards/examples/trl_reward.py:accuracy_reward"
# messages = false    # texts, even where the prompt is a list of messages, so that completions would be lists of them too
"""
import re


def accuracy_reward(prompts, completions, ground_truth, **columns):
    rewards = []
    for completion, truth in zip(completions, ground_truth):
        answer = completion.rsplit("</think>", 1)[-1]
        boxes = [box.strip() for box in re.findall(r"\\boxed\{([^{}]*)\}", answer)]
        # Boxes that differ choose nothing, and many are no answer.
        rewards.append(1.0 if len(boxes) <= 4 and set(boxes) == {str(truth)} else 0.0)
    return rewards
