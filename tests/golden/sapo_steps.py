"""Five SAPO steps on fixed rollouts in PyTorch: the golden of `five_sapo_steps_are_those_of_pytorch`.

    python tests/golden/sapo_steps.py tests/fixtures/qwen3_vl

Made with torch 2.15.0 and transformers 5.24.0 (CPU, float32, nothing random). It writes `sapo_steps.json` beside itself.
Every sequence goes through the model alone, prompt and answer together: what is packed elsewhere must come to the same.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import Qwen3VLForConditionalGeneration

folder = Path(sys.argv[1])
model = Qwen3VLForConditionalGeneration.from_pretrained(folder / "tiny-dense", dtype=torch.float32)
with safe_open(folder / "cases-dense" / "greedy.safetensors", "pt") as file:
    case = {name: file.get_tensor(name) for name in file.keys()}

LR, BETAS, EPS, DECAY, CLIP = 1e-4, (0.9, 0.98), 1e-8, 0.01, 1.0
TAU_POS, TAU_NEG = 1.0, 1.05


def answer(group, sample):
    length = 4 + (3 * group + 5 * sample) % 7
    return [(17 * group + 29 * sample + 13 * at + at * at) % 340 + 5 for at in range(length)]


def text(group):
    return [(group * 31 + at * 19) % 350 + 3 for at in range(12 + group)]


# Rewards of four samples; None failed, and is in no sum. The third group has no signal.
groups = [
    {"prompt": "text", "rewards": [1.0, 0.0, 0.0, 1.0]},
    {"prompt": "image", "rewards": [1.0, None, 0.0, 0.5]},
    {"prompt": "ids", "rewards": [1.0, 1.0, 1.0, 1.0]},
    {"prompt": "ids", "rewards": [0.0, 1.0, 1.0, 0.25]},
]
MINI_BATCHES = [[0, 3], [1, 2]]


def inputs(group):
    kind = groups[group]["prompt"]
    if kind == "ids":
        return {"input_ids": torch.tensor([text(group)])}
    of = {name.removeprefix(f"{kind}."): value for name, value in case.items() if name.startswith(f"{kind}.")}
    keys = ["input_ids", "pixel_values", "image_grid_thw", "mm_token_type_ids"]
    return {key: of[key] for key in keys if key in of}


def log_probs(group, ids):
    given = dict(inputs(group))
    prompt = given["input_ids"].shape[1]
    given["input_ids"] = torch.cat([given["input_ids"], torch.tensor([ids])], 1)
    if "mm_token_type_ids" in given:
        given["mm_token_type_ids"] = torch.nn.functional.pad(given["mm_token_type_ids"], (0, len(ids)))
    model.model.rope_deltas = None
    logits = model(**given, attention_mask=torch.ones_like(given["input_ids"]), use_cache=False).logits
    rows = torch.log_softmax(logits[0, prompt - 1 : -1], -1)
    return rows.gather(1, torch.tensor(ids)[:, None])[:, 0]


def advantages(rewards):
    scored = [reward for reward in rewards if reward is not None]
    if len(set(scored)) < 2:
        return [None] * len(rewards)
    mean = sum(scored) / len(scored)
    std = (sum((reward - mean) ** 2 for reward in scored) / len(scored)) ** 0.5
    return [None if reward is None else (reward - mean) / (std + 1e-6) for reward in rewards]


# What sampled was another policy, a little away from this one.
old = [[None] * 4 for _ in groups]
with torch.no_grad():
    for g in range(len(groups)):
        for s in range(4):
            ids = answer(g, s)
            away = torch.tensor([0.2 * ((7 * g + 3 * s + 5 * at) % 11 - 5) / 5 for at in range(len(ids))])
            old[g][s] = [float(value) for value in log_probs(g, ids) + away]

start = {name: value.detach().clone() for name, value in model.named_parameters()}
optimizer = torch.optim.AdamW(model.parameters(), lr=LR, betas=BETAS, eps=EPS, weight_decay=DECAY)
norms = []
for _ in range(5):
    for part in MINI_BATCHES:
        trained = [(g, s, a) for g in part for s, a in enumerate(advantages(groups[g]["rewards"])) if a is not None]
        loss = 0.0
        for g, s, a in trained:
            ratio = torch.exp(log_probs(g, answer(g, s)) - torch.tensor(old[g][s]))
            tau = TAU_POS if a > 0 else TAU_NEG
            loss = loss - (4 / tau * torch.sigmoid(tau * (ratio - 1)) * a).mean() / len(trained)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)))
        optimizer.step()

# 48 numbers of every parameter, evenly spread, with how far they have come.
params = {}
for name, value in model.named_parameters():
    flat, before = value.detach().flatten(), start[name].flatten()
    at = [index * flat.numel() // min(48, flat.numel()) for index in range(min(48, flat.numel()))]
    params[name] = {"at": at, "end": [float(flat[i]) for i in at], "moved": float((flat - before).abs().max())}
golden = {"lr": LR, "old_log_probs": old, "norms": norms, "params": params}
Path(__file__).with_suffix(".json").write_text(json.dumps(golden) + "\n")
print("norms", norms, "moved", max(one["moved"] for one in params.values()))
