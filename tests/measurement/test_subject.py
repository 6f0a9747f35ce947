from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from made_agents import MadeAgent
from small_policies import (
    QUANTIZATIONS,
    SOURCE,
    compress,
    demo_network,
    demo_observations,
    make_artifact,
    make_network,
)
from squeezerl.agents.load import load_agent
from squeezerl.measurement.result import ModelSize
from squeezerl.measurement.subject import Subject, artifact_size
from squeezerl.network.network import IntegerTensor, Network

PRUNING = "prune:l2:0.3"
RECIPES = {"float": "float", "pruned": PRUNING, **QUANTIZATIONS}


def _size(network: Network, recipe: str = "float") -> ModelSize:
    return artifact_size(make_artifact(network, recipe))


def _demo_size(recipe: str = "float") -> ModelSize:
    artifact = make_artifact(demo_network(), recipe, observations=demo_observations())
    return artifact_size(artifact)


def _counts_what_the_layers_have(network: Network, size: ModelSize) -> None:
    assert size.parameters == network.parameter_count
    assert size.macs == sum(layer.in_features * layer.out_features for layer in network.layers)


def test_a_subject_knows_its_agent() -> None:
    assert Subject("demo", make_artifact(demo_network(), "float")).source == SOURCE


@pytest.mark.parametrize("name", RECIPES)
def test_parts_add_up(name: str) -> None:
    artifact = make_artifact(demo_network(), RECIPES[name], observations=demo_observations())
    size = artifact_size(artifact)
    assert size.file_bytes == len(artifact.model)
    assert size.gzip_bytes == len(gzip.compress(artifact.model, 9, mtime=0)) < size.file_bytes
    assert sum(size.weight_bytes_by_dtype.values()) == size.weight_bytes < size.file_bytes
    assert all(count > 0 for count in size.weight_bytes_by_dtype.values())


@pytest.mark.parametrize("name", ["float", *QUANTIZATIONS])
def test_a_quantized_policy_has_the_macs_and_parameters_of_its_float_one(name: str) -> None:
    _counts_what_the_layers_have(demo_network(), _demo_size(RECIPES[name]))


def test_a_float_policy_is_all_float32() -> None:
    size = _demo_size()
    assert size.weight_bytes_by_dtype["float32"] == 4 * size.parameters + 2 * 4 * 17
    assert size.weight_bytes_by_dtype.keys() == {"float8", "float32", "uint8"}  # clip, layout


@pytest.mark.parametrize("name", ["ptdq", "ptsq"])
def test_int8_weights_are_a_byte_each_and_their_scales_are_counted(name: str) -> None:
    size = _demo_size(QUANTIZATIONS[name])
    network = compress(demo_network(), QUANTIZATIONS[name], demo_observations())
    dtypes = size.weight_bytes_by_dtype
    weights = size.macs  # one weight for each multiplication
    neurons = size.parameters - size.macs
    scales = sum(
        layer.weight.scale.nbytes
        for layer in network.layers
        if isinstance(layer.weight, IntegerTensor)
    )
    assert dtypes["int8"] == weights
    assert scales == 4 * neurons
    assert dtypes["float32"] >= scales
    assert dtypes.keys() <= {"int8", "float8", "float16", "float32", "int16", "uint8"}
    assert size.weight_bytes < 4 * size.parameters / 2


def test_layers_that_are_kept_in_float_are_counted_as_float() -> None:
    all_int8 = _demo_size("int8:static")
    kept = _demo_size("int8:static:keep=layer0")
    assert kept.weight_bytes_by_dtype["float32"] > all_int8.weight_bytes_by_dtype["float32"]
    assert kept.weight_bytes_by_dtype["int8"] < all_int8.weight_bytes_by_dtype["int8"]
    assert kept.macs == all_int8.macs


def test_pruning_takes_macs_and_parameters_away() -> None:
    size = _demo_size(PRUNING)
    _counts_what_the_layers_have(compress(demo_network(), PRUNING), size)
    assert size.macs < _demo_size().macs


def test_more_than_ten_layers_are_told_apart() -> None:
    network = make_network(3, *[4] * 11, 2)
    size = _size(network)
    _counts_what_the_layers_have(network, size)
    # The means -1, 0 and 1 take two bytes each.
    assert size.weight_bytes_by_dtype["float32"] == 4 * size.parameters + 4 * 3


def test_made_agents_are_counted(made_agent: MadeAgent) -> None:
    network = load_agent(made_agent.path).network
    size = _size(network)
    _counts_what_the_layers_have(network, size)
    assert sum(size.weight_bytes_by_dtype.values()) == size.weight_bytes
    assert size.weight_bytes_by_dtype["float32"] >= 4 * size.macs


def test_published_agents_are_counted(published_agent: Path) -> None:
    network = load_agent(published_agent).network
    size = _size(network)
    _counts_what_the_layers_have(network, size)
    assert sum(size.weight_bytes_by_dtype.values()) == size.weight_bytes
