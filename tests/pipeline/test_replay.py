from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from PIL import Image

from balancing import balancing_agent, cart_pole
from squeezerl.artifacts.artifact import read_artifact
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import play
from squeezerl.pipeline.make import make_artifact
from squeezerl.pipeline.replay import POSTER, VIDEO, Film, film
from squeezerl.runtimes.base import RUNTIMES

SEED = 3


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A policy that balances the pole, and one without the neuron that feels its velocity."""
    folder = tmp_path_factory.mktemp("artifacts")
    for name, recipe in (("whole", "float"), ("less", "prune:l1:0.55")):
        make_artifact(balancing_agent(), recipe).save(folder / name)
    return folder / "whole", folder / "less"


@pytest.fixture(scope="module")
def filmed(artifacts: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    pytest.importorskip("av")
    pytest.importorskip("pygame")
    folder = tmp_path_factory.mktemp("film")
    return film(artifacts, ("original", "less"), cart_pole(), folder, seed=SEED), folder


@pytest.mark.slow
def test_the_film_is_of_the_episode_that_evaluation_plays(
    filmed: tuple[Film, Path], artifacts: tuple[Path, Path]
) -> None:
    found, _ = filmed
    assert found.problem is None
    place = Environment.find("CartPole-v1", cart_pole().kwargs, backend="gymnasium")
    for artifact, return_, length in zip(artifacts, found.returns, found.lengths, strict=True):
        actor = RUNTIMES.get("ort").load(read_artifact(artifact))
        (episode,) = play(actor, place, episodes=1, seed=SEED).episodes
        assert (return_, length) == (episode.return_, episode.length)
    assert found.returns[0] > found.returns[1]


def test_actions_are_compared_in_the_states_of_the_second_policy(
    filmed: tuple[Film, Path],
) -> None:
    deviation = filmed[0].deviation
    assert deviation is not None
    assert deviation.shape == (filmed[0].lengths[1], 1)
    assert set(np.unique(deviation)) == {0.0, 1.0}


def test_the_video_is_small_and_moves(filmed: tuple[Film, Path]) -> None:
    import av

    found, folder = filmed
    assert (folder / VIDEO).stat().st_size < 1_000_000
    with av.open(str(folder / VIDEO)) as container:
        (stream,) = container.streams
        assert stream.codec_context.name == "h264"
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    assert len(frames) == round(found.seconds * 20)
    assert not np.array_equal(frames[0], frames[-1])
    with Image.open(folder / POSTER) as poster:
        assert poster.size == frames[0].shape[::-1]


def _unseen() -> type[gymnasium.Env[Any, Any]]:
    """An environment that draws nothing, and that other processes cannot import."""

    class Unseen(gymnasium.Env[Any, Any]):
        observation_space = gymnasium.spaces.Box(-1, 1, (4,))
        action_space = gymnasium.spaces.Discrete(2)

        def __init__(self, render_mode: str | None = None) -> None:
            pass

    return Unseen


def test_without_a_renderer_there_is_a_reason_and_no_file(
    artifacts: tuple[Path, Path], tmp_path: Path
) -> None:
    pytest.importorskip("av")
    gymnasium.register("Unseen-v0", _unseen())
    try:
        place = Environment.find("Unseen-v0", backend="gymnasium")
        found = film(artifacts, ("a", "b"), place, tmp_path, seed=0)
    finally:
        del gymnasium.registry["Unseen-v0"]
    assert found.problem is not None
    assert "Unseen-v0 draws no pictures" in found.problem
    assert list(tmp_path.iterdir()) == []
