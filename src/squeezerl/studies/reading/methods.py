"""The methods in a study's file become variants: one for each method and percentage."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from squeezerl.methods.specs import (
    MAX_RATIO,
    Quantization,
    QuantizationAwareTraining,
    specs_for,
)
from squeezerl.search.candidates import PRUNING_PERCENTAGES
from squeezerl.studies.reading.yaml_node import YamlNode, each, unknown
from squeezerl.studies.study import ExistingAgent, TicketNorm, Training, Variant

PRUNING = ("l1", "l2")
_QUANTIZATION = ("ptdq", "ptsq")
_TICKET_NORMS: Mapping[str, TicketNorm] = {"l1": "l1", "l2": "l2", "random": "random"}
_TICKET_PERCENTAGES = (50.0,)
METHODS = (*_QUANTIZATION, "qat", *PRUNING, "ticket")
_KEYS = {
    **dict.fromkeys(_QUANTIZATION, ("naive", "keep", "name", "only")),
    "qat": ("naive", "keep", "name", "only"),
    **dict.fromkeys(PRUNING, ("percent", "only")),
    "ticket": ("norms", "percent", "only"),
}


def read_methods(
    node: YamlNode, agents: Sequence[ExistingAgent], trainings: Sequence[Training]
) -> tuple[Variant, ...]:
    """The variants, in the file's order.

    Raises:
        StudyError: if something is unknown, impossible or listed twice.
    """
    variants: list[Variant] = []
    for item in node.items():
        method, options = _read_method(item)
        with item.blamed():
            new = _variants(method, item, options, agents, trainings)
        for variant in new:
            if any(variant.name == other.name for other in variants):
                raise item.error(f"{variant.name} is listed twice in methods; give one a name")
        variants += new
    return tuple(variants)


def _read_method(item: YamlNode) -> tuple[str, dict[str, YamlNode]]:
    """The method's name, and its options by key."""
    if not item.is_mapping:
        return item.choice(METHODS), {}
    entries = item.entries()
    if len(entries) != 1:
        raise item.error("list one method per item, as in: - l1: {percent: [10, 20]}")
    (key, value), name = entries[0], entries[0][0].text()
    if name not in METHODS:
        raise key.error(f"unknown method {unknown(name, METHODS)}")
    return name, {} if value.is_empty else value.mapping(_KEYS[name])


def _variants(
    method: str,
    item: YamlNode,
    options: dict[str, YamlNode],
    agents: Sequence[ExistingAgent],
    trainings: Sequence[Training],
) -> list[Variant]:
    only: dict[str, Any] = {}
    if "only" in options:
        only = _read_only(options["only"], agents, trainings)
    if method in PRUNING:
        percentages = _read_percentages(options, tuple(map(float, PRUNING_PERCENTAGES)))
        return [
            Variant(method=method, ratio=p / 100, specs=specs_for(method, p / 100), **only)
            for p in percentages
        ]
    if method in ("qat", "ticket") and not trainings:
        raise item.error(
            f"{method} trains agents again, so it needs agents that the study trains itself, and "
            "there are none; add - train: {...} to agents"
        )
    if method == "ticket":
        norms: tuple[str, ...] = ("l2", "random")
        if "norms" in options:
            norms = each(options["norms"], lambda norm: norm.choice(_TICKET_NORMS))
        return [
            Variant(method=f"ticket-{norm}", ratio=p / 100, ticket=_TICKET_NORMS[norm], **only)
            for norm in norms
            for p in _read_percentages(options, _TICKET_PERCENTAGES)
        ]
    naive = "naive" in options and options["naive"].switch()
    keep: tuple[str, ...] = ()
    if "keep" in options:
        keep = each(options["keep"], YamlNode.text)
    name = f"{method}-naive" if naive else method
    if "name" in options:
        name = _read_method_name(options["name"], method)
    if method == "qat":
        spec = QuantizationAwareTraining(per_channel=not naive, per_feature=not naive, keep=keep)
        _check_qat(item, trainings, only)
        return [Variant(method=name, qat=spec, **only)]
    specs = tuple(
        dataclasses.replace(spec, keep=keep) if isinstance(spec, Quantization) else spec
        for spec in specs_for(method, naive=naive)
    )
    return [Variant(method=name, specs=specs, **only)]


def _read_percentages(
    options: dict[str, YamlNode], default: tuple[float, ...]
) -> tuple[float, ...]:
    if "percent" not in options:
        return default
    most = 100 * MAX_RATIO

    def read(node: YamlNode) -> float:
        percentage = node.number(0, most)
        if percentage == 0:
            raise node.error("0 % removes nothing: that is the float policy, evaluated in any case")
        return percentage

    return each(options["percent"], read)


def _read_method_name(node: YamlNode, method: str) -> str:
    name = node.text()
    if not name.replace("-", "").replace("_", "").isalnum() or not name.startswith(method):
        raise node.error(
            f"name {name[:80]!r}: must begin with {method} and have letters, digits, '-' and '_' "
            f"only, for example {method}-wide"
        )
    return name


def _read_only(
    node: YamlNode, agents: Sequence[ExistingAgent], trainings: Sequence[Training]
) -> dict[str, tuple[str, ...]]:
    """The arguments that limit a variant to some of the study's algorithms or environments."""
    everything: list[ExistingAgent | Training] = [*agents, *trainings]
    known = {
        "algorithms": tuple(dict.fromkeys(agent.algorithm for agent in everything)),
        "environments": tuple(dict.fromkeys(agent.place.env_id for agent in everything)),
    }
    parts = node.mapping(tuple(known))
    return {
        key: each(part, lambda item, key=key: item.choice(known[key]))  # type: ignore[misc]
        for key, part in parts.items()
    }


def _check_qat(item: YamlNode, trainings: Sequence[Training], only: dict[str, Any]) -> None:
    from squeezerl.training.algorithms import check_supports_qat, find_algorithm

    wanted = only.get("algorithms")
    for name in {training.algorithm for training in trainings}:
        if wanted is None or name in wanted:
            with item.blamed():
                check_supports_qat(find_algorithm(name))
