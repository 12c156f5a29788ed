"""One training step of transformers, to set beside `sapo bench train`: same checkpoint, ids, loss and optimizer.

Made with Python 3.11 to 3.13, torch 2.15.0 (CPU) and transformers 5.24.0:

    python rl/benches/pytorch/train_step.py MODEL_FOLDER [--sequences 8] [--tokens 512] [--repeat 3]

prints one JSON object with the keys of `sapo bench train --json`. To compare, run both in turn, several times: what else the
machine does then meets both. f32, all cores, text alone; row b, position t has the id
(7919 b + 104729 t + 31 b t + 7 t t) mod (vocab_size - 32).
"""

import argparse
import json
import os
import resource
import statistics
import time

import torch
import transformers
from transformers import Qwen3VLForConditionalGeneration


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model = Qwen3VLForConditionalGeneration.from_pretrained(options.model, dtype=torch.float32).train()
    # Parameters without a gradient, as the vision tower's here, are passed over by AdamW.
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    spread = model.config.text_config.vocab_size - 32
    ids = torch.tensor(
        [
            [(7919 * b + 104729 * t + 31 * b * t + 7 * t * t) % spread for t in range(options.tokens)]
            for b in range(options.sequences)
        ]
    )

    def step():
        begun = time.perf_counter()
        logits = model(input_ids=ids, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        forward = time.perf_counter()
        loss.backward()
        backward = time.perf_counter()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        ended = time.perf_counter()
        return loss.item(), ended - begun, forward - begun, backward - forward, ended - backward

    warm = step()
    timed = [step() for _ in range(options.repeat)]
    secs, forward, backward, update = (statistics.median(one[at] for one in timed) for at in range(1, 5))
    print(
        json.dumps(
            {
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "attention": model.config._attn_implementation,
                "vectors": torch.backends.cpu.get_cpu_capability().lower(),
                "threads": torch.get_num_threads(),
                "secs_step": secs,
                "secs_forward": forward,
                "secs_backward": backward,
                "secs_optimizer": update,
                "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                "tokens": options.sequences * options.tokens,
                "loss": warm[0],
            }
        )
    )


if __name__ == "__main__":
    main()
