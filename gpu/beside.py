#!/usr/bin/env python3
"""What `sapo bench rollout` and `sapo bench train` measure, by transformers: same checkpoint, ids and lengths.

    python3 gpu/beside.py rollout --model 2b --rows 64 --prompt-tokens 64 --new-tokens 128
    python3 gpu/beside.py train --model 2b --sequences 8 --tokens 512

Prints one JSON object. bf16 on a GPU, f32 on a CPU; one untimed warm-up, then the median of `--repeat` runs.
"""

import argparse
import json
import statistics
import time

import torch
import transformers


def ids(rows, length, spread, device):
    """The ids of sapo's benches: rows b, positions t."""
    b = torch.arange(rows).unsqueeze(1)
    t = torch.arange(length).unsqueeze(0)
    return ((7919 * b + 104729 * t + 31 * b * t + 7 * t * t) % spread).to(device)


def timed(work, repeat, device):
    """Medians of the numbers that `work` gives, after one run that does not count; the first run's last number beside."""
    runs = []
    for _ in range(repeat + 1):
        if device == "cuda":
            torch.cuda.synchronize()
        runs.append(work())
    return [statistics.median(column) for column in zip(*runs[1:])], runs[0]


def now(device):
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def rollout(model, given, spread, device):
    prompts = ids(given.rows, given.prompt_tokens, spread, device)
    lengths = {"min_new_tokens": given.new_tokens, "max_new_tokens": given.new_tokens}

    def work():
        started = now(device)
        with torch.no_grad():
            model.generate(
                input_ids=prompts, attention_mask=torch.ones_like(prompts), do_sample=True, temperature=1.0, top_k=0,
                top_p=1.0, pad_token_id=0, **lengths,
            )
        return [now(device) - started]

    (secs,), _ = timed(work, given.repeat, device)
    tokens = given.rows * given.new_tokens
    return {"secs": secs, "tokens": tokens, "tokens_per_sec": tokens / secs}


def train(model, given, spread, device):
    model.train()
    for name, param in model.named_parameters():
        # Text only, as there: the vision tower gets no gradient.
        param.requires_grad_("visual" not in name)
    some = [param for param in model.parameters() if param.requires_grad]
    optimizer = torch.optim.AdamW(some, lr=1e-5, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    rows = ids(given.sequences, given.tokens, spread, device)

    def work():
        started = now(device)
        logits = model(input_ids=rows, use_cache=False).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), rows[:, 1:].flatten())
        forward = now(device)
        loss.backward()
        backward = now(device)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        ended = now(device)
        return [ended - started, forward - started, backward - forward, ended - backward, loss.item()]

    (step, forward, backward, updated, _), first = timed(work, given.repeat, device)
    return {
        "secs_step": step, "secs_forward": forward, "secs_backward": backward, "secs_optimizer": updated,
        "tokens": given.sequences * given.tokens, "loss": first[-1],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["rollout", "train"])
    parser.add_argument("--model", required=True, help="a checkpoint folder")
    for name, usual in [("rows", 64), ("prompt-tokens", 64), ("new-tokens", 128), ("sequences", 8), ("tokens", 512), ("repeat", 3)]:
        parser.add_argument(f"--{name}", type=int, default=usual)
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    torch.manual_seed(1)
    model = transformers.AutoModelForImageTextToText.from_pretrained(given.model, dtype=dtype).to(device).eval()
    spread = model.config.text_config.vocab_size - 32
    measured = {"rollout": rollout, "train": train}[given.what](model, given, spread, device)
    if device == "cuda":
        measured["peak_gpu_bytes"] = torch.cuda.max_memory_allocated()
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    print(json.dumps(measured | {"device": device, "dtype": str(dtype).removeprefix("torch."), **versions}))


if __name__ == "__main__":
    main()
