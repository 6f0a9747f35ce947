"""Whatever is wrong in a study's file is found before anything runs, and named with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from squeezerl.errors import StudyError
from squeezerl.studies.reading.study_file import read_study

GOOD = """\
name: small
agents:
  - demo
  - train:
      algorithms: [ppo, sac]
      environments: [Pendulum-v1]
      seeds: 2
      steps: {ppo: 3_000, default: 1e3}
      hyperparameters:
        default: {gamma: 0.9}
        sac: {learning_starts: 100}
methods:
  - ptdq
  - qat
  - l1: {percent: [5, 10.5]}
  - ticket: {norms: [l2], percent: 50, only: {algorithms: [ppo]}}
episodes: 4
measure: {methods: [ptdq, best], seconds: 0.2}
"""


def message(folder: Path, text: str) -> str:
    """What reading the text complains about."""
    path = folder / "study.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StudyError) as caught:
        read_study(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("name: small", "nam: small", 1, "did you mean name?"),
        ("name: small", "name: ../small", 1, "letters, digits"),
        ("name: small", "name: [small]", 1, "must be text, not a list"),
        ("name: small", "name: small\nname: small", 2, "given twice"),
        ("name: small", "name: small\nstore: mysql://host/x", 2, "not supported"),
        ("name: small", "name: small\nartifacts: nowhere://x", 2, "nowhere"),
        ("- demo", "- nothing/here", 3, "no such file"),
        ("- demo", "- '*.zip'", 3, "no file or folder matches"),
        ("- demo", "- {path: demo, envv: X}", 3, "did you mean env?"),
        ("- demo", "- {path: demo, env: HalfCheeta-v5}", 3, "did you mean HalfCheetah-v5"),
        ("- demo", "- {path: demo, env: Hopper-v4}", 3, "the policy has observations"),
        ("- demo", "- {path: demo, environments: [Hopper-*]}", 3, "none of the 1 agents"),
        ("[ppo, sac]", "[ppo, sacc]", 5, "did you mean sac?"),
        ("[ppo, sac]", "[ppo, ppo]", 5, "given twice"),
        ("[ppo, sac]", "[]", 5, "empty list"),
        ("[Pendulum-v1]", "[Pendulumm-v1]", 6, "did you mean Pendulum-v1"),
        ("[Pendulum-v1]", "[CartPole-v1]", 6, "discrete actions, sac takes continuous"),
        ("seeds: 2", "seeds: 0", 7, "a whole number from 1"),
        ("seeds: 2", "seeds: [0, -1]", 7, "a whole number from 0"),
        ("seeds: 2", "sedes: 2", 7, "did you mean seeds?"),
        ("ppo: 3_000", "ppo: many", 8, "a whole number from 1"),
        ("default: 1e3", "default: 10", 8, "would learn nothing"),
        ("ppo: 3_000", "ppoo: 3_000", 8, "did you mean ppo?"),
        ("gamma: 0.9", "gamma: 1.9", 10, "gamma is 1.9"),
        ("gamma: 0.9", "gama: 0.9", 10, "did you mean gamma?"),
        ("learning_starts: 100", "learning_starts: -1", 11, "at least 0"),
        ("- ptdq", "- ptdqq", 13, "did you mean ptdq?"),
        ("- ptdq", "- ptdq: {keeep: [layer0]}", 13, "did you mean keep?"),
        ("- ptdq", "- ptdq: {naive: 3}", 13, "true or false"),
        ("- ptdq", "- {ptdq: , ptsq: }", 13, "one method per item"),
        ("- qat", "- ptdq", 14, "ptdq is listed twice"),
        ("10.5]", "100]", 15, "a number from 0 to 95"),
        ("10.5]", "0]", 15, "removes nothing"),
        ("10.5]", "5]", 15, "given twice"),
        ("norms: [l2]", "norms: [l3]", 16, "unknown 'l3'"),
        ("{algorithms: [ppo]}", "{algorithms: [td3]}", 16, "known are ppo, sac"),
        ("episodes: 4", "episodes: 0", 17, "a whole number from 1"),
        ("episodes: 4", "episodes: true", 17, "a whole number from 1"),
        ("[ptdq, best]", "[ptsq, best]", 18, "did you mean ptdq?"),
        ("seconds: 0.2", "seconds: 1000", 18, "a number from 0.1 to 60"),
        ("seconds: 0.2", "runtimes: [ortt]", 18, "did you mean ort?"),
        ("seconds: 0.2", "energy: sun", 18, "is not one of"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, says: str
) -> None:
    assert GOOD.count(old) == 1
    said = message(tmp_path, GOOD.replace(old, new))

    assert said.startswith(f"{tmp_path / 'study.yaml'}:{line}: ")
    assert says in said


def test_the_good_one_is_good(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(GOOD, encoding="utf-8")

    study = read_study(path)

    assert [agent.name for agent in study.agents] == ["ppo-HalfCheetah-v5"]
    assert [(t.name, t.seed, t.steps) for t in study.trainings] == [
        ("ppo-Pendulum-v1", 0, 3000),
        ("ppo-Pendulum-v1", 1, 3000),
        ("sac-Pendulum-v1", 0, 1000),
        ("sac-Pendulum-v1", 1, 1000),
    ]
    assert study.trainings[2].hyperparameters["learning_starts"] == 100
    assert {t.hyperparameters["gamma"] for t in study.trainings} == {0.9}
    assert [v.name for v in study.variants] == ["ptdq", "qat", "l1-5", "l1-10.5", "ticket-l2-50"]
    assert study.store == "sqlite:///small.db"
    assert study.artifacts == str(Path("small-artifacts").absolute())


@pytest.mark.parametrize(
    ("store", "folder"),
    [
        ("sqlite:///{here}/shared.db", "{here}/shared-artifacts"),
        ("postgresql://me:secret@host:5432/results?sslmode=require", "results-artifacts"),
        ("postgresql://me:secret@host/v1.2", "v1.2-artifacts"),
        ("postgresql://me:secret@host", "store-artifacts"),
    ],
)
def test_artifacts_are_named_after_the_store_that_studies_share(
    tmp_path: Path, store: str, folder: str
) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(GOOD, encoding="utf-8")

    study = read_study(path, store=store.format(here=tmp_path))

    assert study.artifacts == str(Path(folder.format(here=tmp_path)).absolute())


def test_methods_that_train_need_agents_that_are_trained(tmp_path: Path) -> None:
    for method in ("qat", "ticket"):
        text = f"name: a\nagents: [demo]\nmethods:\n  - {method}\n"
        assert "there are none; add - train" in message(tmp_path, text)


def test_missing_parts_are_named(tmp_path: Path) -> None:
    assert "lacks agents" in message(tmp_path, "name: a\n")
    assert "is empty" in message(tmp_path, "")
    assert "must be keys with values" in message(tmp_path, "- a\n")
    assert ":3: not YAML" in message(tmp_path, "name: a\nagents: [\n")


def test_files_that_are_no_studies_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    with pytest.raises(StudyError, match="No such file"):
        read_study(path)
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(StudyError, match="is not text"):
        read_study(path)
    path.write_bytes(b"name: a\n" + b"#" * 2**21)
    with pytest.raises(StudyError, match="larger than"):
        read_study(path)


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    text = "name: !!python/object/apply:os.system ['touch owned']\nagents: [demo]\n"

    message(tmp_path, text)

    assert not (tmp_path / "owned").exists()
    assert not Path("owned").exists()


def test_aliases_do_not_unfold_without_end(tmp_path: Path) -> None:
    lines = ["name: a", "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    inside = "\n".join(f"    {line}" for line in lines[1:])
    text = f"name: a\nagents:\n- path: demo\n  env_kwargs:\n{inside}\n"

    assert "too large" in message(tmp_path, text)


def test_an_agent_that_is_damaged_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.zip").write_bytes(b"no zip")

    said = message(tmp_path, "name: a\nagents:\n  - bad.zip\n")

    assert said.startswith(f"{tmp_path / 'study.yaml'}:3: ")
    assert "not a readable zip" in said


def test_an_agent_trained_twice_with_other_settings_needs_a_name(tmp_path: Path) -> None:
    train = "  - train: {{algorithms: ppo, environments: CartPole-v1, steps: {}{}}}\n"
    text = "name: a\nagents:\n" + train.format(100, "") + train.format(200, "")
    assert ":4: ppo-CartPole-v1 is trained twice, with other settings" in message(tmp_path, text)
    text = "name: a\nagents:\n" + train.format(100, "") + train.format(200, ", seeds: [1]")
    assert ":4: ppo-CartPole-v1 is trained twice, with other settings" in message(tmp_path, text)
    text = "name: a\nagents:\n" + train.format(100, "") + train.format(100, "")
    assert ":4: ppo-CartPole-v1 is trained twice with seed 0" in message(tmp_path, text)

    text = "name: a\nagents:\n" + train.format(100, "") + train.format(200, ", name: long")
    (tmp_path / "study.yaml").write_text(text)
    names = [training.name for training in read_study(tmp_path / "study.yaml").trainings]
    assert names == ["ppo-CartPole-v1", "ppo-CartPole-v1-long"]

    text = "name: a\nagents:\n" + train.format(100, "") + train.format(100, ", name: long")
    assert ":4: ppo-CartPole-v1-long with seed 0 is the same training" in message(tmp_path, text)
