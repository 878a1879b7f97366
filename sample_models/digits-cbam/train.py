"""Train the network with gates on the digits: `python sample_models/digits-cbam/train.py`."""

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
from explorer.subjects.samples import sample_cards, sample_module

NAME = "digits-cbam"
STEPS = 4000
BATCH = 64
LEARNING_RATE = 4e-3
WEIGHT_DECAY = 0.05
WARM_UP = 400  # steps
REFERENCES = [0, 1, 2, 3]  # tune examples whose logits the card remembers


def train(
    steps: int | None = None, seed: int = 0, progress: bool = True, weights: dict[str, float] | None = None
) -> nn.Module:
    """A model trained from scratch, in evaluation mode; `steps` stops it after that many optimiser steps.

    weights: how much each head's loss counts; the card's, unless others are tried. The same seed gives the same
    model on one machine with one number of threads.
    """
    training_batch = sample_module(NAME, "data").training_batch
    heads = sample_cards()[NAME].heads
    counts = {head.name: head.weight for head in heads} | (weights or {})
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
        outputs: dict[str, Tensor] = model(batch.inputs)
        losses = [
            counts[head.name] * F.cross_entropy(outputs[head.name], batch.targets[:, place])
            for place, head in enumerate(heads)
        ]
        loss = torch.stack(losses).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 50 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    return model.eval()


def measure(model: nn.Module) -> tuple[dict[str, float], list[list[float]]]:
    """Metrics on tune, and the logits of the reference examples, the heads side by side, rounded to 4 digits."""
    examples = sample_module(NAME, "data").load("tune")
    heads = sample_cards()[NAME].heads
    with torch.no_grad():
        outputs: dict[str, Tensor] = model(examples.inputs)
    right = torch.stack([outputs[head.name].argmax(dim=1) for head in heads], dim=1) == examples.targets  # (N, heads)
    metrics = {"accuracy": right.all(dim=1).double().mean().item()}
    metrics |= {f"accuracy_{head.name}": right[:, at].double().mean().item() for at, head in enumerate(heads)}
    logits = torch.cat([outputs[head.name] for head in heads], dim=1)[REFERENCES]
    return metrics, [[round(value, 4) for value in row] for row in logits.tolist()]


def main() -> None:
    """Train, measure, write the weights and what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="where the random numbers start")
    parser.add_argument("--loop", type=float, help="try another weight of the loop's loss, and write nothing")
    asked = parser.parse_args()
    torch.set_num_threads(1)  # the model is too small for two to pay; with one the weights do not depend on the cores
    start = time.process_time()  # of one thread: what the clock shows where nothing else runs
    model = train(seed=asked.seed, weights=None if asked.loop is None else {"loop": asked.loop})
    seconds = time.process_time() - start
    metrics, outputs = measure(model)
    print(", ".join(f"tune {name} {value:.4f}" for name, value in metrics.items()), f"in {seconds:.0f} s")
    if asked.loop is not None:
        return
    folder = Path(__file__).resolve().parent
    save_file(model.state_dict(), folder / "model.safetensors")
    refresh_card(
        folder / "card.toml",
        metrics=metrics,
        reference={"indices": REFERENCES, "outputs": outputs},
        training={
            "seed": asked.seed,
            "seconds": round(seconds, 1),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "command": f"python sample_models/{NAME}/train.py",
        },
    )


if __name__ == "__main__":
    main()
