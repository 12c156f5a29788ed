"""The reward of configs/own-data.toml, with the signature that verl calls: the answer must be the digit.

The preset `tiny` opens its thinking in the prompt, so that an answer is what follows the closing tag; without the tag there
is none.
"""


def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    _, closed, answer = solution_str.rpartition("</think>")
    return 1.0 if closed and answer.strip() == str(ground_truth) else 0.0
