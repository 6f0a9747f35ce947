from __future__ import annotations

from pathlib import Path

import pytest
from checkpoint_files import nothing_written, refuses

from squeezerl import load_agent
from squeezerl.agents.sources.stable_baselines3.files import find_agent, read_yaml
from squeezerl.errors import CheckpointError, SqueezeRLWarning


def _touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def _settings(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_zip_of_the_environment_is_preferred(tmp_path: Path) -> None:
    folder = tmp_path / "Hopper-v3_1"
    _touch(folder / "Hopper-v3.zip", folder / "best_model.zip", folder / "rl_model_100_steps.zip")
    assert find_agent(folder).checkpoint == folder / "Hopper-v3.zip"


def test_environment_name_may_hold_underscores(tmp_path: Path) -> None:
    folder = tmp_path / "my_env-v0_12"
    _touch(folder / "my_env-v0.zip", folder / "best_model.zip")
    assert find_agent(folder).checkpoint == folder / "my_env-v0.zip"


def test_zip_of_the_environment_is_preferred_from_inside_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "Hopper-v3_1"
    _touch(folder / "Hopper-v3.zip", folder / "best_model.zip")
    monkeypatch.chdir(folder)
    assert find_agent(Path()).checkpoint.name == "Hopper-v3.zip"


def test_only_zip_of_a_folder_is_taken(tmp_path: Path) -> None:
    _touch(tmp_path / "Hopper-v3_1" / "best_model.zip")
    assert find_agent(tmp_path / "Hopper-v3_1").checkpoint.name == "best_model.zip"


def test_several_zips_and_no_way_to_choose_are_an_error(tmp_path: Path) -> None:
    _touch(tmp_path / "a.zip", tmp_path / "b.zip")
    with pytest.raises(CheckpointError, match=r"several checkpoints \(a\.zip, b\.zip\).*name the"):
        find_agent(tmp_path)


def test_folder_without_a_zip_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no \.zip checkpoint"):
        find_agent(tmp_path)


@pytest.mark.parametrize("name", ["absent.zip", "absent", "a" * 5000], ids=["zip", "any", "long"])
def test_path_that_does_not_exist_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match=r"no such file|too long"):
        find_agent(tmp_path / name)


def test_zip_alone_stands_for_itself(tmp_path: Path) -> None:
    _touch(tmp_path / "agent.zip")
    files = find_agent(tmp_path / "agent.zip")
    assert (files.vecnormalize, files.env_id, files.normalized) == (None, None, None)


@pytest.mark.parametrize("name", ["vecnormalize.pkl", "vec_normalize.pkl"])
@pytest.mark.parametrize("place", ["", "agent"])
def test_normalizer_beside_a_zip_is_found(tmp_path: Path, name: str, place: str) -> None:
    _touch(tmp_path / "agent.zip", tmp_path / place / name)
    assert find_agent(tmp_path / "agent.zip").vecnormalize == tmp_path / place / name


def test_settings_of_the_zoo_are_found_from_folder_and_zip(tmp_path: Path) -> None:
    folder = tmp_path / "Hopper-v3_1"
    _touch(folder / "Hopper-v3.zip", folder / "Hopper-v3" / "vecnormalize.pkl")
    _settings(folder / "Hopper-v3" / "config.yml", "normalize: true")
    _settings(folder / "Hopper-v3" / "args.yml", "env: Hopper-v3")
    for path in (folder, folder / "Hopper-v3.zip"):
        files = find_agent(path)
        assert (files.env_id, files.normalized) == ("Hopper-v3", True)
        assert files.vecnormalize == folder / "Hopper-v3" / "vecnormalize.pkl"


def test_settings_of_the_environment_that_are_not_read_are_named(tmp_path: Path) -> None:
    _touch(tmp_path / "agent.zip")
    _settings(
        tmp_path / "agent" / "config.yml",
        "env_kwargs: {g: 3.0, deep: {a: 1}}\nvec_env_wrapper: mine.Stack",
    )
    with pytest.warns(SqueezeRLWarning, match=r"env_kwargs deep and vec_env_wrapper mine\.Stack"):
        files = find_agent(tmp_path / "agent.zip")
    assert files.env_kwargs == {"g": 3.0}


def test_best_model_belongs_to_the_settings_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "Hopper-v3_1"
    _touch(folder / "best_model.zip", folder / "Hopper-v3" / "vecnormalize.pkl")
    _settings(folder / "Hopper-v3" / "config.yml", "normalize: true")
    for path in (folder, folder / "best_model.zip"):
        files = find_agent(path)
        assert files.normalized
        assert files.vecnormalize == folder / "Hopper-v3" / "vecnormalize.pkl"


def test_normalizer_of_another_agent_in_the_folder_is_left_alone(tmp_path: Path) -> None:
    _touch(tmp_path / "a.zip", tmp_path / "b" / "vecnormalize.pkl")
    _settings(tmp_path / "a" / "config.yml", "normalize: false")
    _settings(tmp_path / "b" / "config.yml", "normalize: true")
    for path in (tmp_path, tmp_path / "a.zip"):
        files = find_agent(path)
        assert (files.vecnormalize, files.normalized) == (None, False)


@pytest.mark.parametrize(
    ("value", "normalized"),
    [
        ("true", True),
        ("false", False),
        ("'True'", True),
        ("'False'", False),
        ("dict(norm_obs=True, norm_reward=False)", True),
        ("dict(norm_obs=False, norm_reward=True)", False),
        ("dict( norm_obs = False )", False),
        ("\"{'norm_obs': False, 'norm_reward': True}\"", False),
        ("\"{'norm_obs': True, 'norm_reward': False}\"", True),
        ("{norm_obs: false, norm_reward: true}", False),
        ("{norm_reward: true}", True),
        ("null", False),
    ],
)
def test_every_form_of_normalize_is_understood(
    tmp_path: Path, value: str, normalized: bool
) -> None:
    _touch(tmp_path / "agent.zip")
    _settings(tmp_path / "agent" / "config.yml", f"normalize: {value}")
    assert find_agent(tmp_path / "agent.zip").normalized is normalized


def test_python_tags_become_plain_data(tmp_path: Path) -> None:
    _settings(
        tmp_path / "config.yml",
        "!!python/object/apply:collections.OrderedDict\n"
        "- - - policy_kwargs\n    - dict(net_arch=[400, 300])\n"
        "  - - train_freq\n    - !!python/tuple [1, episode]\n"
        "  - - activation\n    - !!python/name:torch.nn.ReLU ''\n",
    )
    assert read_yaml(tmp_path / "config.yml") == {
        "policy_kwargs": "dict(net_arch=[400, 300])",
        "train_freq": [1, "episode"],
        "activation": "",
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "a: [",
        "\x00",
        "? [1]\n: 2",
        "a: !!int ''",
        "a: !!float ''",
        "a: !!bool perhaps",
        "a: !!timestamp yesterday",
        "a: 2001-99-99",
        "a: !unknown 1",
        "[" * 2_000,
        "!!python/object/apply:collections.OrderedDict [5]",
    ],
    ids=lambda text: text[:30],
)
def test_settings_that_are_no_mapping_are_refused(folder: Path, config: Path, text: str) -> None:
    config.write_text(text)
    refuses(folder, "YAML|settings", file="config.yml")


def test_settings_of_a_megabyte_are_refused(folder: Path, config: Path) -> None:
    config.write_text("a: " + "x" * 2**20)
    refuses(folder, "larger than any", file="config.yml")


def test_settings_that_are_no_text_are_refused(folder: Path, config: Path) -> None:
    config.write_bytes(b"a: \xff\xfe")
    refuses(folder, "not readable YAML", file="config.yml")


def test_loading_writes_nothing(folder: Path) -> None:
    with nothing_written(folder.parent):
        load_agent(folder)
