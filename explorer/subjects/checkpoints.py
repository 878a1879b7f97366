"""Checkpoints of the transformers library: a folder with `config.json` becomes a module."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from explorer.errors import ExplorerError

CONFIG = "config.json"


def is_checkpoint(folder: Path) -> bool:
    """Whether the folder is one that `save_pretrained` wrote."""
    return (folder / CONFIG).is_file()


def from_checkpoint(folder: Path) -> nn.Module:
    """The model in the folder, in its own architecture and number type; reads only what lies there.

    Raises `ExplorerError` when transformers is missing, the architecture is unknown, or weights are missing.
    """
    try:
        import transformers
    except ImportError as problem:
        raise ExplorerError(f"{folder} needs the package transformers", instead="pip install transformers") from problem
    try:
        named = json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("architectures") or []
    except (OSError, ValueError) as problem:
        raise ExplorerError(f"{folder / CONFIG} cannot be read", instead="save the model again") from problem
    architecture: Any = getattr(transformers, named[0], None) if named else None
    if not (isinstance(architecture, type) and hasattr(architecture, "from_pretrained")):
        what = (
            f"transformers does not know the architecture {named[0]}" if named else "the config names no architecture"
        )
        raise ExplorerError(what, where=str(folder), instead="load the module yourself and give it to ex.load")
    bars = transformers.utils.logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        model, notes = architecture.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    except (OSError, ValueError, RuntimeError) as problem:
        raise ExplorerError(f"{folder} cannot be loaded ({str(problem).splitlines()[0]})") from problem
    finally:
        if shown:
            bars.enable_progress_bar()
    missing = sorted(notes["missing_keys"])
    if missing:
        what = f"the checkpoint lacks weights, first {missing[0]}"
        raise ExplorerError(what, where=str(folder), instead="train or load them first")
    assert isinstance(model, nn.Module)
    for module in model.modules():  # nothing is written on, so nothing has to be remembered
        if getattr(getattr(module, "config", None), "use_cache", False):
            module.config.use_cache = False  # type: ignore[union-attr]  # a config, not a module
    return model
