from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from command import invoke, run, the_object

from promised_keys import lost_keys
from squeezerl.artifacts.artifact import read_artifact
from squeezerl.cli.console import parse_kwargs
from squeezerl.errors import InvalidArgumentError

pytestmark = pytest.mark.slow

INSPECT = {
    "algorithm", "env_id", "observation_shape", "action_shape", "action_head", "normalizer",
    "layers", "parameters", "weight_bytes",
}  # fmt: skip
EVALUATE = {
    "env_id", "episodes", "seed", "returns", "episode_lengths", "mean_return", "ci95", "steps",
    "seconds", "steps_per_second",
}  # fmt: skip
RETENTION = {"ratio", "ratio_ci95", "normalized", "normalized_ci95", "threshold", "verdict"}
CANDIDATE = {"method", "ratio", "weight_bytes", "file_bytes", "retention", "artifact"}
SHORT = ("--env-kwargs", "max_episode_steps:100", "--backend", "envpool")
LENIENT = ("--retain", "0.7")  # ten episodes can say "keeps"


def test_inspect_describes_the_bundled_agent() -> None:
    result = invoke("inspect", "demo", "--json")
    data = the_object(result.stdout)
    assert result.stderr == ""
    assert lost_keys("inspect", data) == set()
    assert data.keys() >= INSPECT
    assert (data["algorithm"], data["env_id"]) == ("ppo", "HalfCheetah-v5")
    assert (data["observation_shape"], data["action_shape"]) == ([17], [6])
    assert data["action_head"] == "clip"
    assert data["normalizer"]["clip"] == 10.0
    widths = [(layer["in_features"], layer["out_features"]) for layer in data["layers"]]
    assert (widths[0][0], widths[-1][1]) == (17, 6)
    assert [after for _, after in widths[:-1]] == [before for before, _ in widths[1:]]
    assert data["parameters"] == sum((before + 1) * after for before, after in widths)
    assert sum(layer["weight_bytes"] for layer in data["layers"]) == 4 * data["parameters"]
    # Mean and inverse deviation of 17 features, and a little for clipping and layout.
    assert 0 < data["weight_bytes"] - 4 * data["parameters"] - 2 * 4 * 17 < 40


def test_inspect_describes_each_published_agent(published_agent: Path) -> None:
    data = the_object(invoke("inspect", published_agent, "--json").stdout)
    assert data.keys() >= INSPECT
    assert data["algorithm"] == published_agent.parent.name
    assert data["env_id"] == published_agent.name.removesuffix("_1")
    expected = {"sac": "tanh", "ddpg": "tanh", "dqn": "argmax"}
    assert data["action_head"] == expected.get(data["algorithm"], "clip")


@pytest.mark.parametrize(
    "arguments", ["ptdq", "ptdq --naive", "ptsq", "ptsq --naive", "l1 --ratio 0.3",
                  "l2 --ratio 0.3", "float"],
)  # fmt: skip
def test_compress_prints_the_manifest(arguments: str) -> None:
    method = arguments.split()[0]
    result = invoke(
        "compress", "demo", "--method", *arguments.split(), "-o", "out", "--json",
        "--env-kwargs", "max_episode_steps:20",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    data = the_object(result.stdout)
    assert data == json.loads(Path("out/manifest.json").read_text())
    if arguments == "ptsq":
        assert lost_keys("compress", data) == set()
    artifact = read_artifact("out")
    assert artifact.manifest.size.file_bytes == Path("out/policy.onnx").stat().st_size
    assert (artifact.manifest.calibration is not None) == (method == "ptsq")
    dtypes = {layer.weight_dtype for layer in artifact.manifest.layers}
    assert dtypes == ({"int8"} if method.startswith("pt") else {"float32"})
    hidden = artifact.manifest.layers[0].out_features
    assert hidden == (90 if method in ("l1", "l2") else 128)  # 30 % of 128 is 38
    assert sorted(path.name for path in Path().iterdir()) == ["out"]


def test_evaluate_prints_one_object_and_no_noise(balancing_zip: Path) -> None:
    result = run(
        "evaluate", balancing_zip, "--env", "CartPole-v1", *SHORT, "--episodes", "12",
        "--seed", "7", "--json",
    )  # fmt: skip
    assert result.returncode == 0
    data = the_object(result.stdout)
    assert data.keys() >= EVALUATE
    assert data["env_id"] == "CartPole-v1"
    assert (data["episodes"], data["seed"], data["steps"]) == (12, 7, 1200)
    assert data["returns"] == [100.0] * 12
    assert data["episode_lengths"] == [100] * 12
    assert (data["mean_return"], data["ci95"]) == (100.0, [100.0, 100.0])
    assert data["steps_per_second"] == pytest.approx(1200 / data["seconds"])
    assert result.stderr == ""


def test_evaluate_finds_the_environment_that_the_agent_was_trained_on() -> None:
    arguments = ("--episodes", "2", "--json", "--env-kwargs", "max_episode_steps:20")
    data = the_object(invoke("evaluate", "demo", *arguments).stdout)
    assert data["env_id"] == "HalfCheetah-v5"
    assert data["episode_lengths"] == [20, 20]
    assert lost_keys("evaluate alone", data) == set()


def test_simulators_that_complain_do_not_spoil_the_object() -> None:
    # MuJoCo prints a warning where a simulation becomes unstable.
    kwargs = ("--env-kwargs", "reset_noise_scale:1000000.0")
    result = run("evaluate", "demo", *kwargs, "--episodes", "1", "--json")
    assert result.returncode == 0
    assert the_object(result.stdout)["episodes"] == 1


def test_against_adds_the_retention(balancing_zip: Path) -> None:
    invoke("compress", balancing_zip, "--method", "l1", "--ratio", "0.6", "-o", "pruned")
    result = invoke(
        "evaluate", "pruned", "--against", balancing_zip, "--env", "CartPole-v1", *SHORT,
        "--episodes", "12", "--json",
    )  # fmt: skip
    assert result.exit_code == 0
    assert result.stderr == ""
    data = the_object(result.stdout)
    assert data.keys() >= EVALUATE | {"retention", "baseline", "random"}
    assert lost_keys("evaluate", data) == set()
    retention = data["retention"]
    assert retention.keys() >= RETENTION
    assert (retention["threshold"], retention["verdict"]) == (0.95, "loses")
    policy, baseline, random = (
        data["mean_return"], data["baseline"]["mean_return"], data["random"]["mean_return"],
    )  # fmt: skip
    assert baseline == 100.0
    assert retention["ratio"] == pytest.approx(policy / baseline)
    assert retention["normalized"] == pytest.approx((policy - random) / (baseline - random))
    low, high = retention["normalized_ci95"]
    assert low <= retention["normalized"] <= high < 0.95


def test_against_itself_keeps_all(balancing_zip: Path) -> None:
    result = invoke(
        "evaluate", balancing_zip, "--against", balancing_zip, "--env", "CartPole-v1", *SHORT,
        "--episodes", "5", *LENIENT, "--json",
    )  # fmt: skip
    data = the_object(result.stdout)
    assert data["retention"]["verdict"] == "keeps"
    assert data["retention"]["normalized_ci95"] == [1.0, 1.0]
    assert data["episodes"] == 10  # five decide nothing


def test_an_untrained_baseline_gets_no_verdict(balancing_zip: Path, untrained_zip: Path) -> None:
    result = invoke(
        "evaluate", balancing_zip, "--against", untrained_zip, "--env", "CartPole-v1", *SHORT,
        "--episodes", "20", "--json",
    )  # fmt: skip
    assert result.exit_code == 0
    retention = the_object(result.stdout)["retention"]
    assert retention["baseline_trained"] is False
    assert (retention["verdict"], retention["normalized"]) == (None, None)


def test_squeeze_prints_what_it_writes(balancing_zip: Path, own_folder: Path) -> None:
    recipes = ["prune:l1:0.5", "prune:l1:0.5 | int8:dynamic", "prune:l2:0.05", "int8:static"]
    result = invoke(
        "squeeze", balancing_zip, "--env", "CartPole-v1", *SHORT, *LENIENT, "--episodes", "5",
        *(f"--recipe={recipe}" for recipe in recipes), "--workers", "1", "--no-measure",
        "-o", "out", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    data = the_object(result.stdout)
    assert data.keys() >= {"baseline", "candidates", "chosen"}
    assert lost_keys("squeeze", data) == set()
    assert [candidate["recipe"] for candidate in data["candidates"]] == recipes
    names = {path.name for path in (own_folder / "out" / "candidates").iterdir()}
    assert names == {"float", "l1-50", "l1-50+ptdq", "l2-5", "ptsq"}
    for candidate in [*data["candidates"], data["chosen"]]:
        assert candidate.keys() >= CANDIDATE
        assert candidate["retention"].keys() >= RETENTION
        artifact = read_artifact(own_folder / candidate["artifact"])
        assert artifact.manifest.size.file_bytes == candidate["file_bytes"]
        assert artifact.manifest.size.weight_bytes == candidate["weight_bytes"]
    assert data["chosen"]["recipe"] in recipes[:2]
    assert data["chosen"]["artifact"] == "out"
    written = json.loads((own_folder / "out" / "results.json").read_text())
    assert written["chosen"] | {"artifact": "out"} == data["chosen"]
    for ours, theirs in zip(written["candidates"], data["candidates"], strict=True):
        assert "out/" + ours["artifact"] == theirs["artifact"]
        assert ours | {"artifact": theirs["artifact"]} == theirs
    assert [path.name for path in own_folder.iterdir()] == ["out"]
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        ("k:1", 1),
        ("k:0.5", 0.5),
        ("k:1e-3", 0.001),
        ("k:1e6", 1e6),
        ("k:-2", -2),
        ("k:true", True),
        ("k:false", False),
        ("k:null", None),
        ("k:[0, 1]", [0, 1]),
        ("k:{a: 1}", {"a": 1}),
        ("k:text", "text"),
        ("k: text ", "text"),
        ("k:http://a:1/b", "http://a:1/b"),
        ("k:", None),
    ],
)
def test_environment_arguments_are_plain_values(pair: str, expected: object) -> None:
    value = parse_kwargs([pair])["k"]
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize("value", ["2020-01-01", "2020-13-45", "!!python/name:os.system", "{1: 2}"])
def test_environment_arguments_turn_into_json_or_are_refused(value: str) -> None:
    with suppress(InvalidArgumentError):
        json.dumps(parse_kwargs([f"k:{value}"]))
