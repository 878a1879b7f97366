"""Train the reader of dates: `python sample_models/dates-seq2seq/train.py`.

Writes model.safetensors and refreshes the measured tables of card.toml.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from explorer.subjects.cards import refresh_card
from explorer.subjects.samples import sample_module

NAME = "dates-seq2seq"
STEPS = 2000
BATCH = 64
LEARNING_RATE = 3e-3
WARM_UP = 200  # steps
REFERENCES = [0, 1]  # tune texts whose logits the card remembers


def train(steps: int | None = None, seed: int = 0, progress: bool = True) -> nn.Module:
    """A model trained from scratch, in evaluation mode; `steps` stops it after that many optimiser steps.

    Each step draws new texts, and the writer goes on from the right signs ("teacher forcing"). The same seed gives the
    same weights on one machine with one number of threads.
    """
    training_batch = sample_module(NAME, "data").training_batch
    draw = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they are
        torch.manual_seed(seed)
        model: nn.Module = sample_module(NAME, "model").build()
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, LEARNING_RATE, STEPS, pct_start=WARM_UP / STEPS, cycle_momentum=False
    )
    bar = tqdm(range(STEPS if steps is None else min(steps, STEPS)), desc=NAME, unit="step", disable=not progress)
    for step in bar:
        batch = training_batch(BATCH, draw)
        logits = model(batch.inputs, previous=batch.targets)  # (B, 10, signs)
        loss = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 50 == 0:
            bar.set_postfix(loss=f"{loss.item():.4f}")
    return model.eval()


def measure(model: nn.Module) -> tuple[dict[str, float], list[list[list[float]]]]:
    """The metrics on tune, and the logits of the reference texts rounded to 4 digits."""
    examples = sample_module(NAME, "data").load("tune")
    with torch.no_grad():
        logits: Tensor = torch.cat([model(texts) for texts in examples.inputs.split(200)])  # (N, 10, signs)
    right = logits.argmax(dim=2) == examples.targets  # (N, 10)
    losses = F.cross_entropy(logits.double().flatten(0, 1), examples.targets.flatten())
    metrics = {
        "exact_match": right.all(dim=1).double().mean().item(),
        "token_accuracy": right.double().mean().item(),
        "perplexity": losses.exp().item(),
    }
    for name, chosen in examples.slices.items():
        print(f"{name}: {right.all(dim=1)[chosen].double().mean().item():.4f} of {int(chosen.sum())}")
    return metrics, [[[round(value, 4) for value in row] for row in rows] for rows in logits[REFERENCES].tolist()]


def main() -> None:
    """Train, measure, write the weights and what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="where the random numbers start")
    seed = parser.parse_args().seed
    torch.set_num_threads(1)  # a second gains little; with one the weights do not depend on the cores
    start = time.process_time()  # of one thread: what the clock shows where nothing else runs
    model = train(seed=seed)
    seconds = time.process_time() - start
    metrics, outputs = measure(model)
    folder = Path(__file__).resolve().parent
    save_file(model.state_dict(), folder / "model.safetensors")
    refresh_card(
        folder / "card.toml",
        metrics=metrics,
        reference={"indices": REFERENCES, "outputs": outputs},
        training={
            "seed": seed,
            "seconds": round(seconds, 1),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "command": f"python sample_models/{NAME}/train.py",
        },
    )
    print(f"tune exact match {metrics['exact_match']:.4f}, trained in {seconds:.0f} s")


if __name__ == "__main__":
    main()
