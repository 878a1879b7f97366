"""Train the plain network on the digits: `python sample_models/digits-cnn/train.py`."""

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

NAME = "digits-cnn"
# Steps, batches and rates are those of digits-cbam, so that the two differ in nothing but their layers and tasks.
STEPS = 4000
BATCH = 64
LEARNING_RATE = 4e-3
WEIGHT_DECAY = 0.05
WARM_UP = 400  # steps
REFERENCES = [0, 1, 2, 3]  # tune examples whose logits the card remembers


def train(steps: int | None = None, seed: int = 0, progress: bool = True) -> nn.Module:
    """A model trained from scratch, in evaluation mode; `steps` stops it after that many optimiser steps.

    The same seed gives the same weights on one machine with one number of threads.
    """
    training_batch = sample_module(NAME, "data").training_batch
    draw = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they are
        torch.manual_seed(seed)
        model: nn.Module = sample_module(NAME, "model").build()
    # Only matrices and kernels decay: norms and biases have no reason to be small.
    matrices = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    others = [parameter for parameter in model.parameters() if parameter.dim() == 1]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, STEPS, pct_start=WARM_UP / STEPS)
    bar = tqdm(range(STEPS if steps is None else min(steps, STEPS)), desc=NAME, unit="step", disable=not progress)
    for step in bar:
        batch = training_batch(BATCH, draw)
        loss = F.cross_entropy(model(batch.inputs), batch.targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 50 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    return model.eval()


def measure(model: nn.Module) -> tuple[float, list[list[float]]]:
    """Accuracy on tune, and the logits of the reference examples rounded to 4 digits."""
    examples = sample_module(NAME, "data").load("tune")
    with torch.no_grad():
        logits: Tensor = model(examples.inputs)
    accuracy = (logits.argmax(dim=1) == examples.targets).double().mean().item()
    return accuracy, [[round(value, 4) for value in row] for row in logits[REFERENCES].tolist()]


def main() -> None:
    """Train, measure, write the weights and what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="where the random numbers start")
    seed = parser.parse_args().seed
    torch.set_num_threads(1)  # the model is too small for two to pay; with one the weights do not depend on the cores
    start = time.process_time()  # of one thread: what the clock shows where nothing else runs
    model = train(seed=seed)
    seconds = time.process_time() - start
    accuracy, outputs = measure(model)
    folder = Path(__file__).resolve().parent
    save_file(model.state_dict(), folder / "model.safetensors")
    refresh_card(
        folder / "card.toml",
        metrics={"accuracy": accuracy},
        reference={"indices": REFERENCES, "outputs": outputs},
        training={
            "seed": seed,
            "seconds": round(seconds, 1),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "command": f"python sample_models/{NAME}/train.py",
        },
    )
    print(f"tune accuracy {accuracy:.4f}, trained in {seconds:.0f} s")


if __name__ == "__main__":
    main()
