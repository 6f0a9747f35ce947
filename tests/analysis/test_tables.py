from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from made_study import LEVELS, RATIOS, made_study, usual_truth
from squeezerl.analysis.frames import StudyData
from squeezerl.analysis.hierarchy import AgentDraws, agent_draws
from squeezerl.analysis.published import (
    COMPARISON_COLUMNS,
    PERCENTAGES_COLUMNS,
    compare_percentages,
    compare_published,
)
from squeezerl.analysis.tables import (
    RETURNS_TABLE_COLUMNS,
    pruned_columns,
    table_pruned,
    table_returns,
)
from squeezerl.records import MethodRecord

AGENT = "ppo-Hopper-v4"


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _agents(data: StudyData) -> list[AgentDraws]:
    return list(agent_draws(data, _rng()))


def _returns(data: StudyData) -> pd.DataFrame:
    return table_returns(_agents(data), data.plain_methods)


def _pruned(data: StudyData) -> pd.DataFrame:
    return table_pruned(_agents(data), data.swept_methods)


def _quantized(**kept: float) -> Callable[[str, str, float | None], float]:
    return lambda agent, method, ratio: kept.get(method, usual_truth(agent, method, ratio))


def _step(**last: float) -> Callable[[str, str, float | None], float]:
    """All is kept up to a ratio of each norm, and half of it beyond."""

    def truth(agent: str, method: str, ratio: float | None) -> float:
        if ratio is None or method not in last:
            return usual_truth(agent, method, ratio)
        return 1.0 if ratio <= last[method] + 1e-9 else 0.5

    return truth


def _best(**kept: float) -> dict[str, str]:
    data = made_study(algorithms=["ppo"], environments=["Hopper-v4"], truth=_quantized(**kept))
    return dict(_returns(data)[["method", "best"]].to_numpy().tolist())


def test_the_clearly_best_quantization_is_marked() -> None:
    expected = {"float": "", "ptdq": "", "ptsq": "best", "qat": ""}
    assert _best(ptdq=0.8, ptsq=1.0, qat=0.6) == expected


def test_those_that_cannot_be_told_apart_are_tied() -> None:
    expected = {"float": "", "ptdq": "tied", "ptsq": "tied", "qat": ""}
    assert _best(ptdq=1.0, ptsq=1.0, qat=0.5) == expected


def test_the_table_of_returns_has_its_rows_and_intervals() -> None:
    frame = _returns(made_study(untrained=("sac-Hopper-v4",)))
    assert tuple(frame.columns) == RETURNS_TABLE_COLUMNS
    assert list(frame.method) == ["float", "ptdq", "ptsq", "qat"] * 4
    assert (frame.mean_return_low <= frame.mean_return).all()
    assert (frame.mean_return <= frame.mean_return_high).all()
    assert set(frame[frame.agent == "sac-Hopper-v4"].best) == {""}


def test_one_quantization_alone_is_not_the_best() -> None:
    frame = _returns(made_study(quantized=("ptdq",)))
    assert set(frame.method) == {"float", "ptdq"}
    assert set(frame.best) == {""}


def test_both_rules_find_the_last_ratio_that_keeps_the_return() -> None:
    data = made_study(truth=_step(l1=0.2, l2=0.35), train_seeds=1, noise=0.05)
    frame = _pruned(data)
    assert tuple(frame.columns) == pruned_columns(("l1", "l2"))
    assert list(frame.rule) == ["mean", "interval"] * 4
    assert np.allclose(frame.l1_ratio, 0.2)
    assert np.allclose(frame.l2_ratio, 0.35)
    assert set(frame.norm) == {"l2"}
    assert np.allclose(frame.pruned, frame.baseline, rtol=0.1)


def test_norms_that_got_as_far_are_tied_unless_one_is_clearly_higher() -> None:
    options = {"algorithms": ["ppo"], "environments": ["Hopper-v4"], "train_seeds": 1}
    tied = _pruned(made_study(truth=_step(l1=0.3, l2=0.3), **options))  # type: ignore[arg-type]
    assert dict(zip(tied.rule, tied.norm, strict=True))["interval"] == "tie"
    assert dict(zip(tied.rule, tied.norm, strict=True))["mean"] in ("l1", "l2")

    def higher(agent: str, method: str, ratio: float | None) -> float:
        return _step(l1=0.3, l2=0.3)(agent, method, ratio) * (1.3 if method == "l1" else 1.0)

    clear = _pruned(made_study(truth=higher, **options))  # type: ignore[arg-type]
    assert set(clear.norm) == {"l1"}


def test_a_mean_that_is_high_by_chance_convinces_one_rule_only() -> None:
    data = made_study(truth=_step(l1=0.0, l2=0.0), ratios=(0.05,), train_seeds=1, episodes=40)
    returns = data.returns
    rng = _rng(7)
    for index in returns.index[returns.method == "l2"]:
        own = returns.at[index, "returns"]
        base = returns[(returns.agent == returns.at[index, "agent"]) & (returns.method == "float")]
        level = 0.93 * base.returns.iloc[0].mean()
        # Nearly all fall over, a few score far above.
        returns.at[index, "returns"] = np.where(
            np.arange(len(own)) % 10 == 0, 9.1 * level, 0.1 * level
        ) + rng.normal(0, 1, len(own))
    frame = _pruned(data).set_index(["agent", "rule"])
    assert frame.loc[(AGENT, "mean"), "l2_ratio"] == 0.05
    assert np.isnan(frame.loc[(AGENT, "interval"), "l2_ratio"])


def test_negative_baselines_are_judged_by_normalised_retention(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(LEVELS, "Hopper-v4", (-1000.0, -100.0))
    data = made_study(algorithms=["ppo"], environments=["Hopper-v4"], truth=_step(l1=0.2, l2=0.1))
    frame = _pruned(data)
    assert set(frame.by) == {"retention"}
    assert np.allclose(frame.l1_ratio, 0.2)
    assert np.allclose(frame.l2_ratio, 0.1)


def test_the_rule_of_intervals_chooses_nothing_among_untrained() -> None:
    data = made_study(algorithms=["sac"], environments=["Hopper-v4"], untrained=("sac-Hopper-v4",))
    frame = _pruned(data).set_index("rule")
    assert frame.trained.eq(False).all()
    assert pd.isna(frame.loc["interval", ["norm", "ratio", "l1_ratio", "l2_ratio"]]).all()


def test_agents_that_were_not_pruned_are_not_in_the_table() -> None:
    assert _pruned(made_study(pruned=())).empty


def _compared(**kept: float) -> pd.DataFrame:
    def truth(agent: str, method: str, ratio: float | None) -> float:
        return kept.get(method, usual_truth(agent, method, ratio))

    data = made_study(
        algorithms=["sac"], environments=["HalfCheetah-v4"], truth=truth, train_seeds=1, noise=0.05
    )
    frame = compare_published(_agents(data))
    assert tuple(frame.columns) == COMPARISON_COLUMNS
    return frame.set_index("method")


def test_agreement_with_the_published_flips_with_the_truth() -> None:
    # Published for SAC in HalfCheetah: 30 % with PTDQ, 17 % with PTSQ, 59 % with QAT, 101 % pruned.
    agreeing = _compared(ptdq=0.3, ptsq=0.2, qat=0.6, l1=1.0, l2=1.0)
    assert list(agreeing.keeps_agrees) == ["agrees"] * 4
    assert list(agreeing.direction_agrees[:3]) == ["agrees"] * 3
    assert agreeing.loc["pruned", ["norm", "ratio"]].tolist() == ["l1", 0.05]
    assert agreeing.loc["ptdq", "published_change"] == pytest.approx(3104.33 / 10460.06 - 1)
    assert agreeing.loc["ptdq", "change"] == pytest.approx(-0.7, abs=0.1)
    differing = _compared(ptdq=1.2, ptsq=1.2, qat=1.2, l1=0.5, l2=0.5)
    assert list(differing.keeps_agrees) == ["differs"] * 4
    assert list(differing.direction) == ["up"] * 3 + ["down"]
    assert list(differing.direction_agrees) == ["differs"] * 4
    undecided = _compared(ptdq=0.9, ptsq=0.9, qat=0.9)
    assert "undecided" in set(undecided.keeps_agrees[:3])


def test_what_was_not_run_or_learnt_nothing_neither_agrees_nor_differs() -> None:
    data = made_study(quantized=("ptdq",), untrained=("sac-Hopper-v4",))
    frame = compare_published(_agents(data)).set_index(["agent", "method"])
    assert frame.loc[("sac-HalfCheetah-v4", "qat"), "keeps_agrees"] == "missing"
    assert frame.loc[("sac-Hopper-v4", "ptdq"), "keeps_agrees"] == "untrained"
    # The published PPO scores 8.33 in Hopper, and a random policy more than that.
    assert frame.loc[("ppo-Hopper-v4", "ptdq"), "direction_agrees"] == "untrained"
    assert np.isnan(frame.loc[("ppo-Hopper-v4", "ptdq"), "published_retention"])


def test_agents_without_a_published_cell_are_not_compared() -> None:
    data = made_study(algorithms=["a2c"])
    assert compare_published(_agents(data)).empty
    assert compare_percentages(_pruned(data)).empty


def test_percentages_stand_beside_the_published_ones() -> None:
    data = made_study(truth=_step(l1=0.2, l2=0.35), train_seeds=1, noise=0.05, ratios=RATIOS)
    frame = compare_percentages(_pruned(data))
    assert tuple(frame.columns) == PERCENTAGES_COLUMNS
    ours = frame.set_index(["agent", "norm"])
    assert ours.loc[("sac-Hopper-v4", "l2"), "published_ratio"] == 0.2
    assert ours.loc[("sac-Hopper-v4", "l2"), "ratio_mean"] == 0.35
    assert ours.loc[("sac-Hopper-v4", "l2"), "ratio_interval"] == 0.35


def test_whatever_was_run_is_in_the_tables() -> None:
    data = made_study(
        quantized=("ptdq", "ptdq-naive", "mine"), pruned=("l1", "l2", "mine-pruned"), ratios=(0.1,)
    )
    assert data.plain_methods == ("ptdq", "ptdq-naive", "mine")
    assert data.swept_methods == ("l1", "l2", "mine-pruned")
    assert set(_returns(data).method) == {"float", "ptdq", "ptdq-naive", "mine"}
    pruned = _pruned(data)
    assert {"l1_ratio", "l2_ratio", "mine-pruned_ratio"} <= set(pruned.columns)
    assert len({record.color + record.marker for record in data.methods.values()}) == len(
        data.methods
    )


def test_pruning_with_recovery_has_a_column_and_is_not_chosen_beside_pruning_alone() -> None:
    truth = _step(l1=0.1, l2=0.3, **{"l2+recover": 0.5})
    only = {"algorithms": ("ppo",), "environments": ("Hopper-v4",), "ratios": (0.1, 0.3, 0.5)}
    both = _pruned(made_study(**only, truth=truth, pruned=("l1", "l2", "l2+recover")))
    row = both[both.rule == "mean"].iloc[0]
    assert (row["norm"], row["ratio"]) == ("l2", 0.3)
    assert row["l2+recover_ratio"] == 0.5
    alone = _pruned(made_study(**only, truth=truth, pruned=("l2+recover",)))
    assert set(alone.norm) == {"l2+recover"}


def test_a_study_may_bring_records_of_its_methods() -> None:
    own = MethodRecord(
        name="mine", label="My method", short="mine", group="training", color="#123456", marker="8"
    )
    data = made_study(quantized=("ptdq", "mine"), pruned=("l2", "l2+ptsq"), ratios=(0.1,))
    both = dataclasses.replace(own, name="l2+ptsq", group="quantization")
    methods = {**data.methods, "mine": own, "l2+ptsq": both}
    data = dataclasses.replace(data, methods=methods)
    assert data.methods["mine"] == own
    # Whatever their group, methods without a ratio are in Table 1, others in Tables 2 and 3.
    assert data.plain_methods == ("ptdq", "mine")
    assert data.swept_methods == ("l2", "l2+ptsq")
    assert data.ticket_methods == ("ticket-l1", "ticket-l2", "ticket-random")
