"""The trail of one sample in one browser tab: every recipe that was visited, and what is running for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from explorer.jobs import CurveJob, Job
from explorer.recipe import Recipe
from explorer.recovery.pursuit import Pursuit
from explorer.search.sensitivity import SensitivityJob
from explorer.web.workbenches import LatencyJob


@dataclass(frozen=True)
class Moment:
    """A recipe with the ids of its steps; ids name widgets and are no part of the recipe's equality."""

    recipe: Recipe
    ids: tuple[int, ...]


@dataclass
class Trail:
    """All that a session did with one sample."""

    now: Moment
    past: list[Moment] = field(default_factory=list)
    future: list[Moment] = field(default_factory=list)
    visits: list[Recipe] = field(default_factory=list)
    open_step: int | None = None
    matrix: str | None = None
    shown: Any = None  # the last quality on screen: stays, dimmed, until a new one comes
    shown_answers: Any = None
    latency: dict[Recipe, LatencyJob] = field(default_factory=dict)
    jobs: dict[Recipe, Job] = field(default_factory=dict)  # of this recipe and those before it
    left: dict[Recipe, Job] = field(default_factory=dict)  # of visits that the next move interrupted: partial numbers
    sizes: dict[Recipe, int] = field(default_factory=dict)  # bytes of the results that were visited
    resumed: Recipe | None = None  # the one of them that is measured to its end now
    pursuit: Pursuit | None = None  # the recovery that runs, and the recipe that it leads to
    recovered: str = ""  # what is to be said about the last one
    scan: SensitivityJob | None = None  # of the Layers page
    scan_wishes: dict[str, Any] = field(default_factory=dict)  # what its controls stand at
    taken: str = ""  # the last cell that became a step
    allocation: Any = None  # the search for the smallest model, and the last one whose outcome was taken
    allocated: Any = None
    look: Any = None  # of the Attention page, see `look.py`
    heads_job: Any = None  # its measurements of heads, and the search for their gains
    gains_job: Any = None
    drift: Any = None
    compared: Any = None  # of the Compare page
    reasons: dict[Any, Any] = field(default_factory=dict)  # of the Attribution page: what was explained
    believed: Any = None
    twin: bool = False  # of the Model page: whether the sample's twin is measured beside it
    histogram: Any = None  # of the scores that were drawn last
    curves: dict[int, tuple[Any, CurveJob]] = field(default_factory=dict)
