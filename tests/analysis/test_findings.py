from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from made_study import ALGORITHMS, COSTS, made_study, usual_truth
from squeezerl.analysis.cells import cells_of
from squeezerl.analysis.finding import (
    REFUTED,
    SUPPORTED,
    UNDECIDED,
    Finding,
    inside,
    over_cells,
    overall,
    overall_verdicts,
    share_interval,
)
from squeezerl.analysis.frames import StudyData
from squeezerl.analysis.hierarchy import agent_draws
from squeezerl.analysis.return_findings import l2_beats_l1
from squeezerl.analysis.study_analysis import findings, training_basis
from squeezerl.records import Interval

pytestmark = pytest.mark.slow

Truth = Callable[[str, str, float | None], float]
RATIOS = (0.05, 0.1, 0.5, 0.7)
EVEN: dict[str, dict[str, float]] = {}  # every method costs what the float policy costs


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _study(truth: Truth = usual_truth, **options: Any) -> StudyData:
    """Fifteen agents of one training each."""
    settings: dict[str, Any] = {
        "algorithms": ALGORITHMS,
        "environments": ("Hopper-v4", "HalfCheetah-v4", "Ant-v4"),
        "train_seeds": 1,
        "episodes": 40,
        "noise": 0.05,
        "ratios": RATIOS,
        "truth": truth,
    }
    return made_study(**settings | options)


def _findings(data: StudyData, seed: int = 0) -> tuple[Finding, ...]:
    agents = list(agent_draws(data, _rng(seed)))
    return findings(data, agents, cells_of(agents, data), _rng(seed))


def _found(data: StudyData, seed: int = 0) -> dict[str, Finding]:
    return {finding.label: finding for finding in _findings(data, seed)}


@cache
def _usual() -> dict[str, Finding]:
    return _found(_study())


def _kept(**kept: float) -> Truth:
    return lambda agent, method, ratio: kept.get(
        method.replace("-", "_"), usual_truth(agent, method, ratio)
    )


def _times(kind: str, **times: float) -> dict[str, dict[str, float]]:
    return {method: {kind: factor} for method, factor in times.items()}


def test_all_six_findings_are_there_in_order() -> None:
    labels = list(_usual())
    assert labels == sorted(labels)
    assert {label[0] for label in labels} == set("123456")
    for finding in _usual().values():
        assert finding.verdict in (SUPPORTED, REFUTED, UNDECIDED)
        assert finding.claim.endswith(".")
        assert finding.evidence.endswith(".")
        assert finding.hypothesis
        assert finding.statistic
        if (interval := finding.estimate) is not None:
            assert interval.low <= interval.estimate <= interval.high


@pytest.mark.parametrize(("kind", "label"), [("energy", "1a"), ("memory", "1b")])
def test_no_improvement_is_refuted_by_one_method_that_improves(kind: str, label: str) -> None:
    even = _found(_study(cost_times=EVEN))[label]
    assert even.verdict == SUPPORTED
    assert even.estimate is not None
    assert even.estimate.estimate == pytest.approx(1, abs=0.02)
    better = _found(_study(cost_times=_times(kind, ptsq=1.3)))[label]
    assert better.verdict == REFUTED
    assert better.estimate is not None
    assert better.estimate.estimate == pytest.approx(1.3, abs=0.02)
    assert f"ptsq {better.estimate.estimate:.3f}" in better.evidence
    between = _found(_study(cost_times=_times(kind, ptsq=1.05)))[label]
    assert between.verdict == UNDECIDED


def test_an_estimated_energy_says_so_and_a_missing_one_decides_nothing() -> None:
    assert "energy estimated (estimate: CPU time" in _usual()["1a"].evidence
    without = _found(_study(energy=False))
    for label in ("1a", "2a", "2b"):
        assert without[label].verdict == UNDECIDED
        assert without[label].estimate is None
    assert without["1b"].verdict == SUPPORTED


def test_quantization_alone_cannot_speak_for_pruning() -> None:
    assert _found(_study(cost_times=EVEN, pruned=()))["1a"].verdict == UNDECIDED


def test_hosts_and_runtimes_are_not_merged() -> None:
    data = _study(cost_times=EVEN)
    other = data.costs.assign(host_id="ffff", energy_times=9.0).head(20)
    torch = data.costs.assign(runtime="torch", energy_times=9.0)
    mixed = replace(data, costs=pd.concat([other, torch, data.costs], ignore_index=True))
    assert _found(mixed)["1a"].verdict == SUPPORTED
    assert "the one of 2 with most rows" in _found(mixed)["1a"].evidence
    only_torch = _found(replace(data, costs=torch))["1a"]
    assert only_torch.verdict == REFUTED
    assert "in torch on host" in only_torch.evidence


def test_files_that_grow_refute_that_models_get_smaller() -> None:
    data = _study()
    assert _usual()["1c"].verdict == SUPPORTED
    returns = data.returns.copy()
    returns.loc[returns.method == "qat", "file_bytes"] = 400_000
    assert _found(replace(data, returns=returns))["1c"].verdict == REFUTED


def test_energy_that_falls_at_kept_return_refutes() -> None:
    keeping = _kept(ptdq=1.0, ptsq=1.0, qat=0.4)
    assert _found(_study(keeping, cost_times=EVEN))["2a"].verdict == SUPPORTED
    saving = _found(_study(keeping, cost_times=_times("energy", ptsq=1.5)))["2a"]
    assert saving.verdict == REFUTED
    # Saving where the return is lost is what the finding says.
    assert _found(_study(keeping, cost_times=_times("energy", qat=1.5)))["2a"].verdict == SUPPORTED


def test_energy_goes_with_the_length_of_episodes_or_not() -> None:
    varied = _varied_truth()
    data = _study(varied, cost_times=EVEN)
    assert _found(data)["2b"].verdict == SUPPORTED
    # Now a decision gets dearer the shorter episodes are.
    steps = data.returns.assign(steps=[np.mean(own) for own in data.returns.lengths])
    keys = ["agent", "method", "ratio"]
    costs = data.costs.merge(steps[[*keys, "steps"]], on=keys)
    whole = steps[steps.method == "float"].set_index("agent").steps
    costs["energy_times"] *= np.sqrt(costs.steps / costs.agent.map(whole))
    dearer = _found(replace(data, costs=costs))["2b"]
    assert dearer.verdict == REFUTED
    assert dearer.estimate is not None
    assert dearer.estimate.estimate == pytest.approx(-0.5, abs=0.05)


def _varied_truth() -> Truth:
    agents = {f"{name}-Hopper-v4": 0.3 + 0.15 * place for place, name in enumerate(ALGORITHMS)}
    return lambda agent, method, ratio: 1.0 if method == "float" else agents.get(agent, 0.7)


def test_episodes_of_fixed_length_cannot_explain_energy() -> None:
    data = _study(environments=("HalfCheetah-v4", "HumanoidStandup-v4"))
    finding = _found(data)["2b"]
    assert finding.verdict == UNDECIDED
    assert "hardly any ended early" in finding.evidence


@pytest.mark.parametrize(
    ("l1", "l2", "verdict"), [(0.6, 0.8, SUPPORTED), (0.8, 0.6, REFUTED), (0.7, 0.7, UNDECIDED)]
)
def test_the_better_norm_is_found(l1: float, l2: float, verdict: str) -> None:
    finding = _found(_study(_kept(l1=l1, l2=l2)))["3a"]
    assert finding.verdict == verdict
    assert finding.cells == 15


def test_equal_norms_are_seldom_told_apart() -> None:
    decided = 0
    for seed in range(40):
        data = _study(
            _kept(l1=0.7, l2=0.7),
            seed=seed,
            environments=("HalfCheetah-v4", "Ant-v4"),
            ratios=(0.1, 0.5),
            costs=False,
        )
        agents = list(agent_draws(data, _rng(seed), resamples=500))
        decided += l2_beats_l1(agents).verdict != UNDECIDED
    assert decided <= 5  # expected: 2


def test_identical_norms_are_even() -> None:
    data = _study()
    returns = data.returns.copy()
    same = returns[returns.method == "l1"].set_index(["agent", "ratio"]).returns
    for index in returns.index[returns.method == "l2"]:
        returns.at[index, "returns"] = same[returns.at[index, "agent"], returns.at[index, "ratio"]]
    finding = _found(replace(data, returns=returns))["3a"]
    assert finding.estimate == Interval(estimate=0.5, low=0.5, high=0.5)


def _ten_percent(losing: tuple[str, ...]) -> Truth:
    return lambda agent, method, ratio: (
        0.5
        if method == "l2" and agent in losing
        else (1.0 if method == "l2" else usual_truth(agent, method, ratio))
    )


def test_ten_percent_keeps_all_or_loses_one() -> None:
    exception = "ppo-HalfCheetah-v4"
    as_said = _found(_study(_ten_percent((exception,))))
    assert (as_said["3b"].verdict, as_said["3c"].verdict) == (SUPPORTED, SUPPORTED)
    assert as_said["3b"].cells == 14
    one = _found(_study(_ten_percent(("sac-Ant-v4",))))
    assert (one["3b"].verdict, one["3c"].verdict) == (REFUTED, REFUTED)
    assert "sac-Ant-v4" in one["3b"].evidence
    without = _found(_study(ratios=(0.5,)))
    assert (without["3b"].verdict, without["3c"].verdict) == (UNDECIDED, UNDECIDED)


def test_the_best_and_the_worst_quantization_flip_with_the_truth() -> None:
    as_said = _found(_study(_kept(ptdq=1.0, ptsq=0.6, qat=0.8)))
    assert (as_said["4a"].verdict, as_said["4b"].verdict) == (SUPPORTED, SUPPORTED)
    assert "Clearly the best: ptdq 15, ptsq 0, qat 0; tied in 0 of 15" in as_said["4a"].evidence
    turned = _found(_study(_kept(ptdq=0.6, ptsq=1.0, qat=0.8)))
    assert (turned["4a"].verdict, turned["4b"].verdict) == (REFUTED, REFUTED)
    tied = _found(_study(_kept(ptdq=0.9, ptsq=0.9, qat=0.9)))
    assert (tied["4a"].verdict, tied["4b"].verdict) == (UNDECIDED, UNDECIDED)


def test_without_qat_ptdq_can_be_refuted_and_not_supported() -> None:
    for ptsq, verdict in ((0.6, UNDECIDED), (1.0, REFUTED)):
        data = _study(_kept(ptdq=0.8, ptsq=ptsq), quantized=("ptdq", "ptsq"))
        assert _found(data)["4a"].verdict == verdict


def test_why_ptsq_is_worse_is_never_decided() -> None:
    finding = _usual()["4c"]
    assert (finding.verdict, finding.estimate, finding.cells) == (UNDECIDED, None, 0)


@pytest.mark.parametrize(
    ("times", "verdict"), [(1.01, SUPPORTED), (1.0, REFUTED), (1.1, REFUTED), (1.005, UNDECIDED)]
)
def test_one_percent_less_memory(times: float, verdict: str) -> None:
    finding = _found(_study(cost_times=_times("memory", l1=times, l2=times)))["5a"]
    assert finding.verdict == verdict
    assert finding.estimate is not None
    assert finding.estimate.estimate == pytest.approx(1 - 1 / times, abs=0.003)


@pytest.mark.parametrize(("times", "verdict"), [(0.9, SUPPORTED), (1.1, REFUTED)])
def test_quantization_uses_more_memory(times: float, verdict: str) -> None:
    finding = _found(_study(cost_times=_times("memory", ptdq=times, ptsq=1.1)))["5b"]
    assert finding.verdict == verdict


def test_how_many_survive_pruning() -> None:
    fragile = _found(_study(lambda a, m, r: 0.3 if r else usual_truth(a, m, r)))
    assert (fragile["6a"].verdict, fragile["6b"].verdict) == (SUPPORTED, SUPPORTED)
    robust = _found(_study(lambda a, m, r: 1.0 if r else usual_truth(a, m, r)))
    assert (robust["6a"].verdict, robust["6b"].verdict) == (REFUTED, REFUTED)
    assert "15 survive" in robust["6b"].evidence
    one_norm = _found(_study(_kept(l1=0.3, l2=1.0)))
    assert one_norm["6b"].verdict == REFUTED
    # Who was only pruned to 70 % may have survived less.
    coarse = _found(_study(lambda a, m, r: 0.3 if r else usual_truth(a, m, r), ratios=(0.7,)))
    assert (coarse["6a"].cells, coarse["6b"].cells) == (0, 0)


@pytest.mark.parametrize(
    ("ticket", "random", "verdict"),
    [(1.0, 0.5, REFUTED), (0.6, 0.3, SUPPORTED), (1.0, 1.0, SUPPORTED), (0.9, 0.6, UNDECIDED)],
)
def test_winning_tickets(ticket: float, random: float, verdict: str) -> None:
    truth = _kept(ticket_l1=ticket, ticket_l2=ticket, ticket_random=random)
    finding = _found(_study(truth))["6c"]
    assert finding.verdict == verdict
    assert finding.estimate is not None
    assert finding.estimate.estimate == pytest.approx(ticket - random, abs=0.03)


def test_without_random_tickets_nothing_is_known_of_winning_ones() -> None:
    finding = _found(_study(tickets=("ticket-l1",)))["6c"]
    assert (finding.verdict, finding.cells) == (UNDECIDED, 0)


def test_untrained_cells_are_left_out_and_counted() -> None:
    found = _found(_study(untrained=("sac-Ant-v4", "ppo-Hopper-v4")))
    assert found["3a"].cells == _usual()["3a"].cells - 2
    for label, finding in found.items():
        told = "2 untrained cells are left out." in finding.evidence
        assert told == (label[0] in "2346")


def test_few_cells_decide_nothing_by_their_number() -> None:
    found = _found(_study(environments=("Hopper-v4",)))
    assert {label for label, one in found.items() if one.verdict != UNDECIDED} == set()


@pytest.mark.parametrize("keep", [0, 1])
def test_a_study_without_results_decides_nothing(keep: int) -> None:
    data = _study()
    empty = replace(data, returns=data.returns.head(keep), costs=data.costs.head(0))
    assert {finding.verdict for finding in _findings(empty)} == {UNDECIDED}
    assert set(overall_verdicts(_findings(empty)).values()) == {UNDECIDED}


def _verdicts(data: StudyData) -> dict[str, str]:
    return {label: finding.verdict for label, finding in _found(data).items()}


@given(st.integers(0, 10**6))
@settings(max_examples=4, deadline=None)
def test_the_order_of_rows_does_not_matter(seed: int) -> None:
    data = _study()
    shuffled = replace(
        data,
        returns=data.returns.sample(frac=1, random_state=seed),
        costs=data.costs.sample(frac=1, random_state=seed),
    )
    for label, finding in _found(shuffled).items():
        before = _usual()[label]
        assert (finding.verdict, finding.evidence) == (before.verdict, before.evidence)


@given(st.floats(0.01, 100), st.floats(-1000, 1000))
@settings(max_examples=5, deadline=None)
def test_neither_unit_nor_origin_of_returns_matters(unit: float, origin: float) -> None:
    data = _study()
    moved = data.returns.assign(returns=[unit * own + origin for own in data.returns.returns])
    assert _verdicts(replace(data, returns=moved)) == {
        label: finding.verdict for label, finding in _usual().items()
    }


def test_more_energy_saved_never_supports_what_less_refutes() -> None:
    order = {SUPPORTED: 0, UNDECIDED: 1, REFUTED: 2}
    verdicts = [
        order[_found(_study(cost_times=COSTS | {"qat": {"energy": times}}))["1a"].verdict]
        for times in (1.2, 1.5, 2.0)
    ]
    assert verdicts == sorted(verdicts)


def test_a_finding_holds_if_all_of_its_parts_do() -> None:
    assert overall([SUPPORTED, SUPPORTED]) == SUPPORTED
    assert overall([SUPPORTED, UNDECIDED]) == UNDECIDED
    assert overall([UNDECIDED, REFUTED, SUPPORTED]) == REFUTED
    assert set(overall_verdicts(tuple(_usual().values()))) == {1, 2, 3, 4, 5, 6}


def test_what_is_inside_is_supported() -> None:
    def verdict(low: float, high: float) -> str:
        return inside(Interval(estimate=(low + high) / 2, low=low, high=high), 0, 1)

    assert verdict(0.2, 0.8) == SUPPORTED
    assert verdict(-0.2, 0.8) == UNDECIDED
    assert verdict(1.1, 1.2) == REFUTED
    assert verdict(-1.2, -0.1) == REFUTED
    assert inside(None, 0, 1) == UNDECIDED


def test_shares_have_exact_intervals() -> None:
    share = share_interval(10, 10, 25)
    # Clopper and Pearson 1934: the beta quantiles.
    assert share.low == pytest.approx(stats.beta.ppf(0.025, 10, 16))
    assert share.high == pytest.approx(stats.beta.ppf(0.975, 11, 15))
    unclear = share_interval(8, 12, 25)
    assert unclear.estimate == share.estimate == pytest.approx(0.4)
    assert unclear.low < share.low
    assert unclear.high > share.high


def test_a_clear_lead_in_most_cells_is_support() -> None:
    """The interval of a probability ends at 1 and is then no less of a support."""
    data = _study(_kept(l1=0.6, l2=0.8), ratios=(0.1, 0.5), costs=False)
    agents = list(agent_draws(data, _rng(), resamples=500))
    tied = replace(
        agents[0], methods={**agents[0].methods, ("l1", 0.1): agents[0].methods["l2", 0.1]}
    )

    found = l2_beats_l1([tied, *agents[1:]])

    assert found.estimate is not None
    assert found.estimate.estimate < found.estimate.high == 1.0
    assert found.verdict == SUPPORTED


@pytest.mark.parametrize(("hits", "cells"), [(0, 6), (6, 6), (4, 7)])
def test_shares_have_the_exact_interval(hits: int, cells: int) -> None:
    exact = stats.binomtest(hits, cells).proportion_ci(1 - 0.05 / 3, method="exact")
    interval = share_interval(hits, hits, cells, comparisons=3)
    assert (interval.low, interval.high) == pytest.approx(exact, rel=1e-9)


def test_means_over_cells_cover_the_truth() -> None:
    rng, cases = _rng(8), 2_000
    for cells, comparisons in ((6, 1), (12, 1), (6, 28)):
        missed = 0
        for _ in range(cases):
            interval = over_cells(rng.normal(2.0, 1.0, cells), comparisons)
            assert interval is not None
            missed += not interval.low <= 2.0 <= interval.high
        least, most = stats.binom.interval(0.999, cases, 0.05 / comparisons)
        assert least <= missed <= most
    assert over_cells([1.0, float("nan")]) is None


def test_the_basis_says_how_long_agents_were_trained_and_how_many_count() -> None:
    data = _study(untrained=("sac-Ant-v4",))
    trainings = data.trainings.copy()
    off_policy = trainings.algorithm.isin(("ddpg", "td3", "sac"))
    trainings.loc[off_policy, "steps"] = 5_000
    data = replace(data, trainings=trainings)
    basis = training_basis(data, cells_of(agent_draws(data, _rng()), data))
    assert "5,000 steps (DDPG, SAC, TD3); 100,000 steps (PPO, TRPO)" in basis
    assert "14 of 15 baselines count as trained: clearly better than a random policy." in basis
    assert "No constant action was played" in basis
    unknown = replace(data, trainings=trainings.head(0))
    assert "not recorded" in training_basis(unknown, cells_of(agent_draws(data, _rng()), data))
    loaded = data.returns.copy()
    loaded.loc[loaded.method.eq("float") & loaded.algorithm.eq("ppo"), "trained_steps"] = 1_000_448
    unknown = replace(unknown, returns=loaded)
    basis = training_basis(unknown, cells_of(agent_draws(data, _rng()), data))
    assert "trained for 1,000,448 steps (PPO). For 12 more this is not recorded." in basis


def test_the_basis_names_constant_actions_where_they_were_played() -> None:
    data = _study(constant=0.2)
    basis = training_basis(data, cells_of(agent_draws(data, _rng()), data))
    assert "15 of 15 baselines count as trained" in basis
    assert "better than a random policy and the best constant action." in basis
    assert "No constant action" not in basis


def test_methods_of_the_user_do_not_change_what_is_said_of_the_papers() -> None:
    data = _study()
    costs = data.costs[data.costs.method == "ptdq"].assign(method="mine", energy_times=3.0)
    returns = data.returns[data.returns.method == "ptdq"].assign(method="mine")
    more = replace(
        data,
        returns=pd.concat([data.returns, returns], ignore_index=True),
        costs=pd.concat([data.costs, costs], ignore_index=True),
    )
    assert {label: one.evidence for label, one in _found(more).items()} == {
        label: one.evidence for label, one in _usual().items()
    }
