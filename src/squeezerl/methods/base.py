"""What a method is: a spec that says how to compress, registered under its kind.

A method is one module that defines one spec and registers it. Nothing else lists methods: the
command line, studies, tables, figures and the audit ask `SPECS`.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Literal, Protocol, Self, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt

from squeezerl.errors import SpecError
from squeezerl.network.network import Network, Rounding
from squeezerl.records import MethodRecord
from squeezerl.registry import Registry

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m)")
_SECONDS = {"s": 1, "m": 60}
# The recipe without steps.
FLOAT = "float"
# What a method can need beside the network: observations of the agent's own episodes; environments
# to visit; or that the agent was trained for it (its integers come out of the training).
Need = Literal["observations", "visits", "training"]
# Actions (rows, *action_shape) for raw observations (rows, *observation_shape).
Act = Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Transitions:
    """What happened in `steps` steps of `rows` environments side by side.

    The step after the last one of an episode resets the environment: its action was ignored, so it
    does not count.

    Args:
        observations: raw, (steps + 1, rows, *shape), float32; [t] is before step t, [t + 1] after.
        rewards: (steps, rows), float32.
        ended: whether the episode ended with the step, (steps, rows).
        truncated: whether it ended for its length alone.
        counts: whether the step is one of an episode.
    """

    observations: npt.NDArray[np.float32]
    rewards: npt.NDArray[np.float32]
    ended: npt.NDArray[np.bool_]
    truncated: npt.NDArray[np.bool_]
    counts: npt.NDArray[np.bool_]

    @property
    def visited(self) -> npt.NDArray[np.float32]:
        """The raw observations that were acted on, (n, *shape)."""
        visited: npt.NDArray[np.float32] = self.observations[:-1][self.counts]
        return visited


class Visits(Protocol):
    """Environments that a policy visits, `rows` of them side by side; deterministic."""

    rows: int

    def restart(self, number: int) -> None:
        """Begin anew, with other start states for each number."""

    def roll(self, act: Act, steps: int) -> Transitions:
        """Go on for so many steps from where the last call ended."""

    def returns(
        self, acts: Sequence[Act], episodes: int, first: int = 0
    ) -> npt.NDArray[np.float64]:
        """Returns (policies, episodes) of complete episodes that policies play side by side.

        Episodes of equal numbers, counted from `first` on, have equal start states.

        No evaluation uses these seeds.
        """


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a method is given beside the network; missing inputs are `None`.

    Args:
        observations: raw ones that the agent visited, (n, *observation_shape), float32.
        roundings: of the input of each layer, by the layer's name, as a training fixed them.
        teacher: the agent's network in float, which a method can learn from.
        before: the policy as the last step that learned left it; the teacher before any has.
        visits: environments to visit.
        seed: of all that a method draws.
        on_progress: called now and then with the share of the work that is done; it may raise.
    """

    observations: npt.NDArray[np.float32] | None = None
    roundings: Mapping[str, Rounding] | None = None
    teacher: Network | None = None
    before: Network | None = None
    visits: Visits | None = None
    seed: int = 0
    on_progress: Callable[[float], None] = lambda fraction: None


@dataclass(frozen=True, kw_only=True)
class ExpectedLayer:
    """What the audit must find of a layer; `scales` is `None` for float weights."""

    name: str
    in_features: int
    out_features: int
    weight_dtype: str = "float32"
    scales: int | None = None


def expected_layers(network: Network) -> list[ExpectedLayer]:
    """The layers of a float network, as `Spec.expect` takes them."""
    return [
        ExpectedLayer(name=name, in_features=layer.in_features, out_features=layer.out_features)
        for name, layer in network.named_layers.items()
    ]


class Spec(ABC):
    """One step of a recipe: a frozen dataclass that says what to do to a network.

    Its text is its kind, then the values of the fields in `positional`, then "field=value" for each
    other field that differs from its default: "prune:l2:0.5", "int8:static:per_channel=no".
    """

    kind: ClassVar[str]
    version: ClassVar[int] = 1
    # Other texts for specs of this kind: the alias, and the text that it stands for.
    aliases: ClassVar[Mapping[str, str]] = {}
    positional: ClassVar[tuple[str, ...]] = ()
    # The field that grids sweep over.
    swept: ClassVar[str | None] = None
    needs: ClassVar[frozenset[Need]] = frozenset()
    # Fields that count steps, and how many of them a second stands for: "30s", "2m".
    rates: ClassVar[Mapping[str, int]] = {}
    # The network that it makes has integers; only a step that takes those can follow.
    gives_integers: ClassVar[bool] = False
    takes_integers: ClassVar[bool] = False

    @property
    @abstractmethod
    def record(self) -> MethodRecord:
        """How results name and show this method, whatever its amount."""

    @property
    def named_fields(self) -> tuple[str, ...]:
        """The fields that are visible in `record.name` or `amount`."""
        return self.positional

    @property
    def amount(self) -> float | None:
        """The value of the field that grids sweep over, for example a share of neurons."""
        return None if self.swept is None else float(getattr(self, self.swept))

    @property
    def estimate_s(self) -> float:
        """Roughly the seconds that it takes: those of its steps of learning, if it has any."""
        return sum(getattr(self, name) / rate for name, rate in self.rates.items()) or 0.05

    @abstractmethod
    def apply(self, network: Network, given: Given) -> Network:
        """A new network.

        Raises:
            CompressionError: if the method cannot treat this network.
            SpecError: if the spec names what is not there, or lacks what it needs.
        """

    @abstractmethod
    def expect(self, layers: Sequence[ExpectedLayer]) -> list[ExpectedLayer]:
        """The layers that the audit must find, for the layers before this step."""

    @classmethod
    def candidates(cls) -> Sequence[Self]:
        """What a squeeze tries of this method, in the order of its table."""
        return ()

    @property
    def values(self) -> dict[str, Any]:
        """The fields and their values."""
        return {f.name: getattr(self, f.name) for f in _fields(type(self))}

    @property
    def text(self) -> str:
        """The canonical text; `parse_spec` is its inverse."""
        values = self.values
        defaults = {f.name: f.default for f in _fields(type(self))}
        # Defaults at the end go without saying: "bits:4" and "bits:4:tensor".
        last = [n for n, name in enumerate(self.positional) if values[name] != defaults[name]]
        given = [_format(values[name]) for name in self.positional[: max(last, default=-1) + 1]]
        given += [
            f"{name}={_format(value)}"
            for name, value in values.items()
            if name not in self.positional and value != defaults[name]
        ]
        return ":".join([self.kind, *given])

    @property
    def name(self) -> str:
        """A short name for folders and tables, unique for each text: "ptdq", "l2-30"."""
        amount = "" if self.amount is None else f"-{percentage_text(self.amount)}"
        rest = [
            f"-{f.name}-{_format(getattr(self, f.name))}"
            for f in _fields(type(self))
            if f.name not in self.named_fields and getattr(self, f.name) != f.default
        ]
        return re.sub(r"[^\w.+-]+", "-", f"{self.record.name}{amount}{''.join(rest)}")

    def to_json(self) -> dict[str, Any]:
        """Plain data; `spec_from_json` is its inverse."""
        fields = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in self.values.items()
        }
        return {"kind": self.kind, "version": self.version, **fields}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """A spec of these fields, whose types are checked.

        Raises:
            SpecError: for an unknown field, or a value of another type.
        """
        hints = _hints(cls)
        known = [f.name for f in _fields(cls)]
        if unknown := [name for name in fields if name not in known]:
            raise SpecError(
                f"{cls.kind} has no {unknown[0]!r}; it takes {', '.join(known) or 'nothing'}"
            )
        values = {name: _checked(cls, name, value, hints[name]) for name, value in fields.items()}
        try:
            return cls(**values)
        except TypeError as error:
            raise SpecError(f"{cls.kind}: {error}") from error


def _register_own() -> None:
    import squeezerl.methods.bits
    import squeezerl.methods.distillation
    import squeezerl.methods.dynamic_int8
    import squeezerl.methods.finetuning
    import squeezerl.methods.pruning
    import squeezerl.methods.recovery
    import squeezerl.methods.static_int8
    import squeezerl.methods.trained_int8  # noqa: F401 - each registers its spec


SPECS: Registry[type[Spec]] = Registry("method", error=SpecError, built_in=_register_own)


def register_spec(spec: type[Spec]) -> type[Spec]:
    """Class decorator: make a frozen dataclass that extends `Spec` known under its kind."""
    return SPECS.register(spec.kind, spec)


def registration(spec: type[Spec]) -> Callable[[], None]:
    """What makes a method known to another process that did not run the caller's script."""
    return functools.partial(_register_copy, spec, _hints(spec))


def _register_copy(spec: type[Spec], hints: dict[str, Any]) -> None:
    spec.__annotations__ = hints  # their texts would be looked up in this process's `__main__`
    register_spec(spec)


def parse_spec(text: str) -> Spec:
    """The spec of a text such as "prune:l2:0.5", "l2:0.5", "int8:static" or "ptsq".

    Raises:
        SpecError: if it is none; the message says what is allowed.
    """
    return SpecText.parse(text).made()


@dataclass(frozen=True)
class SpecText:
    """The text of a spec, taken apart: the class of the spec, and the fields that the text gives.

    A text may leave fields open, such as "prune:l2", which grids then sweep over.
    """

    text: str
    spec: type[Spec]
    fields: Mapping[str, Any]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take a text apart.

        Raises:
            SpecError: if it is the text of no spec.
        """
        words = [word.strip() for word in text.strip().split(":")]
        aliases = {alias: full for spec in SPECS for alias, full in spec.aliases.items()}
        if words[0] in aliases and ":".join(words[:2]) not in SPECS:
            words[:1] = aliases[words[0]].split(":")
        kinds = [":".join(words[:count]) for count in (2, 1)]
        kind = next((kind for kind in kinds if kind in SPECS), None)
        if kind is None:
            if words[0] == FLOAT:
                raise SpecError("'float' is a recipe without steps; leave it out of a longer one")
            known = ", ".join((FLOAT, *method_words()))
            raise SpecError(f"unknown method {words[0]!r}; known are {known}")
        spec, fields = SPECS.get(kind), dict[str, Any]()
        hints = _hints(spec)
        for place, word in enumerate(words[len(kind.split(":")) :]):
            name, equals, value = word.partition("=")
            if not equals:
                if place >= len(spec.positional):
                    raise SpecError(f"{text!r}: {word!r} is one value too many; {_usage(spec)}")
                name, value = spec.positional[place], word
            if name in fields or name not in [f.name for f in _fields(spec)]:
                raise SpecError(f"{text!r}: {name!r} is unknown or stands twice; {_usage(spec)}")
            fields[name] = _parse_value(spec, name, value, hints[name])
        return cls(text, spec, fields)

    @property
    def is_open(self) -> bool:
        """Whether it gives no value for the field that grids sweep over."""
        return self.spec.swept is not None and self.spec.swept not in self.fields

    @property
    def other_open_fields(self) -> tuple[str, ...]:
        """The other fields that it leaves open."""
        given = (*self.fields, self.spec.swept)
        return tuple(f.name for f in _fields(self.spec) if f.name not in given)

    @property
    def amounts(self) -> list[float]:
        """The values of the swept field that the method's candidates have."""
        found = (candidate.amount for candidate in self.spec.candidates())
        return list(dict.fromkeys(amount for amount in found if amount is not None))

    def made(self, amount: float | None = None) -> Spec:
        """The spec, with this amount if the text leaves that open.

        Raises:
            SpecError: if a value is missing or impossible.
        """
        swept = {} if amount is None or not self.is_open else {str(self.spec.swept): amount}
        fields = {**self.fields, **swept}
        required = [f.name for f in _fields(self.spec) if f.default is dataclasses.MISSING]
        if missing := [name for name in required if name not in fields]:
            raise SpecError(f"{self.text!r} lacks {missing[0]}; {_usage(self.spec)}")
        return self.spec.from_fields(fields)


def method_words() -> tuple[str, ...]:
    """How texts of specs can begin."""
    return (*(alias for spec in SPECS for alias in spec.aliases), *SPECS.names)


def spec_from_json(data: Mapping[str, Any]) -> Spec:
    """The spec that `Spec.to_json` wrote.

    Raises:
        SpecError: for an unknown kind, version or field.
    """
    fields = {**data}
    kind, version = fields.pop("kind", None), fields.pop("version", None)
    if not isinstance(kind, str):
        raise SpecError(f"unknown method {kind!r}; known are {', '.join(SPECS.names)}")
    spec = SPECS.get(kind)
    if version != spec.version:
        raise SpecError(f"{kind} version {version!r}; this release reads version {spec.version}")
    return spec.from_fields(fields)


def check_keep(keep: Sequence[str], network: Network) -> None:
    """Raise a `SpecError` if `keep` names layers that the network does not have."""
    names = list(network.named_layers)
    if unknown := [name for name in keep if name not in names]:
        raise SpecError(f"keep names {unknown}; the policy's layers are {', '.join(names)}")


def _fields(spec: type[Spec]) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(spec)  # type: ignore[arg-type]


@functools.cache
def _hints(spec: type[Spec]) -> dict[str, Any]:
    """The types of its fields; finding them takes longer than all the rest of reading a spec."""
    return get_type_hints(spec)


def _usage(spec: type[Spec]) -> str:
    others = [f.name for f in _fields(spec) if f.name not in spec.positional]
    parts = [spec.kind, *spec.positional, *(f"[{name}=...]" for name in others)]
    return f"write {':'.join(parts)}"


def _format(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return repr(value).removesuffix(".0")  # the shortest text that is read back as the same
    if isinstance(value, tuple):
        return ("x" if value and isinstance(value[0], int) else ",").join(map(str, value))
    return str(value)


def percentage_text(share: float) -> str:
    """A share in percent, exact, so that different shares have different texts."""
    return f"{(Decimal(repr(share)) * 100).normalize():f}"


def _parse_value(spec: type[Spec], name: str, text: str, hint: Any) -> Any:
    """A value from its text, by the field's type."""
    try:
        if hint is bool:
            return {"yes": True, "true": True, "no": False, "false": False}[text.lower()]
        if name in spec.rates and (found := _DURATION.fullmatch(text)):
            return round(float(found[1]) * _SECONDS[found[2]] * spec.rates[name])
        if hint in (int, float):
            return hint(text)
        if get_origin(hint) is tuple:
            of = get_args(hint)[0]
            return tuple(of(part) for part in re.split("[,x]" if of is int else ",", text) if part)
    except (KeyError, ValueError) as error:
        raise SpecError(f"{spec.kind}: {name} cannot be {text!r}") from error
    return text


def _checked(spec: type[Spec], name: str, value: Any, hint: Any) -> Any:
    """A value whose type is the field's, after what JSON does to tuples and floats."""
    allowed: Sequence[Any] = ()
    if get_origin(hint) is tuple:
        of = get_args(hint)[0]
        if isinstance(value, list | tuple) and all(isinstance(item, of) for item in value):
            return tuple(value)
    elif get_origin(hint) is Literal:
        allowed = get_args(hint)
        if value in allowed:
            return value
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif isinstance(hint, type) and type(value) is hint:
        return value
    one_of = f"one of {', '.join(map(repr, allowed))}" if allowed else str(hint)
    raise SpecError(f"{spec.kind}: {name} {value!r} is not {one_of}")
