"""What all steps share: frozen fields with labels, help and limits, and errors in one plain sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, NoReturn, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from explorer.errors import ExplorerError

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Globs = Sequence[str]
LARGEST_SEED = 2**32 - 1


class Fixed(dict[str, Any]):
    """A dict that stays as it is: recipes are keys, so nothing inside them may change."""

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("a step is immutable: use step.change(overrides=...)")

    __setitem__ = __delitem__ = __ior__ = update = pop = popitem = clear = setdefault = _refuse

    def __reduce__(self) -> tuple[type[Fixed], tuple[dict[str, Any]]]:
        return Fixed, (dict(self),)


class Step(BaseModel):
    """What all steps share: which matrices, and whether the step is switched on.

    A field's `title` and `description` are its label and help in every face;
    `json_schema_extra={"rare": True}` puts it behind "more".
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    kind: ClassVar[str]
    label: ClassVar[str]
    help: ClassVar[str]

    layers: Globs = Field(
        default=("*",),
        title="Layers",
        description="Which weight matrices the step acts on: names or globs such as *.mlp.*",
    )
    exclude: Globs = Field(
        default=(),
        title="Except",
        description="Matrices that the step leaves alone: names or globs.",
        json_schema_extra={"rare": True},
    )
    enabled: bool = Field(
        default=True, title="On", description="A step that is off stays in the recipe and does nothing."
    )

    def __init__(self, /, *unnamed: Any, **data: Any) -> None:
        if unnamed:
            first = next(iter(name for name in type(self).model_fields if name not in Step.model_fields), "")
            raise ExplorerError("a step's fields have names", where=self.label, instead=f"write {first}={unnamed[0]!r}")
        try:
            super().__init__(**data)
        except ValidationError as problem:
            raise _plain(problem, type(self)) from problem

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Step) and self.to_python() == other.to_python()  # the order of overrides counts, too

    def __hash__(self) -> int:
        return hash(self.to_python())

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """To Python, True is the number 1; here it only switches a step on."""
        inside = value.values() if isinstance(value, Mapping) else (value,)
        if info.field_name != "enabled" and any(isinstance(item, bool) for item in inside):
            raise ValueError(f"{info.field_name} is {value!r}: true and false belong to enabled alone")
        return value

    @field_validator("layers", "exclude", mode="before")
    @classmethod
    def _one_glob_is_a_list(cls, value: Any, info: ValidationInfo) -> tuple[str, ...]:
        listed = (value,) if isinstance(value, str) else value
        if not isinstance(listed, (list, tuple)) or not all(isinstance(glob, str) for glob in listed):
            raise ValueError(f"{info.field_name} is {value!r}: give a name, a glob or a list of them")
        return tuple(listed)

    @field_validator("overrides", check_fields=False)
    @classmethod
    def _overrides_stay(cls, value: dict[str, Any]) -> dict[str, Any]:
        return Fixed(value)

    @field_validator("layers")
    @classmethod
    def _some_layers(cls, value: Globs) -> Globs:
        if not value:
            raise ValueError('give at least one glob, "*" for all')
        return value

    def change(self, **fields: Any) -> Self:
        """The same step with some fields replaced, validated again."""
        return type(self)(**{**self.model_dump(exclude_unset=False), **fields})

    def given(self) -> dict[str, Any]:
        """The fields that differ from their defaults, as plain data."""
        plain = self.model_dump(mode="json", exclude_defaults=True)
        return {name: _shorter(name, value) for name, value in plain.items()}

    def sentence(self) -> str:
        """The step in a few words, for a history or a sidebar."""
        raise NotImplementedError

    def _where(self) -> str:
        return "" if self.layers == ("*",) else " in " + ", ".join(self.layers)

    def _own(self) -> str:
        """How many matrices have an amount of their own, for sentences."""
        count = len(getattr(self, "overrides", {}))
        return f", {count} with {'an amount of its' if count == 1 else 'amounts of their'} own" if count else ""

    def to_python(self, prefix: str = "ex.") -> str:
        """Python text that makes this step again."""
        fields = ", ".join(f"{name}={value!r}" for name, value in self.given().items())
        return f"{prefix}{type(self).__name__}({fields})"

    def __str__(self) -> str:
        return self.to_python("")


def _plain(problem: ValidationError, step: type[Step]) -> ExplorerError:
    """pydantic's first complaint in one plain sentence."""
    first = problem.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    value, kind, limits = first["input"], first["type"], first.get("ctx", {})
    if kind == "extra_forbidden":
        return ExplorerError(
            f'unknown field "{name}"', where=step.label, instead=f"known fields are {', '.join(step.model_fields)}"
        )
    if kind == "value_error":
        cause = limits.get("error")
        if isinstance(cause, ExplorerError):
            return cause.at(step.label)
        return ExplorerError(str(cause), where=step.label)
    if kind in ("greater_than_equal", "less_than_equal", "greater_than"):
        low, high, above = _limits(step, name)
        if high is None:
            outside, allowed = (f"{low} or below", f"above {low}") if above else (f"below {low}", f"from {low} on")
        else:
            outside, allowed = (
                f"outside {low} to {high}",
                f"above {low}, up to {high}" if above else f"from {low} to {high}",
            )
        return ExplorerError(
            f"{_spoken(first)} is {value!r}, {outside}", where=step.label, instead=f"give a number {allowed}"
        )
    if kind in WRONG_NUMBERS:
        whole = "a whole number" if kind.startswith("int") else "a number"
        return ExplorerError(f"{_spoken(first)} is {value!r}", where=step.label, instead=f"give {whole}")
    if kind == "dict_type":
        return ExplorerError(f"{name} is {value!r}", where=step.label, instead="give a value for each name or glob")
    if kind == "literal_error":
        return ExplorerError(f"{name} is {value!r}", where=step.label, instead=f"choose one of: {limits['expected']}")
    return ExplorerError(f"{name} is {value!r}: {first['msg'][:1].lower()}{first['msg'][1:]}", where=step.label)


def _spoken(problem: Any) -> str:
    """The field, and where it has a value for each name, whose: 'sparsity', 'overrides["head"]'."""
    field, *keys = (part for part in problem["loc"] if isinstance(part, str))
    own = [key for key in keys if key not in PYDANTIC_WORDS]
    return f'{field}["{own[0]}"]' if own else field


def _limits(step: type[Step], name: str) -> tuple[str, str | None, bool]:
    """The lowest and highest value of a numeric field, and whether the lowest itself is left out."""
    schema = step.model_json_schema()["properties"][name]
    options = [schema, *schema.get("anyOf", ())]
    each = schema.get("additionalProperties")  # of a field that holds a value for each name
    if isinstance(each, dict):
        options += [each, *each.get("anyOf", ())]
    found = {limit: f"{value:.10g}" for option in options for limit, value in option.items() if limit in _LIMITS}
    above = "exclusiveMinimum" in found
    return found["exclusiveMinimum" if above else "minimum"], found.get("maximum"), above


WRONG_NUMBERS = (
    "float_parsing", "float_type", "finite_number", "int_parsing", "int_type", "int_from_float",
)  # fmt: skip
PYDANTIC_WORDS = ("float", "int", "constrained-float", "constrained-int", "nullable", "[key]")
_LIMITS = ("minimum", "exclusiveMinimum", "maximum")


def _shorter(name: str, value: Any) -> Any:
    if name in ("layers", "exclude") and isinstance(value, list) and len(value) == 1:
        return value[0]
    return value
