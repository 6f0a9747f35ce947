"""The methods in a study's file become variants: one for each recipe of each item."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import get_args

from squeezerl.analysis.methods import REFERENCES
from squeezerl.artifacts.artifact import Artifact, is_artifact, read_artifact
from squeezerl.methods.base import SpecText, method_words
from squeezerl.methods.pruning import MAX_RATIO
from squeezerl.methods.recipe import Recipe, parse_grid
from squeezerl.studies.reading.yaml_node import YamlNode, each, unknown
from squeezerl.studies.study import TICKET, ExistingAgent, TicketNorm, Training, Variant

_TICKET_KEYS = ("norms", "percent", "only")
_NAIVE = "naive"
_FOLDER = "folder"


def read_methods(
    node: YamlNode, agents: Sequence[ExistingAgent], trainings: Sequence[Training]
) -> tuple[Variant, ...]:
    """The variants, in the file's order.

    Raises:
        StudyError: if something is unknown, impossible or listed twice.
    """
    variants: list[Variant] = []
    for item in node.items():
        text, value = _read_item(item)
        with item.blamed():
            new = _read_tickets(value) if text == TICKET else _read_recipes(text, value, agents)
            if any(v.trains and not v.made for v in new) and not trainings:
                raise item.error(
                    f"{text} trains agents again, so it needs agents that the study trains itself, "
                    "and there are none; add - train: {...} to agents"
                )
        for key, option in value.entries() if value is not None else ():
            if key.text() == "only":
                only = _read_only(option, agents, trainings)
                new = [
                    dataclasses.replace(
                        variant,
                        algorithms=only.get("algorithms"),
                        environments=only.get("environments"),
                    )
                    for variant in new
                ]
        for variant in new:
            if variant.qat is not None:
                _check_qat(item, trainings, variant)
            if variant.method in REFERENCES:
                raise item.error(f"{variant.method} is the name of a reference; choose another")
            if any(variant.name == other.name for other in variants):
                raise item.error(f"{variant.name} is listed twice in methods; give one a name")
            variants.append(variant)
    return tuple(variants)


def _read_item(item: YamlNode) -> tuple[str, YamlNode | None]:
    """The method or recipe of an item, and the options that it is given."""
    if not item.is_mapping:
        text, key, value = item.text(), item, None
    else:
        entries = item.entries()
        if len(entries) != 1:
            raise item.error("list one method per item, as in: - l1: {percent: [10, 20]}")
        key, options = entries[0]
        text, value = key.text(), None if options.is_empty else options
    word = text.split("|")[0].split(":")[0].strip()
    words = (*method_words(), TICKET)
    if word not in {known.split(":")[0] for known in words}:
        raise key.error(f"unknown method {unknown(text, words)}")
    return text, value


def _read_recipes(
    text: str, value: YamlNode | None, agents: Sequence[ExistingAgent]
) -> list[Variant]:
    """The variants of a method's alias ("l2", "ptdq") or of a recipe's text."""
    steps = [SpecText.parse(step) for step in text.split("|")]
    fields = steps[-1].other_open_fields
    naive = f"{text}-{_NAIVE}"
    keys = ["name", "only", _FOLDER, *fields]
    keys += ["percent"] if any(step.is_open for step in steps) else []
    keys += [_NAIVE] if naive in method_words() else []
    options = {} if value is None else value.mapping(tuple(keys))
    if _NAIVE in options and options[_NAIVE].switch():
        text = naive
    for name in fields:
        if name in options:
            text += f":{name}={','.join(each(options[name], YamlNode.text))}"
    amounts = None
    if "percent" in options:
        amounts = [percentage / 100 for percentage in _read_percentages(options["percent"])]
    recipes = parse_grid(text, amounts)
    own_name = _read_name(options["name"], text) if "name" in options else None
    if _FOLDER in options and len(recipes) > 1:
        raise options[_FOLDER].error("one folder holds one policy; give one percentage")
    made = _read_made(options[_FOLDER], recipes[0], agents) if _FOLDER in options else {}
    return [
        Variant(
            # The ratio stands beside the method in results.
            method=own_name or (recipe.name if recipe.ratio is None else recipe.record.name),
            ratio=recipe.ratio,
            recipe=recipe,
            made=made,
        )
        for recipe in recipes
    ]


def _read_made(
    node: YamlNode, recipe: Recipe, agents: Sequence[ExistingAgent]
) -> dict[str, Artifact]:
    """The policies that the agents have in a folder of this name, by the names of the agents."""
    made: dict[str, Artifact] = {}
    for agent in agents:
        if not is_artifact(folder := agent.path / node.text()):
            continue
        with node.blamed():
            artifact = read_artifact(folder)
            agent.place.find().check_fits(artifact.network)
        if artifact.recipe != recipe:
            raise node.error(
                f"{folder} was made with {artifact.manifest.recipe}, not with {recipe.text}"
            )
        made[agent.name] = artifact
    if not made:
        raise node.error(f"no agent that exists already has a policy in a folder {node.text()}")
    return made


def _read_tickets(value: YamlNode | None) -> list[Variant]:
    options = {} if value is None else value.mapping(_TICKET_KEYS)
    norms: tuple[str, ...] = ("l2", "random")
    if "norms" in options:
        norms = each(options["norms"], lambda norm: norm.choice(get_args(TicketNorm)))
    percentages = _read_percentages(options["percent"]) if "percent" in options else (50.0,)
    return [
        Variant(method=f"{TICKET}-{norm}", ratio=p / 100, ticket=norm)  # type: ignore[arg-type]
        for norm in norms
        for p in percentages
    ]


def _read_percentages(node: YamlNode) -> tuple[float, ...]:
    def read(item: YamlNode) -> float:
        percentage = item.number(0, 100 * MAX_RATIO)
        if percentage == 0:
            raise item.error("0 % removes nothing: that is the float policy, evaluated in any case")
        return percentage

    return each(node, read)


def _read_name(node: YamlNode, text: str) -> str:
    """A name for a variant; it begins with the method's, where this is one word."""
    name, method = node.text(), text.split(":")[0].removesuffix(f"-{_NAIVE}")
    plain = name.replace("-", "").replace("_", "").replace("+", "").isalnum()
    if not plain or not ("|" in text or name.startswith(method)):
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


def _check_qat(item: YamlNode, trainings: Sequence[Training], variant: Variant) -> None:
    from squeezerl.training.algorithms import check_supports_qat, find_algorithm

    for name in {training.algorithm for training in trainings}:
        if variant.algorithms is None or name in variant.algorithms:
            with item.blamed():
                check_supports_qat(find_algorithm(name))
