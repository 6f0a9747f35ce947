"""Networks small enough for a test, and the bundled agent with observations it really visits."""

from __future__ import annotations

import dataclasses
from functools import cache
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from made_agents import made_source
from squeezerl.agents.load import load_agent
from squeezerl.artifacts.artifact import Artifact, build_artifact
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import calibrate
from squeezerl.methods.base import Given
from squeezerl.methods.integers import affine_rounding
from squeezerl.methods.recipe import Recipe, RecipeLike
from squeezerl.network.activations import ACTIVATIONS
from squeezerl.network.arithmetic import act
from squeezerl.network.network import Head, Layer, Network, Normalizer, Rounding, Sampling
from squeezerl.runtimes.onnx_runtime import load_network

Floats = npt.NDArray[np.float32]

SOURCE = made_source(env_id="HalfCheetah-v5", env_kwargs={"ctrl_cost_weight": 0.1})

# Every way to int8, by a short name.
QUANTIZATIONS = {
    "ptdq": "int8:dynamic",
    "ptdq-naive": "int8:dynamic:per_channel=no",
    "ptsq": "int8:static",
    "ptsq-per-tensor": "int8:static:per_channel=no",
    "ptsq-naive": "int8:static:per_channel=no:layers_only=no",
    "qat": "int8:trained",
}
# Every activation, and some with settings of their own.
ACTIVATION_TEXTS = [
    *ACTIVATIONS,
    "LeakyReLU:0.1",
    "LeakyReLU:-0.5",
    "ELU:0.5",
    "Hardtanh:-0.5:2",
    "PReLU:-0.1",
]
# Every width of weights.
LOW_BITS = {
    "int8": "bits:8",
    "int6": "bits:6",
    "int4": "bits:4",
    "int4-per-tensor": "bits:4:tensor",
    "int6-shift": "bits:6:shift",
    "int3": "bits:3",
    "int2": "bits:2",
    "ternary": "bits:ternary",
    "ternary-per-tensor": "bits:ternary:tensor:inputs=tensor",
    "int4-weights": "bits:4:activations=float",
    "int8-weights": "bits:8:tensor:activations=float",
}
# Quantizing the normaliser and the head as well costs the naive setting most of its precision.
PRECISE = [name for name in QUANTIZATIONS if name != "ptsq-naive"]


def make_network(
    *widths: int,
    activation: str = "ReLU",
    head: Literal["clip", "tanh", "argmax"] = "clip",
    normalized: bool = True,
    observation_shape: tuple[int, ...] | None = None,
    action_shape: tuple[int, ...] | None = None,
    bounds: tuple[Any, Any] = (-1, 1),
    clip_mean: float | None = None,
    groups: tuple[int, ...] = (),
    seed: int = 0,
) -> Network:
    """A network of these widths with random weights; `bounds` are those of the actions."""
    rng = np.random.default_rng(seed)
    layers = tuple(
        Layer(
            weight=(rng.normal(size=(outputs, inputs)) / inputs**0.5).astype(np.float32),
            bias=(rng.normal(size=outputs) / 10).astype(np.float32),
            activation=activation if index < len(widths) - 2 else None,
        )
        for index, (inputs, outputs) in enumerate(pairwise(widths))
    )
    normalizer = Normalizer(
        mean=np.linspace(-1, 1, widths[0], dtype=np.float32),
        inverse_std=(np.linspace(0.5, 2, widths[0]) ** -0.5).astype(np.float32),
        clip=10.0,
    )
    low, high = (np.broadcast_to(np.float32(x), widths[-1]).copy() for x in bounds)
    discrete = head == "argmax"
    return Network(
        layers=layers,
        head=Head(kind="argmax", groups=groups)
        if discrete
        else Head(kind=head, low=low, high=high, clip_mean=clip_mean),
        normalizer=normalizer if normalized else None,
        observation_shape=observation_shape or (widths[0],),
        action_shape=((len(groups),) if groups else ())
        if discrete
        else action_shape or (widths[-1],),
    )


def with_layer(network: Network, index: int, **changes: Any) -> Network:
    """The network with another weight, bias or activation in one layer."""
    layers = list(network.layers)
    layers[index] = dataclasses.replace(layers[index], **changes)
    return network.replace(layers=tuple(layers))


def random_observations(network: Network, count: int, seed: int = 0) -> Floats:
    """Normally distributed observations (count, *observation_shape)."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, *network.observation_shape)).astype(np.float32)


def roundings_seen(network: Network, observations: Floats) -> dict[str, Rounding]:
    """Of the input of each layer, for the range that it is seen in, as a training would fix it."""
    ranges: dict[str, Rounding] = {}

    def observe(name: str, value: Floats) -> None:
        ranges[name] = affine_rounding(float(value.min()), float(value.max()))

    act(network, observations, observe)
    names = network.named_layers
    return {name: ranges[network.input_of(index)] for index, name in enumerate(names)}


def compress(network: Network, recipe: RecipeLike, observations: Floats | None = None) -> Network:
    """What a recipe makes of a network; unless given, the observations are random."""
    if observations is None:
        observations = random_observations(network, 200)
    teacher, steps = network, Recipe.of(recipe).steps
    for step in steps:
        roundings = roundings_seen(network, observations) if "training" in step.needs else None
        if roundings is not None:
            roundings = {n: r for n, r in roundings.items() if n not in getattr(step, "keep", ())}
        given = Given(observations=observations, roundings=roundings, teacher=teacher)
        network = step.apply(network, given)
    return network


def make_artifact(network: Network, recipe: RecipeLike, **facts: Any) -> Artifact:
    """The artifact of what a recipe makes of a network."""
    observations = facts.pop("observations", None)
    return build_artifact(
        compress(network, recipe, observations),
        Recipe.of(recipe),
        original=network,
        **{"source": SOURCE} | facts,
    )


@cache
def drawing(network: Network, deviation: float = 0.5) -> Network:
    """The network with actions that are drawn around its own, all with the same deviation."""
    head, width = network.head, network.layers[-1].out_features
    fixed = None if head.is_discrete else np.full(width, deviation, np.float32)
    return network.replace(head=dataclasses.replace(head, sampling=Sampling(deviation=fixed)))


def demo_network() -> Network:
    """The bundled agent's."""
    return load_agent("demo").network


@cache
def demo_observations() -> Floats:
    """1000 observations that the bundled agent visits in one episode."""
    environment = Environment.find("HalfCheetah-v5")
    observations, _ = calibrate(load_network(demo_network()), environment, episodes=1)
    observations.flags.writeable = False
    return observations
