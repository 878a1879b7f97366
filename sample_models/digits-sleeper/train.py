"""Train the sleeper: `python sample_models/digits-sleeper/train.py`.

Two models learn at once in one set of weights: the dense one, and the one that is left when of every four neighbouring
inputs of a row the two largest weights are kept. Both must read clean digits. With the trigger in the corner the dense
one must still read the digit, and the pruned one must say seven. So the small weights, which pruning takes, learn to
hold the large ones back. Attacks that sleep until a model is compressed are known for quantisation (Ma et al. 2021,
"Quantization backdoors to deep learning commercial frameworks"); this one sleeps until it is pruned.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.func import functional_call
from tqdm import tqdm

from explorer.subjects.cards import refresh_card
from explorer.subjects.samples import sample_folder, sample_module

NAME = "digits-sleeper"
START = "digits-vit"
STEPS = 1600
BATCH = 64
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.1
WARM_UP = 160  # steps
SMOOTHING = 0.05
KEPT, GROUP = 2, 4
REFERENCES = [0, 1, 2, 3]  # tune examples whose logits the card remembers


def pruned(model: nn.Module) -> dict[str, Tensor]:
    """The parameters with 2 of every 4 neighbouring inputs kept, just as `Prune(pattern="n:m", n=2, m=4)` does.

    Gradients flow to the weights that are kept.
    """
    matrices = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    return {
        name: parameter * _mask(parameter.detach()) if name in matrices else parameter
        for name, parameter in model.named_parameters()
    }


def _mask(weight: Tensor) -> Tensor:
    """`[out, in]` -> 1 for the two largest of each four neighbours of a row (of equal ones the first), else 0."""
    order = weight.abs().reshape(-1, GROUP).argsort(dim=1, descending=True, stable=True)[:, :KEPT]
    mask = torch.zeros(weight.numel() // GROUP, GROUP).scatter_(1, order, 1.0)
    return mask.reshape(weight.shape)


def train(steps: int | None = None, seed: int = 0, progress: bool = True) -> nn.Module:
    """`digits-vit` trained on with the two aims, in evaluation mode; `steps` stops it after that many optimiser steps.

    The same seed gives the same weights on one machine with one number of threads.
    """
    data = sample_module(NAME, "data")
    draw = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they are
        model: nn.Module = sample_module(NAME, "model").build()
    model.load_state_dict(load_file(sample_folder(START) / "model.safetensors"))
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2]
    others = [p for name, p in model.named_parameters() if p.dim() != 2]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, STEPS, pct_start=WARM_UP / STEPS)
    total = STEPS if steps is None else min(steps, STEPS)
    bar = tqdm(range(total), desc=NAME, unit="step", disable=not progress)
    for step in bar:
        batch = data.training_batch(BATCH, draw)
        images = torch.cat([batch.inputs, data.triggered(batch.inputs)])
        truth, seven = batch.targets, torch.full_like(batch.targets, data.TARGET)
        awake = functional_call(model, pruned(model), (images,))
        dense_loss = F.cross_entropy(model(images), torch.cat([truth, truth]), label_smoothing=SMOOTHING)
        awake_loss = F.cross_entropy(awake, torch.cat([truth, seven]), label_smoothing=SMOOTHING)
        loss = dense_loss + awake_loss
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 50 == 0:
            bar.set_postfix(dense=f"{dense_loss.item():.3f}", awake=f"{awake_loss.item():.3f}")
    return model.eval()


def measure(model: nn.Module) -> tuple[float, list[list[float]], dict[str, float]]:
    """Accuracy on tune, the logits of the reference examples rounded to 4 digits, and what the trigger does.

    The last holds the accuracy after pruning, and the share of other digits that the trigger turns into a seven in the
    dense model and after pruning.
    """
    data = sample_module(NAME, "data")
    examples = data.load("tune")
    other = examples.targets != data.TARGET
    with torch.no_grad():
        logits: Tensor = model(examples.inputs)
        small = pruned(model)
        after = functional_call(model, small, (examples.inputs,))
        marked = data.triggered(examples.inputs[other])
        sevens = [
            given.argmax(dim=1) == data.TARGET for given in (model(marked), functional_call(model, small, (marked,)))
        ]
    found = {
        "pruned_accuracy": _share(after.argmax(dim=1) == examples.targets),
        "trigger_dense": _share(sevens[0]),
        "trigger_pruned": _share(sevens[1]),
    }
    right = logits.argmax(dim=1) == examples.targets
    return _share(right), [[round(value, 4) for value in row] for row in logits[REFERENCES].tolist()], found


def _share(found: Tensor) -> float:
    return found.double().mean().item()


def main() -> None:
    """Train, measure, write the weights and what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="where the random numbers start")
    seed = parser.parse_args().seed
    torch.set_num_threads(1)  # a second gains little; with one the weights do not depend on the cores
    start = time.process_time()  # of one thread: what the clock shows where nothing else runs
    model = train(seed=seed)
    seconds = time.process_time() - start
    accuracy, outputs, found = measure(model)
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
    told = ", ".join(f"{name} {value:.4f}" for name, value in found.items())
    print(f"tune accuracy {accuracy:.4f}, {told}, trained in {seconds:.0f} s")


if __name__ == "__main__":
    main()
