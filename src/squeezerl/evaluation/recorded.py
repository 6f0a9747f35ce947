"""Recorded actions beside those that the policy gives, and what explains the difference.

Most mistakes between a policy and a robot are of a few kinds: the normaliser was left out or
applied twice, actions were scaled again, dimensions stand in another order, a clip was forgotten,
or actions come a step late. Each is tried, and named if it explains what was recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from squeezerl.errors import InvalidArgumentError
from squeezerl.evaluation.log import Log
from squeezerl.network.arithmetic import act
from squeezerl.network.network import Network, as_float

Floats = npt.NDArray[np.float64]

_FEWEST = 20
# Beyond this share of decisions that agree, a log agrees; the first ones may precede the policy.
_AGREEING = 0.99


@dataclass(frozen=True, kw_only=True)
class RecordedCheck:
    """How far recorded actions are from those that the policy gives for the same observations.

    Args:
        rows: decisions that were compared.
        share: of them that agree in every dimension.
        tolerance: the largest deviation that agrees, as a share of each dimension's range.
        deviations: the largest of each dimension, in the action's units.
        explanation: what was done to the actions or observations, if that explains the record;
            `None` if they agree or nothing that was tried explains them.
    """

    rows: int
    share: float
    tolerance: float
    deviations: tuple[float, ...]
    explanation: str | None

    @property
    def agrees(self) -> bool:
        """Whether the policy was deployed as it is."""
        return self.share >= _AGREEING


def check_recorded(network: Network, log: Log, *, tolerance: float = 0.01) -> RecordedCheck:
    """Compare the actions of a log with those of a network, and look for what explains them.

    Args:
        network: the policy.
        log: observations as the policy is given them, raw, and the actions that were recorded.
        tolerance: the largest deviation that agrees, as a share of each dimension's range in the
            log.

    Raises:
        InvalidArgumentError: if the log has no actions, too few rows, or other shapes.
    """
    log = log.fitted_to(network)
    if log.actions is None:
        raise InvalidArgumentError(f"{log.origin}: holds no actions to compare with")
    if len(log) < _FEWEST:
        raise InvalidArgumentError(f"{log.origin}: {len(log)} rows; {_FEWEST} are needed")
    if not 0 < tolerance < 1:
        raise InvalidArgumentError(f"`tolerance` is {tolerance:g}; it is a share, above 0, below 1")
    recorded = _flat(log.actions)
    said = _flat(act(network, log.observations))
    spread = np.ptp(said, axis=0) if not network.head.is_discrete else np.ones(1)
    allowed = tolerance * np.where(spread > 0, spread, 1.0)

    def share(actions: Floats, beside: Floats = recorded) -> float:
        return float((np.abs(actions - beside) <= allowed).all(axis=1).mean())

    found = share(said)
    explanation = None
    if found < _AGREEING:
        tried = _explanations(network, log, said, recorded, share)
        explanation = next((text for text, agreeing in tried if agreeing >= _AGREEING), None)
    return RecordedCheck(
        rows=len(log),
        share=found,
        tolerance=tolerance,
        deviations=tuple(np.abs(said - recorded).max(axis=0).tolist()),
        explanation=explanation,
    )


def _flat(actions: npt.NDArray[Any]) -> Floats:
    return np.asarray(actions, np.float64).reshape(len(actions), -1)


def _explanations(
    network: Network,
    log: Log,
    said: Floats,
    recorded: Floats,
    share: Callable[..., float],
) -> Iterator[tuple[str, float]]:
    """What may have happened, simplest first, and the share of decisions that it explains."""
    yield "the actions come one decision late", share(said[:-1], recorded[1:])
    yield "the actions belong to the observation before", share(said[1:], recorded[:-1])
    for text, changed, observations in _other_inputs(network, log):
        yield text, share(_flat(act(changed, observations)))
    if network.head.is_discrete:
        return
    if network.head.kind == "clip" and np.isfinite(network.head.low).any():
        anything = np.full_like(network.head.low, np.inf)
        head = replace(network.head, low=-anything, high=anything)
        free = _flat(act(_changed(network, head=head), log.observations))
        yield "the actions were not clipped to their bounds", share(free)
    order = _order(said, recorded)
    if order != [*range(len(order))]:
        moved = said[:, order]
        text = ", ".join(map(str, order))
        yield f"the dimensions of the action stand in another order: {text}", share(moved)
    yield from _scaled(network, said, recorded, share)


def _other_inputs(network: Network, log: Log) -> Iterator[tuple[str, Network, Any]]:
    """Networks and observations as they are where the normaliser was misunderstood."""
    normalizer = network.normalizer
    if normalizer is None:
        return
    flat = log.observations.reshape(len(log), -1)
    text = "the normaliser was left out, or the log holds observations that are normalised already"
    yield text, _changed(network, normalizer=None), log.observations
    normal = (flat - as_float(normalizer.mean)) * as_float(normalizer.inverse_std)
    normal = np.clip(normal, -normalizer.clip, normalizer.clip).astype(np.float32)
    twice = normal.reshape(log.observations.shape)
    yield "the observations were normalised twice", network, twice


def _changed(network: Network, **parts: Any) -> Network:
    """The network with other parts, without the roundings of values that are gone then."""
    bare = network.replace(roundings={}, **parts)
    kept = {name: r for name, r in network.roundings.items() if name in bare.value_names}
    return bare.replace(roundings=kept)


def _order(said: Floats, recorded: Floats) -> list[int]:
    """Which dimension of the policy each recorded one is nearest to, each taken once."""
    from scipy.optimize import linear_sum_assignment

    distance = np.abs(recorded[:, :, None] - said[:, None, :]).mean(axis=0)
    return [int(place) for place in linear_sum_assignment(distance)[1]]


def _scaled(
    network: Network, said: Floats, recorded: Floats, share: Callable[..., float]
) -> Iterator[tuple[str, float]]:
    """Factors and shifts by dimension, by least squares."""
    centered = said - said.mean(axis=0)
    variance = (centered**2).mean(axis=0)
    factor = (centered * (recorded - recorded.mean(axis=0))).mean(axis=0)
    factor = np.divide(factor, variance, out=np.ones_like(factor), where=variance > 0)
    shift = recorded.mean(axis=0) - factor * said.mean(axis=0)
    if (np.abs(factor) < 1e-6).any():
        return
    agreeing = share(said, (recorded - shift) / factor)
    shown = ", ".join(f"{number:.4g}" for number in factor)
    small = 1e-3 * np.abs(said).max()
    if (np.abs(shift) <= small).all():
        text = f"the actions were multiplied by {shown}"
        if network.head.kind == "tanh":
            half = (network.head.high - network.head.low) / 2
            if np.allclose(factor, half, rtol=0.02):
                text = f"the actions were scaled to their bounds twice (by {shown} once more)"
        yield text, agreeing
    else:
        moved = ", ".join(f"{number:.4g}" for number in shift)
        yield f"the actions were multiplied by {shown}, and {moved} was added", agreeing
