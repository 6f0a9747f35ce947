"""`squeezerl inspect`: what is in an agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from squeezerl.cli.console import (
    AgentArgument,
    JsonOption,
    VecNormalizeOption,
    print_json,
    print_table,
    reports_errors,
    say,
)

if TYPE_CHECKING:
    from squeezerl.agents.load import Agent


@reports_errors
def inspect(
    agent: AgentArgument, vecnormalize: VecNormalizeOption = None, as_json: JsonOption = False
) -> None:
    """Show an agent's algorithm, spaces, layers and bytes; nothing in it is executed.

    Example: squeezerl inspect rl-trained-agents/ppo/Hopper-v3_1
    """
    from squeezerl.agents.load import load_agent

    data = _describe(load_agent(agent, vecnormalize=vecnormalize))
    if as_json:
        print_json(data)
        return
    normalizer = data["normalizer"]
    rows = [
        ("algorithm", data["algorithm"]),
        ("trained on", data["env_id"] or "unknown"),
        ("saved by", f"Stable-Baselines3 {data['sb3_version'] or 'unknown'}"),
        ("observation", str(data["observation_shape"])),
        ("action", f"{data['action_shape']}, {data['action_head']}"),
        ("normaliser", f"yes, clipped at ±{normalizer['clip']:g}" if normalizer else "no"),
        ("parameters", f"{data['parameters']:,} ({data['weight_bytes']:,} bytes)"),
    ]
    print_table(("", ""), rows, left=(0, 1))
    say()
    print_table(
        ("layer", "in", "out", "activation", "bytes"),
        [
            (
                layer["name"],
                str(layer["in_features"]),
                str(layer["out_features"]),
                layer["activation"] or "–",
                f"{layer['weight_bytes']:,}",
            )
            for layer in data["layers"]
        ],
    )


def _describe(agent: Agent) -> dict[str, Any]:
    policy, source = agent.policy, agent.source
    children = dict(policy.network.named_children())
    layers = []
    for name, layer in policy.linear_layers().items():
        activation = children.get(name.replace("layer", "activation"))
        layers.append(
            {
                "name": name,
                "in_features": layer.in_features,
                "out_features": layer.out_features,
                "activation": type(activation).__name__ if activation is not None else None,
                "dtype": "float32",
                "weight_bytes": 4 * (layer.weight.numel() + layer.bias.numel()),
            }
        )
    return {
        "algorithm": source.algorithm,
        "env_id": source.env_id,
        "sb3_version": source.sb3_version,
        "sha256": source.sha256,
        "observation_shape": list(policy.observation_shape),
        "action_shape": list(policy.action_shape),
        "action_head": policy.head.kind,
        "normalizer": (
            None
            if policy.normalizer is None
            else {"clip": policy.normalizer.clip, "file": source.vecnormalize}
        ),
        "layers": layers,
        "parameters": policy.parameter_count,
        "weight_bytes": 4 * policy.parameter_count,
    }
