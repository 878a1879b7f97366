"""Trains the language model of `story-lm` from scratch: `python sample_models/story-lm/train.py`.

Writes model.safetensors and refreshes the measured tables of card.toml.
"""

from __future__ import annotations

from pathlib import Path
from time import process_time

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from explorer.subjects.cards import refresh_card
from explorer.subjects.samples import sample_module

NAME = "story-lm"
STEPS = 2500
BATCH = 32
LEARNING_RATE = 2e-3
REFERENCES = 2


def train(steps: int | None = None, seed: int = 0, progress: bool = True) -> nn.Module:
    """The model trained for `steps` optimiser steps (all of them by default), in eval mode."""
    examples = sample_module(NAME, "data").load("training")
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):  # leaves the caller's random numbers as they were
        torch.manual_seed(seed)
        model: nn.Module = sample_module(NAME, "model").build()
        optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.1)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=STEPS, pct_start=0.1)
        loss_of = nn.CrossEntropyLoss(ignore_index=-100)
        bar = tqdm(range(min(steps or STEPS, STEPS)), desc=NAME, unit="step", disable=not progress)
        for _ in bar:
            chosen = torch.randint(len(examples), (BATCH,), generator=generator)
            logits = model(examples.inputs[chosen])  # (B, T, V)
            loss = loss_of(logits.flatten(0, 1), examples.targets[chosen].flatten())
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    return model.eval()


def measure(model: nn.Module) -> dict[str, float]:
    """Perplexity and token accuracy on the tune split, over all words of all stories."""
    tune = sample_module(NAME, "data").load("tune")
    with torch.no_grad():
        logits: Tensor = model(tune.inputs)  # (B, T, V)
    scored = tune.targets != -100
    loss = nn.functional.cross_entropy(logits[scored], tune.targets[scored])
    right = logits[scored].argmax(dim=-1) == tune.targets[scored]
    return {"perplexity": loss.exp().item(), "token_accuracy": right.double().mean().item()}


def reference(model: nn.Module) -> dict[str, list[int] | list[list[float]]]:
    """The scores of the first word after the opening, for the first stories of tune (all openings are equally long)."""
    data = sample_module(NAME, "data")
    with torch.no_grad():
        logits: Tensor = model(data.prompt(data.load("tune").inputs[:REFERENCES]))[:, -1]  # (REFERENCES, V)
    rounded = [[round(value, 4) for value in row] for row in logits.tolist()]
    return {"indices": list(range(REFERENCES)), "outputs": rounded}


def main() -> None:
    torch.set_num_threads(1)  # a second run gives the same weights, and one core stays free
    started = process_time()  # of the one thread: what a quiet machine takes
    model = train()
    seconds = process_time() - started
    folder = Path(__file__).parent
    save_file(model.state_dict(), folder / "model.safetensors")
    refresh_card(
        folder / "card.toml",
        metrics=measure(model),
        reference=reference(model),
        training={
            "seed": 0,
            "seconds": round(seconds, 1),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "command": f"python sample_models/{NAME}/train.py",
        },
    )


if __name__ == "__main__":
    main()
