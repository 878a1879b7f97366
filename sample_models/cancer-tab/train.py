"""Trains the FT-Transformer of `cancer-tab` from scratch: `python sample_models/cancer-tab/train.py`.

Writes model.safetensors and refreshes the measured tables of card.toml.
"""

from __future__ import annotations

from pathlib import Path
from time import process_time

import torch
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from tqdm import tqdm

from explorer.subjects.cards import refresh_card
from explorer.subjects.samples import sample_module

NAME = "cancer-tab"
STEPS = 240
BATCH = 64
LEARNING_RATE = 1e-3
REFERENCES = 4


def train(steps: int | None = None, seed: int = 0, progress: bool = True) -> nn.Module:
    """The model trained for `steps` optimiser steps (all of them by default), in eval mode."""
    examples = sample_module(NAME, "data").load("training")
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):  # leaves the caller's random numbers as they were
        torch.manual_seed(seed)
        model: nn.Module = sample_module(NAME, "model").build()
        optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=LEARNING_RATE, total_steps=STEPS)
        loss_of = nn.CrossEntropyLoss()
        bar = tqdm(range(min(steps or STEPS, STEPS)), desc=NAME, unit="step", disable=not progress)
        for _ in bar:
            chosen = torch.randint(len(examples), (BATCH,), generator=generator)
            loss = loss_of(model(examples.inputs[chosen]), examples.targets[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    return model.eval()


def logistic_regression_accuracy() -> float:
    """What a linear model reaches on the tune split, trained on the same rows."""
    load = sample_module(NAME, "data").load
    training, tune = load("training"), load("tune")
    linear = LogisticRegression(max_iter=2000).fit(training.inputs.numpy(), training.targets.numpy())
    return float(linear.score(tune.inputs.numpy(), tune.targets.numpy()))


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
            "logistic_regression_accuracy": logistic_regression_accuracy(),
        },
    )


if __name__ == "__main__":
    main()
