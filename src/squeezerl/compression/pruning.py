"""Structured pruning with torch-pruning's dependency graph (DepGraph, arXiv 2301.12900)."""

from __future__ import annotations

import copy

import torch
import torch_pruning

from squeezerl.compression.specs import StructuredPruning
from squeezerl.errors import CompressionError
from squeezerl.policy.policy import Policy


def prune(policy: Policy, spec: StructuredPruning) -> Policy:
    """A new policy with the least important neurons of every hidden layer removed.

    A neuron's importance is the L1 or L2 norm over its group: its incoming weights and the
    weights that the next layer applies to it. The output layer keeps all its neurons.

    Raises:
        CompressionError: if a layer cannot lose the share that was asked for.
    """
    pruned = copy.deepcopy(policy)
    layers = list(pruned.linear_layers().items())
    if len(layers) < 2:
        raise CompressionError("the policy has no hidden layer, so there is nothing to prune")
    hidden = [layer for _, layer in layers[:-1]]
    removed = [spec.removed(layer.out_features) for layer in hidden]
    for (name, layer), count in zip(layers, removed, strict=False):
        if not 0 < count < layer.out_features:
            raise CompressionError(
                f"{name} has {layer.out_features} neurons, of which {spec.ratio:.0%} is {count}: "
                "a ratio must remove at least one neuron and leave at least one"
            )
    expected = [layer.out_features - count for layer, count in zip(hidden, removed, strict=True)]
    torch_pruning.pruner.BasePruner(
        pruned.network,
        torch.zeros(1, layers[0][1].in_features),
        importance=torch_pruning.importance.GroupMagnitudeImportance(
            p=1 if spec.norm == "l1" else 2, target_types=[torch.nn.Linear]
        ),
        # It keeps int(width * (1 - ratio)); the margin guards that product against rounding.
        pruning_ratio_dict={
            layer: count / layer.out_features - 1e-9
            for layer, count in zip(hidden, removed, strict=True)
        },
        ignored_layers=[layers[-1][1]],
    ).step()
    widths = [layer.out_features for layer in pruned.linear_layers().values()][:-1]
    if widths != expected:
        raise CompressionError(f"pruning left hidden widths {widths} where {expected} were due")
    return pruned.eval()
