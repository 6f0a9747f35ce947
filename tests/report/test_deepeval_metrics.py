from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

FIGURES: dict[str, Any] = {
    "retention": {"estimate": 0.97, "ci95": [0.94, 1.0]},
    "compression": 3.9,
    "energy": None,
    "speed": {"estimate": 1.2, "ci95": [1.1, 1.3]},
}


def test_without_deepeval_the_message_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['deepeval'] = None; sys.modules['deepeval.metrics'] = None\n"
        "from squeezerl.errors import StudyError\n"
        "try:\n    import squeezerl.report.deepeval_metrics\n"
        "except StudyError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "squeezerl[deepeval]"' in done.stdout


def test_nothing_else_imports_it() -> None:
    code = (
        "import sys, squeezerl.report.study_report\n"
        "assert 'deepeval' not in sys.modules and 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_deepeval_opens_no_connection(tmp_path: Path) -> None:
    code = """
import atexit, socket
attempts = []
atexit.register(lambda: print("attempts:", attempts))
def refuse(*arguments, **options):
    attempts.append(arguments[-2:])
    raise OSError("no network in this test")
socket.socket.connect = socket.getaddrinfo = refuse
from squeezerl.report.deepeval_metrics import RetentionMetric
from deepeval import evaluate
from deepeval.test_case import LLMTestCase
case = LLMTestCase(input="ppo", actual_output='{"retention": 0.99}')
assert evaluate([case], [RetentionMetric()]).test_results[0].success
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "attempts: []"


@pytest.fixture
def metrics() -> Any:
    from squeezerl.report import deepeval_metrics

    return deepeval_metrics


def _case(figures: dict[str, Any], *, in_output: bool = False) -> Any:
    from deepeval.test_case import LLMTestCase

    if in_output:
        return LLMTestCase(input="ppo on Hopper, ptdq", actual_output=json.dumps(figures))
    return LLMTestCase(input="ppo on Hopper, ptdq", actual_output="x", metadata=figures)


@pytest.mark.parametrize("in_output", [False, True])
def test_metrics_are_the_parts_of_the_card(metrics: Any, in_output: bool) -> None:
    case = _case(FIGURES, in_output=in_output)
    expected = {"Retention": 0.8, "Compression": 0.8, "Energy": 0.3, "Speed": 0.4}
    for name, value in expected.items():
        metric = getattr(metrics, f"{name}Metric")(threshold=0.3)
        assert metric.measure(case) == metric.score == value
        assert asyncio.run(metric.a_measure(case)) == value
        # Unknown is not a pass, whatever the threshold.
        assert metric.is_successful() is (name != "Energy")
        assert metric.reason
    assert "unknown" in metrics.EnergyMetric()._judge(FIGURES)[2]


def test_the_card_is_unknown_where_energy_is(metrics: Any) -> None:
    metric = metrics.ScoreCardMetric()
    assert metric.measure(_case(FIGURES)) == pytest.approx(0.66)
    assert not metric.is_successful()
    assert "unknown, 0.66 to 0.90" in metric.reason
    assert metric.measure(_case(FIGURES | {"energy": 1.3})) == pytest.approx(0.8)
    assert metric.is_successful()
    assert "deploy" in metric.reason
    assert metric.measure(_case(FIGURES | {"untrained": True})) == 0.0
    assert not metric.is_successful()


def test_strict_mode_passes_the_best_only(metrics: Any) -> None:
    metric = metrics.RetentionMetric(strict_mode=True)
    metric.measure(_case(FIGURES))
    assert not metric.is_successful()
    metric.measure(_case({"retention": 0.99}))
    assert metric.is_successful()


@pytest.mark.parametrize(
    "figures", [{"other": 1}, {"retention": "much"}, {"retention": {"estimate": 1}}]
)
def test_nonsense_is_refused(metrics: Any, figures: dict[str, Any]) -> None:
    from squeezerl.errors import InvalidArgumentError

    metric = metrics.RetentionMetric()
    with pytest.raises(InvalidArgumentError):
        metric.measure(_case(figures))
    assert not metric.is_successful()


def test_deepeval_runs_them(metrics: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from deepeval import assert_test, evaluate

    monkeypatch.chdir(tmp_path)  # deepeval writes its cache where it runs
    good = _case(FIGURES | {"energy": 1.3})
    result = evaluate([good], [metrics.ScoreCardMetric(), metrics.EnergyMetric()])
    assert [data.success for data in result.test_results[0].metrics_data] == [True, True]
    assert_test(good, [metrics.RetentionMetric()])
    with pytest.raises(AssertionError):
        assert_test(_case(FIGURES), [metrics.EnergyMetric()])


def test_cards_of_a_study_become_test_cases(metrics: Any) -> None:
    import numpy as np

    from made_study import made_study
    from squeezerl.analysis.cells import cells
    from squeezerl.analysis.score_cards import score_cards

    data = made_study(algorithms=("ppo",), ratios=(0.05,), tickets=(), untrained=("ppo-Hopper-v4",))
    cards = score_cards(data, cells(data, np.random.default_rng(0)))
    for card in cards:
        metric = metrics.ScoreCardMetric()
        value = metric.measure(_case(metrics.score_card_figures(card), in_output=True))
        assert value == (card.score.low if card.score else 0.0)
