"""Policies small enough for a test, and the bundled agent with observations it really visits."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
import torch

from made_agents import made_source
from squeezerl.agents.load import load_agent
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import calibrate
from squeezerl.methods.compress import compress
from squeezerl.methods.specs import DynamicQuantization, Spec, StaticQuantization
from squeezerl.network.action_head import ActionHead
from squeezerl.network.normalizer import ObservationNormalizer
from squeezerl.network.policy import LinearLayer, Policy
from squeezerl.runtimes.onnx_actor import OnnxActor

Floats = npt.NDArray[np.float32]

SOURCE = made_source(algorithm="PPO", env_id="HalfCheetah-v5", env_kwargs={"ctrl_cost_weight": 0.1})

QUANTIZATIONS: dict[str, Spec] = {
    "ptdq": DynamicQuantization(),
    "ptdq-naive": DynamicQuantization(per_channel=False),
    "ptsq": StaticQuantization(),
    "ptsq-per-tensor": StaticQuantization(per_channel=False),
    "ptsq-naive": StaticQuantization(per_channel=False, layers_only=False),
}

# Quantizing the normaliser and the head as well costs the naive setting most of its precision.
PRECISE = [name for name in QUANTIZATIONS if name != "ptsq-naive"]


def make_policy(
    *widths: int,
    activation: str = "ReLU",
    head: Literal["clip", "tanh", "argmax"] = "clip",
    normalized: bool = True,
    observation_shape: tuple[int, ...] | None = None,
    seed: int = 0,
) -> Policy:
    """A policy of these widths with random weights, actions within -1 and 1."""
    generator = torch.Generator().manual_seed(seed)
    layers = [
        LinearLayer(
            torch.randn(outputs, inputs, generator=generator) / inputs**0.5,
            torch.randn(outputs, generator=generator) / 10,
            activation if index < len(widths) - 2 else None,
        )
        for index, (inputs, outputs) in enumerate(pairwise(widths))
    ]
    bounds = np.ones(widths[-1], dtype=np.float32)
    normalizer = ObservationNormalizer(
        np.linspace(-1, 1, widths[0]), np.linspace(0.5, 2, widths[0]), epsilon=1e-8, clip=10.0
    )
    return Policy(
        layers,
        ActionHead.argmax() if head == "argmax" else ActionHead.box(head, -bounds, bounds),
        normalizer=normalizer if normalized else None,
        observation_shape=observation_shape or (widths[0],),
        action_shape=() if head == "argmax" else (widths[-1],),
    )


def random_observations(policy: Policy, count: int, seed: int = 0) -> Floats:
    """Normally distributed observations (count, *observation_shape)."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, *policy.observation_shape)).astype(np.float32)


def make_actor(model: onnx.ModelProto) -> OnnxActor:
    return OnnxActor(model.SerializeToString())


@cache
def demo_policy() -> Policy:
    """The bundled agent's; treat it as read-only."""
    return load_agent("demo").policy


@cache
def demo_observations() -> Floats:
    """1000 observations that the bundled agent visits in one episode."""
    environment = Environment.find("HalfCheetah-v5")
    observations, _ = calibrate(make_actor(compress(demo_policy()).model), environment, episodes=1)
    observations.flags.writeable = False
    return observations
