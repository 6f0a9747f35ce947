"""Figures are those of the raw results, and only where they are asked for."""

from __future__ import annotations

import numpy as np
import pytest

from squeezerl.analysis.frames import StudyData
from squeezerl.assistant.questions import computed, find_environments, find_quantities
from squeezerl.assistant.results import Results


def test_a_retention_is_that_of_the_raw_returns(data: StudyData, results: Results) -> None:
    found = computed("What did PTDQ keep on HalfCheetah for PPO?", results)
    assert found is not None
    (row,) = found.frame.to_dict("records")

    def mean(agent: str, method: str) -> float:
        rows = data.returns[(data.returns.agent == agent) & (data.returns.method == method)]
        return float(np.concatenate(list(rows["returns"])).mean())

    random, agent = mean("", "random"), "ppo-HalfCheetah-v4"
    expected = (mean(agent, "ptdq") - random) / (mean(agent, "float") - random)
    assert row["retention"] == pytest.approx(expected)
    assert row["retention_low"] <= row["retention"] <= row["retention_high"]
    assert f"{100 * expected:.1f} %" in found.table.plain_rows[0][-1]


def test_nothing_is_said_of_what_an_untrained_agent_kept(results: Results) -> None:
    found = computed("how much did sac retain with ptdq?", results)
    assert found is not None
    assert found.frame["retention"].isna().all()
    assert found.table.plain_rows[0][-1] == "–"
    assert "does not count as trained" in found.note


def test_the_smallest_has_its_whole_interval_above_the_threshold(results: Results) -> None:
    found = computed("Which method is smallest at 60 %?", results)
    assert found is not None
    best = found.frame.set_index("agent").loc["ppo-HalfCheetah-v4"]
    cells = results.cells[results.cells["agent"] == "ppo-HalfCheetah-v4"]
    fitting = cells[(cells["retention_low"] >= 0.6) & (cells["method"] != "float")]
    assert best["weight_bytes"] == fitting["weight_bytes"].min()
    assert best["retention_low"] >= 0.6
    untrained = found.frame.set_index("agent").loc["sac-HalfCheetah-v4"]
    assert untrained.isna()["weight_bytes"]


def test_a_percentage_is_a_share_of_pruning_or_of_the_return(results: Results) -> None:
    pruned = computed("How many bytes has PPO after L2 at 30 %?", results)
    assert pruned is not None
    assert list(zip(pruned.frame["method"], pruned.frame["ratio"], strict=True)) == [("l2", 0.3)]
    kept = computed("How many agents keep 90 % with ptdq?", results)
    assert kept is not None
    assert set(kept.frame["method"]) == {"ptdq"}
    keeps = int((kept.frame["verdict"] == "keeps").sum())
    assert f"{keeps} keeps" in kept.title


def test_untrained_baselines_are_counted(results: Results) -> None:
    found = computed("Which baselines are not trained?", results)
    assert found is not None
    assert dict(zip(found.frame["agent"], found.frame["trained"], strict=True)) == {
        "ppo-HalfCheetah-v4": "yes", "sac-HalfCheetah-v4": "no",
    }  # fmt: skip


def test_the_paper_is_compared_cell_by_cell(results: Results) -> None:
    found = computed("Compare my static quantization with the paper's Table 1", results)
    assert found is not None
    assert set(found.frame["method"]) == {"ptsq"}
    row = found.frame.set_index("agent").loc["ppo-HalfCheetah-v4"]
    assert row["published_change"] == pytest.approx(1482.4 / 1542.98 - 1)
    assert found.frame.set_index("agent").loc["sac-HalfCheetah-v4", "keeps_agrees"] == "untrained"


def test_the_papers_own_figures_need_no_results() -> None:
    found = computed("What return did QAT get for TD3 on HumanoidStandup in the paper?", None)
    assert found is not None
    figures = dict(zip(found.frame["method"], found.frame["mean_return"], strict=True))
    assert figures == {"float": 77140.94, "qat": 82211.28}


@pytest.mark.parametrize(
    "question",
    [
        "What is PTDQ?",
        "Why is int8 not faster than float?",
        "How do I deploy to a microcontroller?",
        "What did PTDQ keep on Pong?",
        "Tell me a joke about Hopper",
    ],
)
def test_other_questions_get_no_table(question: str) -> None:
    assert computed(question, None) is None


def test_the_longer_name_of_an_environment_wins() -> None:
    known = ("Humanoid-v4", "HumanoidStandup-v4", "Humanoid-v5")
    assert find_environments("sac on humanoid standup", known) == ("HumanoidStandup-v4",)
    assert find_environments("sac on humanoid", known) == ("Humanoid-v4", "Humanoid-v5")
    assert find_environments("sac on humanoid-v5", known) == ("Humanoid-v5",)


def test_words_name_quantities() -> None:
    assert find_quantities("how much of the reward is left") == ["retention"]
    assert find_quantities("how many times smaller is it") == ["weight_times"]
    assert find_quantities("how many joules and how much ram") == ["energy_j", "memory_bytes"]
