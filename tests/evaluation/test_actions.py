from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from small_policies import demo_network, demo_observations, make_network, with_layer
from squeezerl.analysis.shares import share_interval
from squeezerl.errors import InvalidArgumentError
from squeezerl.evaluation.actions import (
    ActionReferee,
    KeepActions,
    check_length,
    independent_every,
)
from squeezerl.evaluation.log import Log
from squeezerl.network.network import Head, Network
from squeezerl.runtimes.onnx_runtime import load_network

SEEN = np.random.default_rng(0).normal(size=(2_000, 3)).astype(np.float32)
LOG = Log(observations=SEEN)


def _network(head: str = "clip", low: float = -1.0, high: float = 1.0) -> Network:
    network = make_network(3, 8, 2, head=head, normalized=False)  # type: ignore[arg-type]
    if head == "argmax":
        return network
    bounds = {"low": np.full(2, low, np.float32), "high": np.full(2, high, np.float32)}
    return network.replace(head=Head(kind="clip", **bounds))


def _shifted(network: Network, by: Any) -> Network:
    """The network with outputs that are off by so much."""
    bias = network.layers[-1].bias
    return with_layer(network, len(network.layers) - 1, bias=bias + np.float32(by))


@given(st.floats(0.01, 0.999), st.lists(st.floats(1e-4, 10), min_size=1, max_size=4), st.booleans())
def test_a_demand_comes_back_from_its_text(
    share: float, tolerance: list[float], in_units: bool
) -> None:
    demand = KeepActions.of(
        KeepActions(share=share, tolerance=tuple(tolerance), in_units=in_units).text
    )
    assert demand.in_units == in_units
    assert demand.share == pytest.approx(share)
    assert demand.tolerance == pytest.approx(tolerance, rel=1e-5)


@pytest.mark.parametrize(
    "text", ["", "0.99", "0.99:", "1:0.02", "0:0.1", "0.9:0", "0.9:0.1:rad", "0.9:-1", "x:0.1"]
)
def test_what_is_no_demand_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="keep_actions"):
        KeepActions.of(text)


def test_a_policy_keeps_its_own_actions() -> None:
    network = demo_network()
    log = Log(observations=demo_observations())
    found = ActionReferee(network, log, KeepActions()).judge(load_network(network))
    assert (found.kept, found.verdict, found.worst) == (len(log), "keeps", ())
    assert [each.largest for each in found.dimensions] == [0.0] * 6


@pytest.mark.parametrize("in_units", [False, True])
def test_a_deviation_is_measured_in_the_range_or_in_units(in_units: bool) -> None:
    """All actions are 0.3 off, of a range of 20: that is 1.5 %."""
    network = _network(low=-10, high=10)
    actor = load_network(_shifted(network, 0.3))
    for tolerance, verdict in ((0.31, "keeps"), (0.29, "loses")):
        given = tolerance if in_units else tolerance / 20
        demand = KeepActions(share=0.9, tolerance=(given,), in_units=in_units)
        found = ActionReferee(network, LOG, demand).judge(actor)
        assert found.verdict == verdict
        assert found.dimensions[0].tolerance == pytest.approx(tolerance)
        assert found.dimensions[0].mean == pytest.approx(0.3, abs=1e-5)


def test_each_dimension_can_have_its_tolerance() -> None:
    network = _network(low=-10, high=10)
    actor = load_network(_shifted(network, [0.3, 0.1]))
    for tolerance, kept in (((0.4, 0.2), 2_000), ((0.2, 0.4), 0), ((0.4, 0.05), 0)):
        demand = KeepActions(tolerance=tolerance, in_units=True)
        assert ActionReferee(network, LOG, demand).judge(actor).kept == kept
    with pytest.raises(InvalidArgumentError, match="3 tolerances, and the action 2 dimensions"):
        ActionReferee(network, LOG, KeepActions(tolerance=(0.1, 0.1, 0.1)))


def test_without_bounds_the_range_is_what_the_original_does() -> None:
    network = _network(low=-np.inf, high=np.inf)
    fitted = Log(observations=SEEN[:1_000])
    referee = ActionReferee(network, LOG, KeepActions(tolerance=(0.1,)), fitted=fitted)
    actions = load_network(network).act(SEEN[:1_000])
    low, high = np.quantile(actions, [0.005, 0.995], axis=0)
    np.testing.assert_allclose(referee.tolerance, 0.1 * (high - low), rtol=1e-6)
    still = network.replace(layers=(*network.layers[:-1], _still(network)))
    with pytest.raises(InvalidArgumentError, match="does not vary in the log"):
        ActionReferee(still, LOG, KeepActions())


def _still(network: Network) -> Any:
    last = network.layers[-1]
    return with_layer(network, 1, weight=0 * last.weight).layers[-1]


def test_discrete_actions_must_be_the_same() -> None:
    network = make_network(3, 8, 4, head="argmax", normalized=False)
    other = make_network(3, 8, 4, head="argmax", normalized=False, seed=1)
    same = load_network(network).act(SEEN) == load_network(other).act(SEEN)
    found = ActionReferee(network, LOG, KeepActions()).judge(load_network(other))
    assert (found.kept, found.dimensions) == (same.sum(), ())
    assert all(decision.wanted != decision.done for decision in found.worst)


def test_the_counts_bounds_and_worst_rows_are_those_of_the_actions() -> None:
    network, fitted = _network(), Log(observations=SEEN[:500])
    other = load_network(_shifted(with_layer(network, 0, bias=network.layers[0].bias + 0.05), 0))
    referee = ActionReferee(network, LOG, KeepActions(), fitted=fitted, first_row=100)
    found = referee.judge(other)
    far = np.abs(other.act(SEEN) - load_network(network).act(SEEN)).max(axis=1)
    kept = int((far <= 0.04).sum())
    assert 0 < kept < 2_000
    assert found.kept == kept
    assert found.share == share_interval(kept, 2_000, found.error)
    worst = [far[decision.row - 100] for decision in found.worst]
    assert worst == pytest.approx(np.sort(far)[:-6:-1], rel=1e-5)
    assert found.worst[0].times == pytest.approx(far.max() / 0.04, rel=1e-4)
    beyond = (SEEN[:500].min(axis=0) > SEEN) | (SEEN[:500].max(axis=0) < SEEN)
    assert found.outside == pytest.approx(beyond.mean(axis=0))
    for decision in found.worst:
        assert decision.outside == tuple(np.flatnonzero(beyond[decision.row - 100]))


def test_deviations_that_come_in_a_row_count_for_less() -> None:
    """The same share of wrong decisions, scattered or all in a row."""
    network = _network()
    broken = np.zeros(2_000, np.bool_)
    demand = KeepActions(share=0.9)
    verdicts = {}
    for name, rows in (("scattered", np.arange(0, 2_000, 14)), ("in a row", np.arange(142))):
        broken[:] = False
        broken[rows] = True
        # Where the first feature is far out, a network with another weight acts differently.
        seen = np.where(broken[:, None], np.float32([50, 0, 0]), np.float32([0, 0.1, 0.2]))
        weight = network.layers[0].weight.copy()  # type: ignore[union-attr]
        weight[:, 0] = -weight[:, 0]
        other = load_network(with_layer(network, 0, weight=weight))
        verdicts[name] = ActionReferee(network, Log(observations=seen), demand).judge(other)
    assert {found.kept for found in verdicts.values()} <= {2_000 - 143, 2_000 - 142}
    assert verdicts["scattered"].verdict == "keeps"
    assert verdicts["in a row"].verdict == "undecided"
    assert verdicts["in a row"].correlation_time > 20
    assert verdicts["in a row"].more_decisions is not None


def test_recorded_actions_are_compared_with() -> None:
    network = _network()
    actions = load_network(network).act(SEEN).astype(np.float64)
    actions[:500] += 1
    log = Log(observations=SEEN, actions=actions)
    found = ActionReferee(network, log, KeepActions()).judge(load_network(network))
    assert (found.recorded, found.kept) == (0.75, 2_000)


def test_a_log_that_is_too_short_is_told_how_long_it_must_be() -> None:
    short = Log(observations=SEEN[:367])
    with pytest.raises(InvalidArgumentError, match=r"have 367 rows: too few .* at least 368, even"):
        check_length(short, KeepActions())
    check_length(Log(observations=SEEN[:368]), KeepActions())
    with pytest.raises(InvalidArgumentError, match=r"74 are kept .* 368 to confirm with, 1,840 in"):
        check_length(short, KeepActions(), "confirm")
    check_length(Log(observations=SEEN[:1840]), KeepActions(), "confirm")


def test_few_deviations_do_not_make_decisions_independent() -> None:
    """Their order shows nothing; with ten of them, it counts alone."""
    rng = np.random.default_rng(0)
    slow = 0.5 + 0.4 * np.sin(np.arange(6_000) / 40)
    assert independent_every(slow) > 20
    for bad, least, most in ((9, 20, 6_000), (10, 1, 1.2)):
        times = slow.copy()
        times[rng.choice(6_000, bad, replace=False)] = 2
        assert least <= independent_every(times) <= most
    # What is independent already stays so.
    assert independent_every(rng.random(6_000)) < 1.3
