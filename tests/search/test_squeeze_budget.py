"""A squeeze in which small networks learn; what it finds depends on the time that it gets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from balancing import RETAIN, balancing_agent, cart_pole
from squeezerl.api import squeeze
from squeezerl.artifacts.artifact import read_artifact
from squeezerl.errors import InvalidArgumentError
from squeezerl.methods.recipe import Recipe
from squeezerl.search.result import BestSoFar
from squeezerl.search.squeeze import seconds_of


@pytest.mark.slow
def test_students_learn_and_are_judged_like_all_others(tmp_path: Path) -> None:
    told: list[Sequence[BestSoFar]] = []
    found = squeeze(
        balancing_agent(width=40, idle=10),
        env=cart_pole(),
        output=tmp_path / "out",
        retain=RETAIN,
        episodes=10,
        seed=3,
        measure=False,
        workers=1,
        budget=6,
        recipes=["distill:2:relu", "ptdq"],
        on_best=lambda best, left_s: told.append(best),
    )
    result = found.result
    names = [trial.name for trial in result.trials]
    assert names[0] == "ptdq"
    assert len(set(names)) == len(names)
    assert all(name.startswith("distill-2-relu") for name in names[1:])
    for trial in result.trials:
        assert trial.artifact is not None
        artifact = read_artifact(tmp_path / "out" / trial.artifact)
        assert artifact.manifest.recipe == trial.recipe.text
    assert result.confirmation is not None
    sizes = {trial.candidate: trial.size.weight_bytes for trial in result.trials if trial.size}
    assert [sizes[candidate] for candidate in result.front] == sorted(
        sizes[candidate] for candidate in result.front
    )
    assert result.chosen in sizes
    for best in told:
        assert [row.weight_bytes for row in best] == sorted(row.weight_bytes for row in best)
        assert [row.retention for row in best] == sorted(row.retention for row in best)


@pytest.mark.slow
def test_a_limit_that_nothing_meets_is_said(tmp_path: Path) -> None:
    found = squeeze(
        balancing_agent(),
        env=cart_pole(),
        output=tmp_path / "out",
        retain=RETAIN,
        episodes=10,
        recipes=["ptdq"],
        max_bytes=10,
        measure=False,
        workers=1,
    )
    assert found.result.confirmation is None
    assert found.recipe.text == "float"
    assert "Nothing smaller of at most 10 bytes was confirmed" in found.summary()


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), (3, 3), ("0", 0)]
)
def test_budgets_are_seconds_or_texts(text: float | str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "ten", "10 parsecs", "-3"])
def test_other_texts_are_an_error(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"90s, 10m or 1h"):
        seconds_of(text)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimize", "recipe"), [("bytes", "bits:4:tensor"), ("latency", "l2:0.8")]
)
def test_fewer_neurons_decide_faster_and_fewer_bits_take_fewer_bytes(
    tmp_path: Path, optimize: str, recipe: str
) -> None:
    """The times differ by far more than a busy machine makes of them."""
    found = squeeze(
        balancing_agent(width=1_000, idle=900),
        env=cart_pole(),
        output=tmp_path / "out",
        retain=RETAIN,
        episodes=10,
        recipes=["bits:4:tensor", "l2:0.8"],
        budget=0,
        optimize=optimize,
        measure=False,
        workers=1,
    )
    assert found.result.confirmation is not None
    assert found.recipe == Recipe.of(recipe)


@pytest.mark.parametrize(
    ("setting", "value"), [("budget", -1.0), ("optimize", "beauty"), ("max_bytes", 0)]
)
def test_settings_out_of_range_are_an_error(tmp_path: Path, setting: str, value: object) -> None:
    given = {setting: value}
    with pytest.raises(InvalidArgumentError, match=setting):
        squeeze(balancing_agent(), env=cart_pole(), output=tmp_path / "out", **given)  # type: ignore[arg-type]
