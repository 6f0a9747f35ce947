from pathlib import Path

import pytest

from squeezerl.analysis.effects import power
from squeezerl.errors import InvalidArgumentError
from squeezerl.research.design import POWER, Wish, make_design
from squeezerl.research.questions import (
    STATISTICS,
    Question,
    find_questions,
    load_questions,
    packaged_variations,
    question_by_id,
)
from squeezerl.studies.reading.study_file import read_study

IN_OTHER_WORDS = {
    "Which norm is better to choose the neurons to prune?": "pruning-norm",
    "Is a small student better than pruning and quantization?": "distillation",
    "Does compression hurt more for some learning rates than for others?": "hyperparameters",
    "How different do policies come out over random seeds?": "stability",
    "Will my robot still walk with a compressed policy?": "robotics",
    "Do smaller policies save battery?": "cost-of-a-decision",
    "What happens to Atari games from pixels?": "atari",
}


def test_there_are_five_questions_and_twelve_ideas() -> None:
    kinds = [question.kind for question in load_questions()]
    assert kinds == ["question"] * 5 + ["idea"] * 12
    assert len({question.id for question in load_questions()}) == len(kinds)


@pytest.mark.parametrize("question", load_questions(), ids=lambda question: question.id)
def test_hypotheses_can_fail_either_way(question: Question) -> None:
    for hypothesis in question.hypotheses:
        rule, sign = hypothesis.rule, 1 if hypothesis.rule.above else -1
        assert hypothesis.statistic in STATISTICS
        # The effect that matters is where support is possible and refutation is not.
        assert sign * rule.effect > sign * rule.bound
        assert sign * rule.effect >= sign * rule.refuted >= sign * rule.bound
    assert bool(question.missing) == bool(question.stands_in)
    assert question.agents or question.train


def test_what_stable_baselines3_lacks_is_said() -> None:
    for name in ("rainbow", "impala"):
        question = question_by_id(name)
        assert "neither in Stable-Baselines3 nor in sb3-contrib" in question.missing
        assert question.train["algorithms"][0] in question.stands_in.lower().replace("-", "")


@pytest.mark.slow
def test_every_question_becomes_a_study_with_the_methods_that_it_is_about(tmp_path: Path) -> None:
    for question in load_questions():
        folder = tmp_path / question.id
        folder.mkdir()
        wish = Wish(trainings=3 if question.train else None, episodes=30)
        design = make_design(question, folder, wish=wish)
        study = read_study(folder / "study.yaml")
        methods = {variant.method for variant in study.variants}
        for tested in design.tested:
            assert {*tested.hypothesis.methods, *tested.hypothesis.against} <= methods
        assert design.episodes == study.episodes == 30
        assert design.costs.hours > 0
        assert design.costs.energy_j > 0


def test_a_design_has_the_power_that_it_asks_for(tmp_path: Path) -> None:
    question = question_by_id("dynamic-or-static")
    design = make_design(question, tmp_path)
    (tested,) = design.tested
    known = packaged_variations(question.hypotheses[0])
    assert known is not None
    assert tested.power == power(
        question.hypotheses[0].rule, [known[0]], trainings=1, episodes=design.episodes
    )
    assert tested.power >= POWER
    fewer = make_design(question, tmp_path, wish=Wish(hours=design.costs.hours / 3))
    assert fewer.episodes < design.episodes
    assert fewer.power is not None
    assert fewer.power < POWER
    assert any(f"the power is {fewer.power:.0%}" in threat for threat in fewer.threats)


@pytest.mark.slow
def test_free_questions_are_matched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = {text: find_questions(text)[0].id for text in IN_OTHER_WORDS}
    assert found == IN_OTHER_WORDS


def test_what_is_like_no_question_is_an_error_that_says_where_to_look() -> None:
    with pytest.raises(InvalidArgumentError, match="research list"):
        find_questions("qwxz vbnm", "none")
    with pytest.raises(InvalidArgumentError, match="did you mean distillation"):
        find_questions("destillation")


def test_existing_agents_are_no_trainings(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="leave out `agents`"):
        make_design(question_by_id("stability"), tmp_path, wish=Wish(agents=("demo",)))
    with pytest.raises(InvalidArgumentError, match="`steps` is for studies that train"):
        make_design(question_by_id("pruning-norm"), tmp_path, wish=Wish(steps=10))


def test_too_few_hours_are_an_error_that_says_how_many_it_takes(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="takes about"):
        make_design(question_by_id("tickets"), tmp_path, wish=Wish(hours=1e-6))
