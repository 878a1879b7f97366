"""Trains the classifier of `negation-text` from scratch: `python sample_models/negation-text/train.py`.

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

NAME = "negation-text"
STEPS = 3000
BATCH = 128
LEARNING_RATE = 3e-3
REFERENCES = 6


def train(steps: int | None = None, seed: int = 0, progress: bool = True) -> nn.Module:
    """The model trained for `steps` optimiser steps (all of them by default), in eval mode."""
    training_batch = sample_module(NAME, "data").training_batch
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):  # leaves the caller's random numbers as they were
        torch.manual_seed(seed)
        model: nn.Module = sample_module(NAME, "model").build()
        optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=STEPS, pct_start=0.1)
        loss_of = nn.CrossEntropyLoss()
        bar = tqdm(range(min(steps or STEPS, STEPS)), desc=NAME, unit="step", disable=not progress)
        for _ in bar:
            batch = training_batch(BATCH, generator)
            loss = loss_of(model(batch.inputs), batch.targets)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    return model.eval()


def main() -> None:
    torch.set_num_threads(1)  # the model is too small for two threads to pay
    started = process_time()  # of the one thread: what a quiet machine takes
    model = train()
    seconds = process_time() - started
    folder = Path(__file__).parent
    save_file(model.state_dict(), folder / "model.safetensors")
    tune = sample_module(NAME, "data").load("tune")
    with torch.no_grad():
        logits: Tensor = model(tune.inputs)
    refresh_card(
        folder / "card.toml",
        metrics={"accuracy": (logits.argmax(dim=1) == tune.targets).double().mean().item()},
        reference={
            "indices": list(range(REFERENCES)),
            "outputs": [[round(value, 4) for value in row] for row in logits[:REFERENCES].tolist()],
        },
        training={
            "seed": 0,
            "seconds": round(seconds, 1),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "command": f"python sample_models/{NAME}/train.py",
        },
    )


if __name__ == "__main__":
    main()
