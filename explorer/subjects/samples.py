"""Finding the bundled samples: in a checkout at the top level, in a wheel inside the package."""

from __future__ import annotations

import importlib.util
import sys
from functools import lru_cache
from pathlib import Path
from threading import RLock
from types import ModuleType

from explorer.errors import ExplorerError
from explorer.subjects.cards import Card, read_card

PACKAGE = Path(__file__).resolve().parents[1]
_importing = RLock()


@lru_cache
def shipped(folder: str) -> Path:
    """Where the top-level folder `folder` ("sample_models", "pages") is: beside the package, or inside it (wheel)."""
    for place in (PACKAGE / folder, PACKAGE.parent / folder):
        if place.is_dir():
            return place
    raise ExplorerError(f"the folder {folder} is missing", instead="install compression-explorer again")


@lru_cache
def sample_cards() -> dict[str, Card]:
    """The cards of all bundled samples, in the order in which a newcomer should meet them."""
    first = (
        "digits-vit",
        "scene-digits",
        "negation-text",
        "story-lm",
        "cancer-tab",
        "digits-lenet",
        "digits-cbam",
        "digits-cnn",
        "scene-vqa",
        "dates-seq2seq",
        "digits-sleeper",
    )
    cards = {path.parent.name: read_card(path) for path in sorted(shipped("sample_models").glob("*/card.toml"))}
    order = [name for name in first if name in cards] + [name for name in cards if name not in first]
    return {name: cards[name] for name in order}


def sample_folder(name: str) -> Path:
    """The folder of the sample `name`; raises `ExplorerError` for an unknown one, naming those there are."""
    known = {path.parent.name: path.parent for path in sorted(shipped("sample_models").glob("*/card.toml"))}
    if name not in known:  # a name is never a path: links and forms bring names from outside
        raise ExplorerError(f'there is no sample called "{name}"', instead=f"choose one of: {', '.join(known)}")
    return known[name]


def sample_module(name: str, file: str) -> ModuleType:
    """The module `file` ("model", "data", "train") of the sample `name`, imported once by its path."""
    with _importing:  # another thread must not meet a module that is half there
        return _imported(name, file)


def _imported(name: str, file: str) -> ModuleType:
    qualified = f"explorer_samples.{name.replace('-', '_')}.{file}"
    if qualified in sys.modules:
        return sys.modules[qualified]
    path = sample_folder(name) / f"{file}.py"
    spec = importlib.util.spec_from_file_location(qualified, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ExplorerError(f"the sample has no {file}.py", where=name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[qualified] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[qualified]
        raise
    return module
