"""`squeezerl inspect`: what is in an agent."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from squeezerl.cli import console

if TYPE_CHECKING:
    from squeezerl.agents.load import Agent


_WIDEST = 100


@console.reports_errors
def inspect(
    agent: console.AgentArgument,
    vecnormalize: console.VecNormalizeOption = None,
    activation: console.ActivationOption = None,
    clip_actions: console.ClipActionsOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """Show an agent's algorithm, spaces, layers and bytes; nothing in it is executed.

    Example: squeezerl inspect rl-trained-agents/ppo/Hopper-v3_1
    """
    from squeezerl.agents.load import load_agent

    loaded = load_agent(
        agent, vecnormalize=vecnormalize, activation=activation, clip_actions=clip_actions
    )
    data = _describe(loaded)
    if as_json:
        console.print_json(data)
        return
    normalizer = data["normalizer"]
    entries = ", ".join(map(str, loaded.network.observation_parts))
    rows = [
        ("kind", data["kind"]),
        ("algorithm", data["algorithm"] or "unknown"),
        ("trained on", data["env_id"] or "unknown"),
        ("written by", ", ".join(f"{k} {v}" for k, v in data["versions"].items()) or "unknown"),
        ("observation", str(data["observation_shape"])),
        *([("entries", _plain(entries))] if entries else []),
        *data["environment"].items(),
        ("action", f"{data['action_shape']}, {_head(loaded)}"),
        ("distribution", _distribution(data["sampling"])),
        (
            "normaliser",
            _normalizer(normalizer),
        ),
        ("activation from", data["activation_from"] or "unknown"),
        ("in training", _training(data["trained_steps"], data["trained_to"])),
        ("parameters", f"{data['parameters']:,}"),
        ("weight bytes", f"{data['weight_bytes']:,}, with normaliser and layout"),
        *((_plain(name), _plain(text)) for name, text in data["metadata"].items()),
    ]
    console.print_table(("", ""), rows, left=(0, 1))
    console.say()
    console.print_table(
        ("layer", "in", "out", "activation", "bytes"),
        [
            (
                layer["name"],
                str(layer["in_features"]),
                str(layer["out_features"]),
                _short(layer["activation"]),
                f"{layer['weight_bytes']:,}",
            )
            for layer in data["layers"]
        ],
    )


def _plain(text: str) -> str:
    """Text from an untrusted file, on one short line without control characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[:1000]).split())
    return line if len(line) <= _WIDEST else f"{line[: _WIDEST - 3]}..."


def _normalizer(normalizer: dict[str, Any] | None) -> str:
    if normalizer is None:
        return "no"
    clip = normalizer["clip"]
    return f"{normalizer['file'] or 'inside'}, " + (
        "not clipped" if clip is None else f"clipped at ±{clip:g}"
    )


def _head(agent: Agent) -> str:
    head = agent.network.head
    has_no_bounds = (
        head.kind == "clip" and not (abs(head.low) + abs(head.high) < float("inf")).any()
    )
    return "without bounds" if has_no_bounds else head.kind


def _training(steps: int | None, returns: list[float] | None) -> str:
    said = [] if steps is None else [f"{steps:,} steps"]
    if returns is not None:
        said.append(f"its last episodes returned {returns[0]:,.5g} ± {returns[1]:,.3g}")
    return "; ".join(said) or "unknown"


def _distribution(sampling: dict[str, Any] | None) -> str:
    if sampling is None:
        return "none; actions are deterministic"
    return {
        "gumbel": "categorical",
        "normal": "normal, its deviation "
        + ("depends on the observation" if sampling["deviation"] is None else "is fixed"),
    }[sampling["noise"]] + " (--stochastic draws from it)"


def _short(activation: str | None) -> str:
    if activation is None:
        return "–"
    name, *settings = activation.split(":")
    return activation if len(settings) <= 2 else f"{name} ({len(settings)} slopes)"


def _sampling(agent: Agent) -> dict[str, Any] | None:
    if agent.sampled is None:
        return None
    head = agent.sampled.head
    deviation = head.deviation
    return {
        "noise": head.noise,
        "deviation": None if deviation is None else deviation.tolist(),
    }


def _describe(agent: Agent) -> dict[str, Any]:
    from squeezerl.agents.env_wrappers import notes_on
    from squeezerl.artifacts.audit import layer_records
    from squeezerl.formats.packed import packed_size
    from squeezerl.records import to_json

    network, source = agent.network, agent.source
    origin = source.to_json()
    normalizer = None
    if network.normalizer is not None:
        clip = network.normalizer.clip
        normalizer = {"clip": clip if math.isfinite(clip) else None, "file": origin["vecnormalize"]}
    return {
        "kind": source.kind,
        "algorithm": source.algorithm,
        "env_id": source.env_id,
        "sb3_version": origin["sb3_version"],
        "versions": source.versions,
        "sha256": source.sha256,
        "files": origin["files"],
        "environment": notes_on(source.env_kwargs),
        "observation_shape": list(network.observation_shape),
        "observation_parts": to_json(network.observation_parts),
        "action_shape": list(network.action_shape),
        "action_head": network.head.kind,
        "sampling": _sampling(agent),
        "activation_from": source.activation_from,
        "trained_to": origin["trained_to"],
        "trained_steps": source.trained_steps,
        "metadata": source.metadata,
        "normalizer": normalizer,
        "layers": [
            {
                "name": name,
                "in_features": layer.in_features,
                "out_features": layer.out_features,
                "activation": layer.activation,
                "dtype": "float32",
                "weight_bytes": record.total_bytes,
            }
            for record, (name, layer) in zip(
                layer_records(network), network.named_layers.items(), strict=True
            )
        ],
        "parameters": network.parameter_count,
        "weight_bytes": packed_size(network).total,
    }
