"""`make_design`: a question becomes a study whose size comes from a power calculation."""

from __future__ import annotations

import dataclasses
import os
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from squeezerl.agents.load import DEMO, load_agent
from squeezerl.analysis.effects import Variation, power
from squeezerl.errors import EnvError, InvalidArgumentError, MeasurementError
from squeezerl.host.cores import count_cores
from squeezerl.host.facts import host_facts
from squeezerl.measurement.meters.choose import choose_meter, sensor_statuses
from squeezerl.measurement.meters.cpu_time import CpuTimeMeter
from squeezerl.pipeline.place import Place
from squeezerl.records import to_json
from squeezerl.research.questions import Hypothesis, Question, packaged_variations, trained_in
from squeezerl.studies import estimate
from squeezerl.studies.forecast import Forecast, finished_jobs, forecast
from squeezerl.studies.plan import plan_study
from squeezerl.studies.reading.study_file import read_study

if TYPE_CHECKING:
    from squeezerl.analysis.frames import StudyData
    from squeezerl.jobs.job import StoredRow
    from squeezerl.studies.study import Study

STUDY_YAML, STORE = "study.yaml", "study.db"
POWER = 0.8
_EPISODES = (30, 50, 100, 200, 400, 800, 1600)
_TRAININGS = (3, 4, 5, 6, 8, 10, 15, 20, 30)
_BASE = 100  # episodes that the estimates of hours begin with
_ASSUMED_WATTS = 5.0  # of one core, where neither a sensor nor a rating says it
_GENERAL_THREATS = (
    "The verdict is about the agents of this study. They are no sample of others, so nothing is "
    "said about agents elsewhere.",
    "Retention needs baselines that clearly beat a random policy and the best constant action. "
    "Agents that do not are left out, which leaves fewer cells than planned.",
    "Power is for normally distributed values with the deviations that are named. Other deviations "
    "give another power.",
)


@dataclass(frozen=True, kw_only=True)
class Tested:
    """A hypothesis with what its study can see.

    Args:
        hypothesis: that is tested.
        power: the probability of "supported" where the true effect is the one that matters; `None`
            for costs, whose errors are known after measuring only.
        trainings_sd, episodes_sd: deviations that the power is for, the largest of the cells.
        source: where these are from.
    """

    hypothesis: Hypothesis
    power: float | None
    trainings_sd: float | None
    episodes_sd: float | None
    source: str


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What running the study takes on this host; estimates."""

    jobs: int
    hours: float
    core_hours: float
    disk_bytes: float
    energy_j: float
    energy_from: str
    rates_from: str


@dataclass(frozen=True, kw_only=True)
class Design:
    """A study that answers a question, before it runs.

    Args:
        question: its id.
        title: the question as it is answered.
        asked: as it was asked.
        near: ids of other questions that were like it.
        why: what is behind it, perhaps in words of a language model.
        words_by: the language model; `None` if the words are ours.
        tested: the hypotheses.
        agents: names of the cells.
        trainings: of each agent; 1 for agents that exist.
        episodes: of each evaluation.
        costs: of the run.
        missing: what is not available, and what stands in for it.
        threats: to the validity.
        host: where it was designed.
    """

    question: str
    title: str
    asked: str
    near: tuple[str, ...]
    why: str
    words_by: str | None
    tested: tuple[Tested, ...]
    agents: tuple[str, ...]
    trainings: int
    episodes: int
    costs: Costs
    missing: tuple[str, ...]
    threats: tuple[str, ...]
    host: str

    @property
    def power(self) -> float | None:
        """The least of its hypotheses'; `None` if none has one."""
        known = [one.power for one in self.tested if one.power is not None]
        return min(known, default=None)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        content: dict[str, Any] = to_json(self)
        return content

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> Design:
        """From what `to_json` made of it.

        Raises:
            KeyError, TypeError, ValueError: if it is something else.
        """
        tested = tuple(
            Tested(**{**one, "hypothesis": Hypothesis.from_json(one["hypothesis"])})
            for one in raw["tested"]
        )
        lists = {name: tuple(raw[name]) for name in ("near", "agents", "missing", "threats")}
        return Design(**{**raw, **lists, "tested": tested, "costs": Costs(**raw["costs"])})


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the user wants of a design; `None` is for us to choose.

    Args:
        agents: paths of agents that exist.
        env: environments to train in, instead of the question's; or the one where agents play.
        steps: of each training.
        hours: that the study may take on this host.
        trainings, episodes: of each agent and evaluation, instead of what the power asks for.
        watts_per_core: for the estimate of energy.
    """

    agents: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    steps: int | None = None
    hours: float | None = None
    trainings: int | None = None
    episodes: int | None = None
    watts_per_core: float | None = None


def make_design(
    question: Question,
    folder: Path,
    *,
    asked: str = "",
    near: Sequence[str] = (),
    wish: Wish | None = None,
    pilot: tuple[StudyData, str] | None = None,
    at: Path | None = None,
) -> Design:
    """Write study.yaml into a folder and say what it can show and what it costs.

    Args:
        question: to answer.
        folder: that exists.
        asked: the question as it was asked.
        near: ids of other questions like it.
        wish: of the user.
        pilot: results whose deviations to take instead of packaged ones, and the URL of their
            store, whose finished jobs say how long work takes here.
        at: where the folder will be, for paths of agents; unless given, where it is.

    Raises:
        SqueezeRLError: if the wishes do not fit the question, or the study is not possible here.
    """
    wish = wish or Wish()
    _check(question, wish)
    path = folder / STUDY_YAML
    content = _content(question, wish, at or folder)
    most = wish.trainings or max(_TRAININGS)
    _write(path, content, trainings=most, episodes=wish.episodes or 100)
    store = f"sqlite:///{folder / STORE}"
    study = read_study(path, store=store)
    finished = finished_jobs(pilot[1]) if pilot else []
    varied = _variations(question, _cells(study), pilot[0] if pilot else None)
    trains = bool(study.trainings)
    sizer = _Sizer(study, finished, varied, trains=trains)
    trainings, episodes = sizer.choose(wish)
    _write(path, content, trainings=trainings if trains else None, episodes=episodes)
    study = read_study(path, store=store)
    plan = plan_study(study)
    predicted, known = _forecast(study, finished)
    return Design(
        question=question.id,
        title=question.title,
        asked=asked or question.title,
        near=tuple(near),
        why=question.why,
        words_by=None,
        tested=tuple(
            sizer.tested(hypothesis, trainings, episodes) for hypothesis in question.hypotheses
        ),
        agents=tuple(dict.fromkeys(one.name for one in study.everyone)),
        trainings=trainings,
        episodes=episodes,
        costs=_costs(len(plan.jobs), predicted, known, wish),
        missing=_missing(question),
        threats=_threats(question, study, sizer.power(trainings, episodes), wish),
        host=_host(),
    )


def _check(question: Question, wish: Wish) -> None:
    if wish.agents and question.trains:
        raise InvalidArgumentError(
            f"{question.id} is about trainings, so agents that exist will not do; leave out "
            "`agents`: the study trains its own"
        )
    training = bool(question.train) and not wish.agents
    for name in ("steps", "trainings"):
        if getattr(wish, name) and not training:
            raise InvalidArgumentError(
                f"`{name}` is for studies that train; this one compresses agents that exist"
            )
    if len(wish.env) > 1 and not training:
        raise InvalidArgumentError(
            "give one `env`, in which all agents play, or none: they then play where they learned"
        )


def _content(question: Question, wish: Wish, at: Path) -> dict[str, Any]:
    """The study's file without the numbers of trainings and episodes."""
    content: dict[str, Any] = {"name": f"research-{question.id}"}
    if question.train and not wish.agents:
        grid = dict(question.train)
        grid |= {"environments": list(wish.env)} if wish.env else {}
        grid |= {"steps": wish.steps} if wish.steps else {}
        grids = [
            grid | {"hyperparameters": {"default": dict(given)}, "name": name}
            for name, given in question.settings.items()
        ]
        content["agents"] = [{"train": one} for one in grids or [grid]]
    else:
        paths = wish.agents or question.agents
        content["agents"] = [_relative(path, at) for path in paths]
        if wish.env:
            (env,) = wish.env
            content["agents"] = [{"path": path, "env": env} for path in content["agents"]]
        elif moved := _moved(paths):
            content["environments"] = moved
    content["methods"] = list(question.methods)
    if question.measure is not None:
        content["measure"] = dict(question.measure)
        if not any(status.available for status in sensor_statuses(host_facts())):
            watts, _ = _watts(wish)
            content["measure"]["watts_per_core"] = watts
    return content


def _relative(path: str, at: Path) -> str:
    """An agent's path as a study at this folder names it; absolute ones stay."""
    if path == DEMO or Path(path).is_absolute():
        return path
    return os.path.relpath(path, at)


def _moved(paths: Collection[str]) -> dict[str, str]:
    """Environments that cannot be made here, and the closest versions that can."""
    moved = {}
    for path in paths:
        source = load_agent(path).source
        if source.env_id is None:
            continue
        try:
            Place(env_id=source.env_id, env_kwargs=source.env_kwargs).find()
        except EnvError as error:
            if "env" not in (error.try_with or {}):
                raise
            moved[source.env_id] = str((error.try_with or {})["env"])
    return moved


def _write(path: Path, content: Mapping[str, Any], *, trainings: int | None, episodes: int) -> None:
    agents = [
        {"train": one["train"] | {"seeds": trainings}}
        if isinstance(one, dict) and "train" in one and trainings
        else one
        for one in content["agents"]
    ]
    text = yaml.safe_dump(
        {**content, "agents": agents, "episodes": episodes}, sort_keys=False, width=100
    )
    path.write_text(text, encoding="utf-8")


def _cells(study: Study) -> list[str]:
    return list(dict.fromkeys(one.name for one in study.everyone))


def _variations(
    question: Question, cells: Sequence[str], pilot: StudyData | None
) -> dict[Hypothesis, tuple[list[Variation], str] | None]:
    """How much the values of each hypothesis vary in each cell: from the pilot, or as packaged."""
    found: dict[Hypothesis, tuple[list[Variation], str] | None] = {}
    for hypothesis in question.hypotheses:
        packaged = packaged_variations(hypothesis)
        if packaged is None:
            found[hypothesis] = None
            continue
        assumed, source = packaged
        each = [assumed] * len(cells)
        if pilot is not None and (values := hypothesis.values(pilot, trained_in(pilot))):
            known = {one.agent: one.variation for one in values}
            once = all(len(one.values) == 1 for one in values)
            middle = Variation(
                trainings=assumed.trainings
                if once
                else statistics.median(one.trainings for one in known.values()),
                episodes=statistics.median(one.episodes for one in known.values()),
            )
            each = [known[cell] if cell in known and not once else middle for cell in cells]
            source = f"pilot study {pilot.name}, {len(values)} cells" + (
                "; between trainings, packaged results" if once else ""
            )
        if hypothesis.statistic == "robustness":
            each = each[:1]
        found[hypothesis] = (each, source)
    return found


class _Sizer:
    """Chooses the numbers of trainings and episodes."""

    def __init__(
        self,
        study: Study,
        finished: Sequence[StoredRow],
        varied: Mapping[Hypothesis, tuple[list[Variation], str] | None],
        *,
        trains: bool,
    ) -> None:
        self._study, self._finished, self._varied = study, finished, varied
        self._trains = trains

    def tested(self, hypothesis: Hypothesis, trainings: int, episodes: int) -> Tested:
        """A hypothesis with its power."""
        known = self._varied[hypothesis]
        if known is None:
            return Tested(
                hypothesis=hypothesis, power=None, trainings_sd=None, episodes_sd=None,
                source="the errors of measurements are known after measuring",
            )  # fmt: skip
        each, source = known
        return Tested(
            hypothesis=hypothesis,
            power=power(hypothesis.rule, each, trainings=trainings, episodes=episodes),
            trainings_sd=max(one.trainings for one in each) if self._trains else None,
            episodes_sd=max(one.episodes for one in each),
            source=source,
        )

    def power(self, trainings: int, episodes: int) -> float | None:
        """The least power of the hypotheses."""
        several = [self.tested(one, trainings, episodes).power for one in self._varied]
        return min((one for one in several if one is not None), default=None)

    def choose(self, wish: Wish) -> tuple[int, int]:
        """Trainings and episodes: the cheapest with enough power, or the most power in the hours.

        Raises:
            InvalidArgumentError: if not even the smallest study fits into the hours.
        """
        sizes = [
            (trainings, episodes)
            for trainings in self._trainings(wish)
            for episodes in ((wish.episodes,) if wish.episodes else _EPISODES)
        ]
        enough = [size for size in sizes if (self.power(*size) or 0.0) >= POWER]
        if self.power(*sizes[0]) is None:
            enough = [sizes[-1] if wish.episodes else (sizes[0][0], 100)]
        # More episodes than the fewest that do are not looked at.
        fewest = {trainings: size for size in reversed(enough) for trainings in (size[0],)}
        priced = [(self.hours(*size), size) for size in fewest.values()]
        if priced and (wish.hours is None or min(priced)[0] <= wish.hours):
            return min(priced)[1]
        affordable = [
            size for size in sizes if wish.hours is None or self.hours(*size) <= wish.hours
        ]
        if not affordable:
            raise InvalidArgumentError(
                f"`hours` {wish.hours:g} is too little: the smallest study, {sizes[0][1]} episodes"
                + (f" of {sizes[0][0]} trainings each" if self._trains else "")
                + f", takes about {self.hours(*sizes[0]):.2g} hours here"
            )
        # A hundredth of power is not worth hours.
        return max(
            affordable, key=lambda size: (round(self.power(*size) or 0.0, 2), -self.hours(*size))
        )

    def _trainings(self, wish: Wish) -> Sequence[int]:
        if not self._trains:
            return (1,)
        return (wish.trainings,) if wish.trainings else _TRAININGS

    def hours(self, trainings: int, episodes: int) -> float:
        """Hours on this host, by the plan's estimator."""
        once, episode, training, both = self._rates
        more_trainings, more_episodes = trainings - 1, (episodes - _BASE) / _BASE
        return once + more_episodes * episode + more_trainings * (training + more_episodes * both)

    @cached_property
    def _rates(self) -> tuple[float, float, float, float]:
        """Hours of one training and `_BASE` episodes, and what as many again of each add.

        Work is a sum of what there is once, for each training, for each episode, and for each
        episode of each training.
        """
        once, longer = self._forecast(1, _BASE), self._forecast(1, 2 * _BASE)
        if not self._trains:
            return once, longer - once, 0.0, 0.0
        wider, both = self._forecast(2, _BASE), self._forecast(2, 2 * _BASE)
        return once, longer - once, wider - once, both - wider - longer + once

    def _forecast(self, trainings: int, episodes: int) -> float:
        smaller = dataclasses.replace(
            self._study,
            trainings=tuple(one for one in self._study.trainings if one.seed < trainings),
            episodes=episodes,
        )
        predicted, _ = _forecast(smaller, self._finished)
        return predicted.estimate_s / 3600


def _forecast(study: Study, finished: Sequence[StoredRow]) -> tuple[Forecast, int]:
    """What a study costs that begins with nothing, and how many estimates rest on finished jobs.

    The finished jobs are in another store: they say how long the work takes, but save none of it.
    """
    plan = plan_study(study)
    rates = estimate.refined(plan.jobs, finished)
    jobs = tuple(
        dataclasses.replace(job, estimate_s=rates.get(job.id, job.estimate_s)) for job in plan.jobs
    )
    _, predicted = forecast(dataclasses.replace(plan, jobs=jobs), (), workers=count_cores())
    return predicted, len(rates)


def _costs(jobs: int, predicted: Forecast, known: int, wish: Wish) -> Costs:
    seconds = sum(kind.worker_s for kind in predicted.kinds)
    watts, source = _watts(wish)
    return Costs(
        jobs=jobs,
        hours=predicted.estimate_s / 3600,
        core_hours=seconds / 3600,
        disk_bytes=predicted.stored_bytes,
        energy_j=watts * seconds,
        energy_from=f"CPU time times {watts:g} W for one core ({source})",
        rates_from=f"finished jobs of the same sort for {known} of {jobs} jobs"
        if known
        else "rates of a two-core virtual machine, so the order of magnitude",
    )


def _watts(wish: Wish) -> tuple[float, str]:
    if wish.watts_per_core is not None:
        choose_meter(host_facts(), watts_per_core=wish.watts_per_core)
        return wish.watts_per_core, "given"
    try:
        settings = CpuTimeMeter.settings_for(host_facts())
    except MeasurementError:
        return _ASSUMED_WATTS, "assumed, as no rating of this processor is known"
    return float(settings["watts_per_core"]), str(settings["how"])


def _missing(question: Question) -> tuple[str, ...]:
    """What is not available here."""
    said = []
    if question.missing:
        said.append(question.missing)
        said.append(f"What stands in for it: {question.stands_in}")
    if question.measure is not None:
        sensors = [s for s in sensor_statuses(host_facts()) if s.available]
        if not sensors:
            said.append("This host has no energy sensor that we can read.")
    return tuple(said)


def _threats(
    question: Question, study: Study, power_now: float | None, wish: Wish
) -> tuple[str, ...]:
    said = list(question.threats)
    if power_now is not None and power_now < POWER:
        why = (
            "the size that was asked for" if wish.episodes or wish.trainings else "the hours given"
        )
        said.append(
            f"With {why}, the power is {power_now:.0%} instead of {POWER:.0%}: the study may well "
            "end undecided even if the effect is as large as it would have to be to matter."
            if wish.hours or wish.episodes or wish.trainings
            else f"Even the largest study that is planned here has a power of {power_now:.0%} only."
        )
    if study.agents:
        said.append(
            "Each agent was trained once. Intervals are over episodes and say nothing about other "
            "trainings of the same algorithm."
        )
    for agent in study.agents:
        trained_on = agent.agent.source.env_id
        if trained_on not in (None, agent.place.env_id):
            said.append(f"{agent.name} was trained on {trained_on} and plays {agent.place.env_id}.")
    return (*said, *_GENERAL_THREATS)


def _host() -> str:
    facts = host_facts()
    return f"{facts.cpu}, {count_cores()} cores, {facts.system}"
