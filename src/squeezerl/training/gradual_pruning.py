"""Gradual pruning: the neurons of a model's actor that weigh least are silenced as it trains."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from squeezerl.agents.sources.stable_baselines3.network import actor_modules
from squeezerl.methods.base import Given
from squeezerl.methods.pruning import StructuredPruning, importance
from squeezerl.methods.recipe import Recipe
from squeezerl.network.network import Network
from squeezerl.training.algorithms import Algorithm
from squeezerl.training.model import network_of
from squeezerl.training.qat import linear_names

# The share of the training in which neurons are silenced; in the rest the others learn on.
_UNTIL = 0.75


class GraduallyPrunedActor:
    """An actor whose silent neurons have no weights; `export` takes them away.

    After a share t of the training, the share 1 - (1 - t / 0.75)^3 of the neurons that have to go
    is silent (Zhu and Gupta 2017, arXiv 1710.01878). Between two rollouts they are chosen anew:
    a neuron that learned again meanwhile can come back, as in the study's dynamic pruning.

    Args:
        model: of Stable-Baselines3.
        algorithm: the model's.
        spec: which share of each hidden layer has to go, and by which norm.

    Raises:
        CompressionError: if a layer cannot lose that share.
    """

    def __init__(self, model: Any, algorithm: Algorithm, spec: StructuredPruning) -> None:
        self._model, self._algorithm, self._spec = model, algorithm, spec
        policy = model.policy
        self._layers: list[nn.Linear] = [
            policy.get_submodule(name)
            for prefix in actor_modules(algorithm.family)
            for name in linear_names(policy, prefix)
        ]
        self.export(network_of(model, algorithm))
        self.is_complete = False

    @property
    def recipe(self) -> Recipe:
        """The recipe of the artifacts that are made of this actor."""
        return Recipe((self._spec,))

    def follow(self, done: float) -> None:
        """Silence the neurons that are due after this share of the training."""
        share = 1 - (1 - min(1.0, done / _UNTIL)) ** 3
        network = network_of(self._model, self._algorithm)
        for index, (layer, following) in enumerate(
            zip(self._layers[:-1], self._layers[1:], strict=True)
        ):
            due = round(self._spec.removed(layer.out_features) * share)
            order = np.argsort(importance(network, index, self._spec.norm), kind="stable")
            silent = torch.from_numpy(order[:due])
            with torch.no_grad():
                layer.weight[silent] = 0
                layer.bias[silent] = 0
                following.weight[:, silent] = 0
        self.is_complete = share == 1

    def export(self, network: Network) -> Network:
        """The pruned network with the weights of `network`, the model's own."""
        return self._spec.apply(network, Given())
