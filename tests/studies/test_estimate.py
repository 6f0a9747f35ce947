"""Estimates of how long compressions take."""

from __future__ import annotations

import dataclasses

import pytest

from small_policies import make_network
from squeezerl.methods.recipe import Recipe
from squeezerl.network.network import Network
from squeezerl.pipeline.place import Place
from squeezerl.studies.estimate import compress_s

PLACE = Place(env_id="Hopper-v4")
LARGE, SMALL = make_network(11, 256, 256, 3), make_network(11, 64, 64, 3)


def seconds(recipe: str, network: Network | None) -> float:
    return compress_s(PLACE, Recipe.of(recipe), network)


def test_a_recovery_takes_longer_the_more_weights_are_left_and_with_integers() -> None:
    whole = seconds("recover:20000", LARGE)
    assert seconds("l2:0.5 | recover:20000", LARGE) < whole
    assert seconds("recover:20000", SMALL) < whole
    assert seconds("bits:8 | recover:20000", LARGE) > whole
    assert seconds("recover:40000", LARGE) == pytest.approx(2 * whole, rel=0.05)
    assert 0 < seconds("l2:0.5 | recover:20000", None) < whole


def test_a_student_takes_the_same_whatever_the_agents_size() -> None:
    student = "distill:32x32:steps=20000"
    assert seconds(student, LARGE) == pytest.approx(seconds(student, SMALL))


def test_another_environment_costs_what_its_steps_cost() -> None:
    ant = dataclasses.replace(PLACE, env_id="Ant-v4")
    assert compress_s(ant, Recipe.of("recover:20000"), SMALL) > seconds("recover:20000", SMALL)
