"""Whole SAPO steps of TRL's GRPOTrainer, to set beside `sapo bench step`: same checkpoint, prompts, lengths, reward, updates.

Made with Python 3.11 to 3.13, trl 1.16.0, torch 2.15.0 (CPU) and transformers 5.24.0:

    python rl/benches/pytorch/grpo_step.py MODEL_FOLDER [--prompts 8] [--group 8] [--prompt-tokens 64] [--new-tokens 64]
                                           [--updates 2] [--steps 3]

prints one JSON object with the keys of `sapo bench step --json`. To compare, run both in turn, several times. f32, all cores,
text alone; what only slows TRL down here is off: autocast, checkpointing of activations, logging, saving.
"""

import argparse
import json
import os
import tempfile
import time

import torch
import transformers
import trl
from datasets import Dataset
from transformers import AutoTokenizer, Qwen3VLForConditionalGeneration, TrainerCallback
from trl import GRPOConfig, GRPOTrainer


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    for name, default in [("prompts", 8), ("group", 8), ("prompt-tokens", 64), ("new-tokens", 64), ("updates", 2), ("steps", 3)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model = Qwen3VLForConditionalGeneration.from_pretrained(options.model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    spread = model.config.text_config.vocab_size - 32
    rows = [
        [(7919 * b + 104729 * t + 31 * b * t + 7 * t * t) % spread for t in range(options.prompt_tokens)]
        for b in range(options.prompts)
    ]

    class Exact(GRPOTrainer):
        """Prompts are given ids, which no text has to become."""

        def _tokenize_prompts(self, prompts):
            return [rows[int(prompt)] for prompt in prompts], None, {}

    def reward(completion_ids, **_):
        return [sum(ids) % 101 / 100 for ids in completion_ids]

    ends = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_args, **_kwargs):
            ends.append(time.perf_counter())

    rollouts = options.prompts * options.group
    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            output_dir=folder,
            loss_type="sapo",
            beta=0.0,
            learning_rate=1e-6,
            lr_scheduler_type="constant",
            max_grad_norm=1.0,
            num_generations=options.group,
            per_device_train_batch_size=rollouts // options.updates,
            steps_per_generation=options.updates,
            gradient_accumulation_steps=1,
            max_steps=(options.steps + 1) * options.updates,
            max_completion_length=options.new_tokens,
            generation_kwargs={"min_new_tokens": options.new_tokens},
            temperature=1.0,
            top_p=1.0,
            top_k=0,
            scale_rewards="group",
            bf16=False,
            gradient_checkpointing=False,
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_num_workers=0,
        )
        trainer = Exact(
            model=model,
            reward_funcs=reward,
            args=config,
            train_dataset=Dataset.from_dict({"prompt": [str(b) for b in range(options.prompts)]}),
            processing_class=tokenizer,
            callbacks=[Clock()],
        )
        trainer.train()
    # The first step, its updates included, warms up.
    secs = (ends[-1] - ends[options.updates - 1]) / options.steps
    print(
        json.dumps(
            {
                "trl": trl.__version__,
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "attention": model.config._attn_implementation,
                "vectors": torch.backends.cpu.get_cpu_capability().lower(),
                "threads": torch.get_num_threads(),
                "secs_per_step": secs,
                "steps": options.steps,
                "rollouts": rollouts,
                "tokens": rollouts * options.new_tokens,
                "updates": options.updates,
            }
        )
    )


if __name__ == "__main__":
    main()
