"""The audit: what was read from an artifact's model is what its manifest claims."""

from __future__ import annotations

from collections.abc import Sequence

from squeezerl.artifacts.manifest import Manifest
from squeezerl.errors import AuditError, SpecError
from squeezerl.formats.base import SizeRecord
from squeezerl.formats.packed import packed_size
from squeezerl.methods.base import ExpectedLayer
from squeezerl.methods.recipe import Recipe
from squeezerl.network.network import IntegerTensor, Network
from squeezerl.records import LayerRecord


def audit(network: Network, size: SizeRecord, manifest: Manifest) -> None:
    """Compare what a model holds with what the manifest claims and its recipe promises.

    Args:
        network: read from the model, which proves that the model holds nothing else.
        size: counted in the model.
        manifest: what is claimed.

    Raises:
        AuditError: on the first difference.
    """
    try:
        recipe = Recipe.from_json(manifest.specs)
    except SpecError as error:
        raise AuditError(f"the manifest's specs are not valid: {error}") from error
    if recipe.sha256 != manifest.specs_sha256 or recipe.text != manifest.recipe:
        raise AuditError("the manifest's specs do not match its recipe and their hash")
    layers = layer_records(network)
    if layers != manifest.layers:
        for found, claimed in zip(layers, manifest.layers, strict=False):
            if found != claimed:
                raise AuditError(f"the manifest claims {claimed}, the model holds {found}")
        raise AuditError(f"{len(manifest.layers)} layers claimed, {len(layers)} in the model")
    _audit_recipe(recipe.expect(manifest.layers_before), network, layers)
    if size != manifest.size:
        raise AuditError(f"the manifest claims {manifest.size}, measured {size}")
    head = network.head
    shapes = (manifest.observation_shape, manifest.action_shape)
    more = (manifest.groups, manifest.observation_parts)
    claims = (*shapes, manifest.discrete, manifest.noise, *more)
    shapes = (network.observation_shape, network.action_shape)
    more = (head.groups, network.observation_parts)
    holds = (*shapes, head.is_discrete, head.noise, *more)
    if claims != holds:
        raise AuditError(
            "the manifest claims observations, actions, discreteness, noise, groups and parts "
            f"{claims}, the model has {holds}"
        )


def layer_records(network: Network) -> tuple[LayerRecord, ...]:
    """Every layer, with the dtype of its weights and the bytes that its numbers take, packed."""
    records = []
    size = packed_size(network)
    for index, (name, layer) in enumerate(network.named_layers.items()):
        weight = layer.weight
        records.append(
            LayerRecord(
                name=name,
                in_features=layer.in_features,
                out_features=layer.out_features,
                weight_dtype=weight.dtype_name
                if isinstance(weight, IntegerTensor)
                else str(weight.dtype),
                weight_bytes=size.of_part("weights", index),
                bias_bytes=size.of_part("biases", index),
                quantization_bytes=size.of_part("scales", index),
            )
        )
    return tuple(records)


def _audit_recipe(
    expected: Sequence[ExpectedLayer], network: Network, layers: Sequence[LayerRecord]
) -> None:
    found = [
        ExpectedLayer(
            name=record.name,
            in_features=record.in_features,
            out_features=record.out_features,
            weight_dtype=record.weight_dtype,
            scales=layer.weight.scale.size if isinstance(layer.weight, IntegerTensor) else None,
        )
        for record, layer in zip(layers, network.layers, strict=True)
    ]
    if len(found) != len(expected):
        raise AuditError(f"the recipe promises {len(expected)} layers, the model has {len(found)}")
    for promise, layer in zip(expected, found, strict=True):
        if promise != layer:
            raise AuditError(f"the recipe promises {promise}, the model has {layer}")
