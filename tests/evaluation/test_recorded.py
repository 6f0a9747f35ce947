from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from small_policies import make_network
from squeezerl.cli import app
from squeezerl.errors import InvalidArgumentError
from squeezerl.evaluation.log import Log
from squeezerl.evaluation.recorded import check_recorded
from squeezerl.formats.onnx import to_onnx
from squeezerl.network.arithmetic import act
from squeezerl.network.network import as_float

NETWORK = make_network(6, 8, 3, bounds=(-1, 1))
SQUASHED = make_network(6, 8, 3, head="tanh", bounds=(-2, [1, 2, 6]))
RNG = np.random.default_rng(1)
# As an episode: observations that follow one another, around the normaliser's mean.
OBSERVATIONS = np.cumsum(RNG.normal(size=(400, 6)), axis=0).astype(np.float32) / 8


def normal(observations: Any) -> Any:
    found = NETWORK.normalizer
    assert found is not None
    return (observations - as_float(found.mean)) * as_float(found.inverse_std)


def check(actions: Any, network: Any = NETWORK, observations: Any = OBSERVATIONS) -> Any:
    return check_recorded(network, Log(observations=observations, actions=actions))


def test_the_policys_own_actions_agree_though_they_are_rounded() -> None:
    found = check(act(NETWORK, OBSERVATIONS).round(3))
    assert found.agrees
    assert (found.share, found.explanation, found.rows) == (1, None, 400)


SAID = act(NETWORK, OBSERVATIONS).astype(np.float64)
SQUASHED_SAID = act(SQUASHED, OBSERVATIONS).astype(np.float64)
FREE = NETWORK.replace(
    head=type(NETWORK.head)(
        kind="clip", low=np.full(3, -np.inf, np.float32), high=np.full(3, np.inf, np.float32)
    )
)
MISTAKES: dict[str, Any] = {
    "left out": lambda: check(act(NETWORK.replace(normalizer=None), OBSERVATIONS)),
    "normalised twice": lambda: check(act(NETWORK, normal(OBSERVATIONS))),
    "normalised already": lambda: check(SAID, observations=normal(OBSERVATIONS)),
    "another order: 2, 0, 1": lambda: check(SAID[:, [2, 0, 1]]),
    "one decision late": lambda: check(np.concatenate([SAID[:1], SAID[:-1]])),
    "observation before": lambda: check(np.concatenate([SAID[1:], SAID[-1:]])),
    "multiplied by 0.25, 0.25, 0.25": lambda: check(0.25 * SAID),
    "0.8, 0.8, 0.8 was added": lambda: check(0.5 * SAID + 0.8),
    "not clipped": lambda: check(act(FREE, OBSERVATIONS)),
    "scaled to their bounds twice": lambda: check(SQUASHED_SAID * [1.5, 2, 4], SQUASHED),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_named(mistake: str) -> None:
    found = MISTAKES[mistake]()
    assert not found.agrees
    assert found.explanation is not None
    assert mistake in found.explanation


def test_what_nothing_explains_is_not_explained() -> None:
    found = check(RNG.normal(size=SAID.shape))
    assert (found.agrees, found.explanation) == (False, None)
    assert max(found.deviations) > 1


def test_choices_are_compared_as_they_are() -> None:
    network = make_network(6, 8, 3, head="argmax")
    chosen = act(network, OBSERVATIONS)
    assert check(chosen, network).agrees
    assert not check(1 - chosen, network).agrees


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (Log(observations=OBSERVATIONS), "no actions"),
        (Log(observations=OBSERVATIONS[:9], actions=SAID[:9]), "20 are needed"),
        (Log(observations=OBSERVATIONS, actions=SAID[:, :2]), "actions"),
        (Log(observations=OBSERVATIONS[:, :4], actions=SAID), "observations"),
    ],
)
def test_other_logs_are_refused(log: Log, reason: str) -> None:
    with pytest.raises(InvalidArgumentError, match=reason):
        check_recorded(NETWORK, log)


def test_the_command_exits_with_3_where_they_differ(tmp_path: Path) -> None:
    (tmp_path / "policy.onnx").write_bytes(to_onnx(NETWORK).SerializeToString())
    for factor, code in ((1, 0), (2, 3)):
        np.savez(tmp_path / "log.npz", observations=OBSERVATIONS, actions=factor * SAID)
        words = ["check", str(tmp_path / "policy.onnx"), "--observations"]
        result = CliRunner().invoke(app, [*words, str(tmp_path / "log.npz"), "--json"])
        assert result.exit_code == code, result.output
        found = json.loads(result.stdout)
        assert found["agrees"] == (code == 0)
        assert ("multiplied by 2" in str(found["explanation"])) == (code == 3)
