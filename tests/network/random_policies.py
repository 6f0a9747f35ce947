"""Any small policy: the strategy behind the tests of what takes policies apart."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from made_agents import ACTIVATIONS
from squeezerl.agents.load import load_agent
from squeezerl.methods.pruning import prune
from squeezerl.methods.specs import StructuredPruning
from squeezerl.network.action_head import ActionHead
from squeezerl.network.normalizer import ObservationNormalizer
from squeezerl.network.policy import LinearLayer, Policy

_SHAPES = [(1,), (4,), (3, 2), (1, 2, 2)]


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Any shapes, activations (mixed, missing, last), bounds, and numbers of any size."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind: Any = draw(st.sampled_from(["clip", "tanh", "argmax"]))
    observation_shape = draw(st.sampled_from(_SHAPES))
    action_shape = () if kind == "argmax" else draw(st.sampled_from(_SHAPES))
    outputs = 3 if kind == "argmax" else math.prod(action_shape)
    inputs = math.prod(observation_shape)
    widths = [inputs, *draw(st.lists(st.integers(1, 6), max_size=3)), outputs]
    activations = st.sampled_from([*ACTIVATIONS, None])
    layers = [
        LinearLayer(
            torch.from_numpy(rng.normal(size=(after, before))),
            torch.from_numpy(rng.normal(size=after)),
            draw(activations),
        )
        for before, after in pairwise(widths)
    ]
    normalizer = None
    if draw(st.booleans()):
        normalizer = ObservationNormalizer(
            rng.normal(size=inputs) * 10.0 ** rng.uniform(-6, 6, inputs),
            10.0 ** rng.uniform(-6, 6, inputs),
            epsilon=1e-8,
            clip=draw(st.sampled_from([10.0, 0.1])),
        )
    clip_mean = draw(st.sampled_from([None, 2.0, 0.1])) if kind == "tanh" else None
    head = ActionHead.argmax() if kind == "argmax" else None
    return Policy(
        layers,
        head or ActionHead.box(kind, *draw(_bounds(rng, outputs)), clip_mean=clip_mean),
        normalizer=normalizer,
        observation_shape=observation_shape,
        action_shape=action_shape,
    )


def _bounds(rng: np.random.Generator, size: int) -> st.SearchStrategy[Any]:
    low = rng.normal(size=size) * 10.0 ** rng.uniform(-3, 3, size)
    pairs = [
        (-np.ones(size), np.ones(size)),
        (np.zeros(size), np.ones(size)),
        (-np.abs(low), np.abs(low)),
        (low, low + 10.0 ** rng.uniform(-3, 3, size)),
        (low.round(1), low.round(1) + rng.integers(1, 20, size) / 10),
    ]
    return st.sampled_from([(a.astype(np.float32), b.astype(np.float32)) for a, b in pairs])


def pruned(path: str | Path, ratio: float = 0.3) -> Policy:
    """The policy of an agent with hidden layers, without that share of their neurons."""
    return prune(load_agent(path).policy, StructuredPruning(ratio=ratio))
