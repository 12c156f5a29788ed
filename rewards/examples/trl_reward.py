"""A reward with TRL's signature: lists in, a list out; columns of the data come by name.

[rewards.mine]
kind = "process"
python = "rewards/examples/trl_reward.py:accuracy_reward"
# messages = true    # when the function wants [{"role": ..., "content": ...}] instead of texts
"""
import re


def accuracy_reward(prompts, completions, ground_truth, **columns):
    rewards = []
    for completion, truth in zip(completions, ground_truth):
        answer = completion.rsplit("</think>", 1)[-1]
        boxes = re.findall(r"\\boxed\{([^{}]*)\}", answer)
        # Many boxes are no answer.
        rewards.append(1.0 if 0 < len(boxes) <= 4 and boxes[-1].strip() == str(truth) else 0.0)
    return rewards
