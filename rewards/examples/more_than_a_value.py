"""A reward with verl's signature that is awaited, takes an argument of the config, and measures more than its value.

[rewards.mine]
kind = "process"
python = "rewards/examples/more_than_a_value.py:compute_score"
kwargs = { ignore_case = true }
"""


async def compute_score(data_source, solution_str, ground_truth, extra_info=None, ignore_case=False):
    answer = solution_str.rsplit("</think>", 1)[-1].strip()
    wanted = str(ground_truth)
    right = answer.lower() == wanted.lower() if ignore_case else answer == wanted
    # `score` is the value; numbers beside it are logged, and `pred` is shown as the answer that was found.
    return {"score": float(right), "fits": len(answer) <= extra_info["most_letters"], "pred": answer}
