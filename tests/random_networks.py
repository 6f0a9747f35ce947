"""Any small network: the strategy behind the tests of what takes networks apart."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import strategies as st

from small_policies import ACTIVATION_TEXTS, LOW_BITS, QUANTIZATIONS, compress
from squeezerl.network.activations import Activation
from squeezerl.network.network import (
    Head,
    Layer,
    Network,
    Normalizer,
    Sampling,
    as_float,
    parts_of,
)

_TEXTS = [*ACTIVATION_TEXTS, "slopes", None]
_SHAPES = [(1,), (4,), (3, 2), (1, 2, 2)]
_GROUPS = [(), (3,), (2, 1, 2), (1, 3)]
# The entries of a dict observation, by the shape of the flat one.
_PARTS = {(4,): parts_of([("goal", (1,)), ("camera/depth", (3, 1))])}


@st.composite
def networks(draw: st.DrawFn, *, wild: bool = True) -> Network:
    """Any shapes, entries, activations (mixed, missing, last), skips, bounds and choices.

    Normalisers and bounds have numbers of any size if they are `wild`, and else usual ones.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind: Any = draw(st.sampled_from(["clip", "tanh", "argmax"]))
    observation_shape = draw(st.sampled_from(_SHAPES))
    action_shape = () if kind == "argmax" else draw(st.sampled_from(_SHAPES))
    outputs = 3 if kind == "argmax" else math.prod(action_shape)
    groups = draw(st.sampled_from(_GROUPS)) if kind == "argmax" else ()
    if groups:
        action_shape, outputs = (len(groups),), sum(groups)
    inputs = math.prod(observation_shape)
    widths = [inputs, *draw(st.lists(st.integers(1, 6), max_size=3)), outputs]
    skips = [False, *(draw(st.sampled_from([False, False, True])) for _ in widths[2:])]
    layers = tuple(
        Layer(
            weight=rng.normal(size=(after, before + skip * inputs)).astype(np.float32),
            bias=rng.normal(size=after).astype(np.float32),
            activation=_with_slopes(draw(st.sampled_from(_TEXTS)), rng, after),
            skip=skip,
        )
        for skip, (before, after) in zip(skips, pairwise(widths), strict=True)
    )
    normalizer = None
    if draw(st.booleans()):
        size = 6 if wild else 0.5
        normalizer = Normalizer(
            mean=(rng.normal(size=inputs) * 10.0 ** rng.uniform(-size, size, inputs)).astype("f4"),
            inverse_std=(10.0 ** rng.uniform(-size / 2, size / 2, inputs)).astype("f4"),
            clip=draw(st.sampled_from([10.0, 0.1])),
        )
    low, high = draw(_bounds(rng, outputs, wild))
    clip_mean = draw(st.sampled_from([None, 2.0, 0.1])) if kind == "tanh" else None
    discrete = kind == "argmax"
    return Network(
        layers=layers,
        head=Head(kind=kind, groups=groups)
        if discrete
        else Head(kind=kind, low=low, high=high, clip_mean=clip_mean),
        normalizer=normalizer,
        observation_shape=observation_shape,
        action_shape=action_shape,
        observation_parts=draw(st.sampled_from([(), _PARTS.get(observation_shape, ())])),
    )


def _with_slopes(text: str | None, rng: np.random.Generator, neurons: int) -> str | None:
    """A PReLU with a slope for each neuron in the place of "slopes"."""
    slopes = rng.normal(size=neurons).astype(np.float32).tolist()
    return str(Activation("PReLU", tuple(slopes))) if text == "slopes" else text


@st.composite
def integer_networks(draw: st.DrawFn, *, wild: bool = True) -> Network:
    """Any small network in int8."""
    return compress(draw(networks(wild=wild)), draw(st.sampled_from(list(QUANTIZATIONS.values()))))


@st.composite
def drawn_networks(draw: st.DrawFn, *, wild: bool = True) -> Network:
    """Any small network that draws its actions, in floats or in int8."""
    network = draw(networks(wild=wild))
    head, last = network.head, network.layers[-1]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if not head.is_discrete and draw(st.booleans()):
        # The second half of the outputs is the logarithm of the deviation.
        weight, bias = (
            np.concatenate([x, x[::-1] / 4 - 1]) for x in map(as_float, (last.weight, last.bias))
        )
        last = dataclasses.replace(last, weight=weight, bias=bias, activation=None)
        sampling = Sampling()
    else:
        deviation = rng.uniform(0, 1, last.out_features).astype(np.float32)
        sampling = Sampling(deviation=None if head.is_discrete else deviation)
    network = network.replace(
        layers=(*network.layers[:-1], last),
        head=dataclasses.replace(head, sampling=sampling, clip_mean=None),
    )
    recipe = draw(st.sampled_from(["float", "int8:dynamic", "int8:static", "bits:4"]))
    return compress(network, recipe)


@st.composite
def low_bit_networks(draw: st.DrawFn, *, wild: bool = True) -> Network:
    """Any small network with weights of 8 bits or fewer and its input scaled by feature."""
    return compress(draw(networks(wild=wild)), draw(st.sampled_from(list(LOW_BITS.values()))))


def _bounds(rng: np.random.Generator, size: int, wild: bool) -> st.SearchStrategy[Any]:
    spread = 3 if wild else 0.3
    low = rng.normal(size=size) * 10.0 ** rng.uniform(-spread, spread, size)
    pairs = [
        (-np.ones(size), np.ones(size)),
        (np.zeros(size), np.ones(size)),
        (-np.abs(low), np.abs(low)),
        (low, low + 10.0 ** rng.uniform(-spread, spread, size)),
        (low.round(1), low.round(1) + rng.integers(1, 20, size) / 10),
    ]
    return st.sampled_from([(a.astype(np.float32), b.astype(np.float32)) for a, b in pairs])
