"""Structured pruning with torch-pruning's dependency graph (DepGraph, arXiv 2301.12900)."""

from __future__ import annotations

import copy

import numpy as np
import numpy.typing as npt
import torch
import torch_pruning

from squeezerl.errors import CompressionError
from squeezerl.methods.specs import StructuredPruning
from squeezerl.network.policy import Policy

Neurons = npt.NDArray[np.int64]


def prune(policy: Policy, spec: StructuredPruning) -> Policy:
    """A new policy with the least important neurons of every hidden layer removed.

    A neuron's importance is the L1 or L2 norm over its group: its incoming weights and the
    weights that the next layer applies to it. The output layer keeps all its neurons.

    Raises:
        CompressionError: if a layer cannot lose the share that was asked for.
    """
    return _prune(policy, spec)[0]


def kept_neurons(policy: Policy, spec: StructuredPruning) -> tuple[Neurons, ...]:
    """The neurons that `prune` keeps: for each hidden layer their indices, ascending.

    Raises:
        CompressionError: if a layer cannot lose the share that was asked for.
    """
    return _prune(policy, spec)[1]


def random_neurons(
    policy: Policy, spec: StructuredPruning, generator: np.random.Generator
) -> tuple[Neurons, ...]:
    """As many neurons as `prune` keeps of each hidden layer, drawn at random; ascending.

    Raises:
        CompressionError: if a layer cannot lose the share that was asked for.
    """
    hidden = list(policy.linear_layers().values())[:-1]
    return tuple(
        np.sort(generator.permutation(layer.out_features)[count:])
        for layer, count in zip(hidden, _removed(policy, spec), strict=True)
    )


def _removed(policy: Policy, spec: StructuredPruning) -> list[int]:
    """How many neurons each hidden layer loses."""
    layers = list(policy.linear_layers().items())
    if len(layers) < 2:
        raise CompressionError("the policy has no hidden layer, so there is nothing to prune")
    removed = [spec.removed(layer.out_features) for _, layer in layers[:-1]]
    for (name, layer), count in zip(layers, removed, strict=False):
        if not 0 < count < layer.out_features:
            raise CompressionError(
                f"{name} has {layer.out_features} neurons, of which {spec.ratio:.0%} is {count}: "
                "a ratio must remove at least one neuron and leave at least one"
            )
    return removed


def _prune(policy: Policy, spec: StructuredPruning) -> tuple[Policy, tuple[Neurons, ...]]:
    """The pruned policy, and which neurons of each hidden layer it kept."""
    removed = _removed(policy, spec)
    pruned = copy.deepcopy(policy)
    *hidden, last = pruned.linear_layers().values()
    widths = [layer.out_features for layer in hidden]
    pruner = torch_pruning.pruner.BasePruner(
        pruned.network,
        torch.zeros(1, hidden[0].in_features),
        importance=torch_pruning.importance.GroupMagnitudeImportance(
            p=1 if spec.norm == "l1" else 2, target_types=[torch.nn.Linear]
        ),
        # It keeps int(width * (1 - ratio)); the margin guards that product against rounding.
        pruning_ratio_dict={
            layer: count / width - 1e-9
            for layer, width, count in zip(hidden, widths, removed, strict=True)
        },
        ignored_layers=[last],
    )
    lost: dict[torch.nn.Module, list[int]] = {}
    for group in pruner.step(interactive=True):  # the importances of all groups are known by now
        lost[group[0].dep.target.module] = group[0].idxs
        group.prune()
    left = [layer.out_features for layer in hidden]
    expected = [width - count for width, count in zip(widths, removed, strict=True)]
    if left != expected:
        raise CompressionError(f"pruning left hidden widths {left} where {expected} were due")
    kept = tuple(
        np.setdiff1d(np.arange(width), lost[layer])
        for layer, width in zip(hidden, widths, strict=True)
    )
    return pruned.eval(), kept
