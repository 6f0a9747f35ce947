"""Train the agents of a study one after the other, and keep each as soon as it is done.

    python scripts/train_and_keep.py studies/paper-trained.yaml --output results/paper/agents

An agent that is kept is a folder with its policy as an artifact in float, which every command takes
for an agent, and `training.json`: settings, learning curve, and 100 episodes beside those of
policies that know nothing. The policy is that of the best evaluation while it learned; these have
seeds of their own, so nothing was chosen on the episodes that are reported.

From there it learns on for int8, with a fifth of the steps; that policy is in the folder `int8`
beside the other. On-policy algorithms, which are quick, also learn for int8 from the start, with
all the steps: `int8-from-start`.

Kept agents are not trained again, unless they have learned for fewer steps than the study asks for,
or lack the policy in int8 while what it would learn on from is lost. Ctrl-C and SIGTERM write a
checkpoint, from which the same command goes on. Unfinished trainings are in `--runs`.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from squeezerl.agents.load import load_agent, source_file
from squeezerl.analysis.bootstrap import mean_interval
from squeezerl.analysis.published import published_cell, published_quantized
from squeezerl.artifacts.artifact import Artifact, is_artifact, read_artifact
from squeezerl.artifacts.output import new_folder, write_file
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import evaluate
from squeezerl.evaluation.reference_actors import ConstantActor, RandomActor, best_constant
from squeezerl.host.facts import host_facts
from squeezerl.pipeline.make import make_artifact
from squeezerl.records import Interval, to_json
from squeezerl.report.document import Code, Document, Link, Paragraph, Table, Text
from squeezerl.report.renderers import render
from squeezerl.report.text import DASH, format_number_interval
from squeezerl.runtimes.base import Actor
from squeezerl.runtimes.onnx_runtime import load_network
from squeezerl.studies.reading.study_file import read_study
from squeezerl.studies.study import Training
from squeezerl.training.algorithms import find_algorithm
from squeezerl.training.config import QatConfig, TrainConfig
from squeezerl.training.train import train

EPISODES, SEED = 100, 0
CONSTANTS = 1_000
RECORD, REFERENCES = "training.json", "references.json"
REFERENCE_NAMES = ("random", "zero", "constant")
_SECONDS = "processor_seconds.json"
ON_GPU = "on_gpu.json"  # where `train_on_gpu.py` notes what it trained on, and how long
INT8, FROM_START, _BEST = "int8", "int8-from-start", "best_model.zip"
_INT8_SHARE = 0.2  # of the agent's steps
# The policy acts well already, so few of its steps are random ones.
_INT8_RANDOM_STEPS = 1_000
_CURVE_POINTS = 100
_CHECKPOINT_SECONDS = 600.0  # those of Humanoid's replay buffer are gigabytes
# Mean returns in the v3 environments, one training each, mostly over 1,000,000 steps.
ZOO = "https://github.com/DLR-RM/rl-baselines3-zoo/blob/master/benchmark.md"
RL_ZOO = {
    ("trpo", "HalfCheetah"): 1785.476,
    ("trpo", "Ant"): 4982.301,
    ("trpo", "Hopper"): 3618.386,
    ("ppo", "HalfCheetah"): 5819.099,
    ("ppo", "Ant"): 1327.158,
    ("ppo", "Hopper"): 2410.435,
    ("td3", "HalfCheetah"): 9655.666,
    ("td3", "Ant"): 5813.274,
    ("td3", "Humanoid"): 5566.687,
    ("td3", "Hopper"): 3606.390,
    ("sac", "HalfCheetah"): 9535.451,
    ("sac", "Ant"): 4615.791,
    ("sac", "Humanoid"): 6232.287,
    ("sac", "Hopper"): 2325.547,
}
_AUTHORS = "a learning rate of 3e-4 and networks of 256-256, as TD3's authors have since"
# Of studies/paper-trained.yaml, which has the numbers.
OTHER_SETTINGS = (
    ("PPO Hopper", "learns to stand", "those of PPO's paper (arXiv 1707.06347), networks of 64-64"),
    ("PPO Ant", "learns to walk slowly: 1,170", "as PPO Hopper"),
    ("TD3 Hopper", "learns to stand", f"{_AUTHORS}; 4 environments, so twice the gradient steps"),
    ("TD3 Humanoid, DDPG HumanoidStandup", "learns nothing", _AUTHORS),
    (
        "TD3 HumanoidStandup, DDPG Humanoid",
        "learns nothing",
        f"{_AUTHORS}; normalised observations and rewards, noise with a deviation of 0.5",
    ),
    (
        "DDPG Ant",
        "learns nothing",
        "networks of 256-256; a learning rate of 1e-4; normalised observations and rewards, noise "
        "with a deviation of 0.2",
    ),
)


def place_of(agents: Path, training: Training) -> Path:
    """The folder in which an agent is kept."""
    return agents / training.algorithm / training.place.env_id


def config_of(training: Training, device: str = "cpu") -> TrainConfig:
    """A training of a study, as `train` takes it."""
    return TrainConfig(
        algorithm=training.algorithm,
        env=training.place.env_id,
        env_kwargs=training.place.env_kwargs,
        backend=training.place.backend,
        hyperparameters=training.hyperparameters,
        steps=training.steps,
        seed=training.seed,
        evaluations=training.evaluations,
        eval_episodes=training.eval_episodes,
        checkpoint_seconds=_CHECKPOINT_SECONDS,
        device=device,
    )


def int8_config_of(training: Training, run: Path) -> TrainConfig:
    """The training for int8 that starts from the best policy of a training."""
    settings = dict(training.hyperparameters)
    if "learning_starts" in settings:
        settings["learning_starts"] = _INT8_RANDOM_STEPS
    return dataclasses.replace(
        config_of(training),
        init=run / _BEST,
        qat=QatConfig(),
        steps=round(_INT8_SHARE * training.steps),
        hyperparameters=settings,
    )


def train_one(config: TrainConfig, run: Path, should_stop: Callable[[], bool]) -> bool:
    """Train, or go on; returns whether the training is complete. Notes the processor's time."""
    start = time.process_time()
    result = train(config, output=run, resume=True, should_stop=should_stop)
    took = processor_seconds(run) + time.process_time() - start
    write_file(run / _SECONDS, json.dumps(took).encode())
    return result.complete


def processor_seconds(run: Path) -> float:
    """What a training took so far; parts that were killed are missing."""
    file = run / _SECONDS
    return float(json.loads(file.read_text())) if file.is_file() else 0.0


def trained_on(run: Path) -> dict[str, Any]:
    """The host of a training, and what it took there."""
    if (file := run / ON_GPU).is_file():
        notes: dict[str, Any] = json.loads(file.read_text())
        host = notes.pop("host")
        return {"gpu": notes, "host": host}
    return {"processor_seconds": round(processor_seconds(run)), "host": to_json(host_facts())}


def references_in(environment: Environment, agents: Path) -> dict[str, Any]:
    """The episodes of policies that know nothing, played once for each environment."""
    known = references_of(agents).get(environment.id)
    if known is None:
        zero = np.clip(0, environment.action_low, environment.action_high).astype(np.float32)
        constant = best_constant(environment, SEED, count=CONSTANTS)
        actors: dict[str, Actor] = {
            "random": RandomActor(environment, SEED),
            "zero": ConstantActor(environment, zero[np.newaxis]),
            "constant": constant,
        }
        known = {name: played(actor, environment) for name, actor in actors.items()}
        known["constant"]["action"] = constant.act(zero[np.newaxis])[0].tolist()
        # They played for minutes, in which another part may have written its own.
        everything = {**references_of(agents), environment.id: known}
        write_file(agents / REFERENCES, (json.dumps(everything, indent=1) + "\n").encode())
    return known


def references_of(agents: Path) -> dict[str, dict[str, Any]]:
    """What is known of each environment so far."""
    file = agents / REFERENCES
    return json.loads(file.read_text()) if file.is_file() else {}


def played(actor: Actor, environment: Environment) -> dict[str, Any]:
    """100 episodes: every return, their mean and its interval."""
    record = evaluate(actor, environment, episodes=EPISODES, seed=SEED)
    interval = mean_interval(record.returns, np.random.default_rng(SEED))
    return {
        "episodes": EPISODES,
        "seed": SEED,
        "backend": record.backend,
        "mean_return": round(interval.estimate, 3),
        "ci95": [round(interval.low, 3), round(interval.high, 3)],
        "mean_length": record.steps / EPISODES,
        "returns": [round(value, 3) for value in record.returns],
    }


def keep(training: Training, run: Path, agents: Path) -> None:
    """Write the folder of a trained agent."""
    environment = training.place.find()
    artifact = make_artifact(load_agent(run / _BEST))
    evaluation = played(load_network(artifact.network), environment)
    references = references_in(environment, agents)
    gains = {
        name: mean_interval(
            np.subtract(evaluation["returns"], references[name]["returns"]),
            np.random.default_rng(SEED),
        )
        for name in REFERENCE_NAMES
    }
    record = {
        "trained": all(gain.low > 0 for gain in gains.values()),
        "gains": to_json(gains),
        "evaluation": evaluation,
        "hyperparameters": dict(training.hyperparameters),
    }
    write_folder(place_of(agents, training), artifact, training, run, record)


def keep_int8(training: Training, run: Path, agents: Path, *, name: str) -> None:
    """Write the folder of a policy that learned for int8 beside the other's."""
    artifact = read_artifact(run / f"best_{INT8}")
    evaluation = played(load_network(artifact.network), training.place.find())
    folder = place_of(agents, training) / name
    write_folder(folder, artifact, training, run, {"evaluation": evaluation})


def write_folder(
    folder: Path, artifact: Artifact, training: Training, run: Path, record: dict[str, Any]
) -> None:
    """Write a policy, and the record with what the training left."""
    with np.load(run / "evaluations.npz", allow_pickle=False) as file:
        steps, results, best = file["timesteps"], file["results"], int(file["best"][0])
    record = {
        "algorithm": training.algorithm,
        "env_id": training.place.env_id,
        "seed": training.seed,
        "steps": int(steps[-1]),
        "kept_at_steps": int(steps[best]),
        **record,
        "evaluations": {
            "steps": steps.tolist(),
            "mean_returns": results.mean(axis=1).round(1).tolist(),
        },
        "training_episodes": thinned(episodes_in(run)),
        **trained_on(run),
    }
    with new_folder(folder, force=True) as new:
        for name, content in artifact.files.items():
            (new / name).write_bytes(content)
        text = json.dumps(record, indent=1)
        (new / RECORD).write_text(text + "\n", encoding="utf-8")


def episodes_in(run: Path) -> list[tuple[float, int]]:
    """Return and length of all training episodes, in the order in which they ended."""
    episodes = []
    logs = sorted(run.glob("*.monitor.csv"), key=lambda file: int(file.name.split(".")[0]))
    for log in logs:
        with log.open(encoding="utf-8") as lines:
            next(lines)
            episodes += [(float(row["r"]), int(row["l"])) for row in csv.DictReader(lines)]
    return episodes


def thinned(episodes: Iterable[tuple[float, int]]) -> dict[str, list[float]]:
    """A learning curve of at most 100 points: each is the mean of as many training episodes."""
    returns, lengths = np.array(list(episodes)).reshape(-1, 2).T
    ends = np.cumsum(lengths)
    parts = np.array_split(np.arange(len(returns)), min(_CURVE_POINTS, max(1, len(returns))))
    filled = [part for part in parts if len(part)]
    return {
        "steps": [int(ends[part[-1]]) for part in filled],
        "mean_returns": [round(float(returns[part].mean()), 1) for part in filled],
    }


def return_of(folder: Path) -> str:
    """The mean return and its interval of what is kept in a folder, if it is there."""
    file = folder / RECORD
    return return_text(json.loads(file.read_text())) if file.is_file() else DASH


def return_text(record: dict[str, Any]) -> str:
    """The mean return and its interval."""
    evaluation = record["evaluation"]
    low, high = evaluation["ci95"]
    return format_number_interval(Interval(estimate=evaluation["mean_return"], low=low, high=high))


def two_ways(folders: Iterable[Path]) -> str:
    """A sentence that counts in how many agents each of the two ways to int8 earns more."""
    gains = []
    for folder in folders:
        records = [folder / name / RECORD for name in (FROM_START, INT8)]
        if all(record.is_file() for record in records):
            start, on = (json.loads(r.read_text())["evaluation"]["returns"] for r in records)
            gains.append(mean_interval(np.subtract(start, on), np.random.default_rng(SEED)))
    return (
        f"Of {len(gains)} agents that have both, int8 from the start earns more in "
        f"{sum(gain.low > 0 for gain in gains)} and int8 that was learned on in "
        f"{sum(gain.high < 0 for gain in gains)}, by the interval of the paired difference. The "
        f"latter had {_INT8_SHARE:.0%} more steps to learn in, with the float training's."
    )


def page(agents: Path, trainings: Sequence[Training]) -> str:
    """The table of all agents that are kept, beside what is published."""
    study = published_quantized().set_index(["algorithm", "environment"])["baseline"]
    references = references_of(agents)
    rows: list[tuple[Text, ...]] = []
    trained = above = 0
    for training in trainings:
        folder = place_of(agents, training)
        cell = published_cell(training.algorithm, training.place.env_id)
        baseline, zoo = study.get(cell, math.nan), RL_ZOO.get((training.algorithm, cell[1]))
        name = f"{cell[0]} {cell[1]}"
        beside = [DASH if math.isnan(x) else f"{x:,.0f}" for x in (baseline, zoo or math.nan)]
        if not is_artifact(folder):
            rows.append((name, *[DASH] * 4, *beside, "not trained yet", *[DASH] * 4))
            continue
        record = json.loads((folder / RECORD).read_text())
        mean = record["evaluation"]["mean_return"]
        known = references[training.place.env_id]
        trained += record["trained"]
        above += mean >= baseline
        rows.append(
            (
                Link(name, str(folder.relative_to(agents))),
                return_of(folder),
                *(f"{known[name]['mean_return']:,.0f}" for name in REFERENCE_NAMES),
                *beside,
                "yes" if record["trained"] else "no",
                f"{record['steps']:,} ({record['kept_at_steps']:,})",
                f"{record['processor_seconds'] / 60:,.0f}" if "gpu" not in record else "GPU",
                return_of(folder / INT8),
                return_of(folder / FROM_START),
            )
        )
    kept = sum(isinstance(row[0], Link) for row in rows)
    table = Table(
        header=(
            *("agent", "return [95 %]", "random", "zero actions", "best of 1,000 constant actions"),
            *("the study's baseline", "rl-zoo (v3)", "trained", "steps (kept at)"),
            *("processor minutes", "int8, learned on", "int8 from the start"),
        ),
        rows=tuple(rows),
        left=(0, 7),
    )
    blocks = (
        Paragraph(
            f"{kept} of {len(rows)} agents have learned: {trained} count as trained, by the rule "
            f"below the table, and {above} return at least what the baseline of the study did "
            "(arXiv 2407.04803, Table 1)."
            f"{'' if kept == len(rows) else ' The command below goes on with the rest.'}"
        ),
        table,
        Paragraph(
            f"Returns are means over {EPISODES} complete episodes in the v4 environments, with "
            "95 % bootstrap intervals over these episodes. Each agent is one training with one "
            "seed, so the intervals say nothing about other seeds. An agent counts as trained if "
            "it is better than each of three policies that know nothing: the interval of the "
            "paired difference lies above 0. These policies are random actions, zero actions, and "
            f"the best of {CONSTANTS:,} constant actions, chosen on episodes of their own."
        ),
        Paragraph(
            (
                "Settings and network sizes are those that rl-zoo publishes, with fewer steps "
                "where it trains for longer. The off-policy algorithms have 8 environments instead "
                "of 1 and take one gradient step for every 8 environment steps, ",
                Link("which taught them more", "../one-environment"),
                " in as many gradient steps in three of four trainings (TD3 on Hopper learned to "
                "run with neither). Some needed other settings:",
            )
        ),
        Table(
            header=("agent", "with rl-zoo's settings", "settings"),
            rows=OTHER_SETTINGS,
            left=(0, 1, 2),
        ),
        Paragraph(
            "The policy that is kept is that of the best of 20 evaluations while the agent "
            "learned, of 5 episodes each, with seeds that nothing else uses; the table says at "
            "which step."
        ),
        Paragraph(
            f"Int8: from that policy the agent learned on for {_INT8_SHARE:.0%} of the steps, with "
            "integers simulated (quantization-aware training); the policy is in the folder "
            f"{INT8}. The study trains for int8 from the start with all the steps; the last column "
            f"is for TRPO and PPO that do the same ({FROM_START}). "
            + two_ways(place_of(agents, training) for training in trainings)
        ),
        Paragraph(
            (
                "The figures of rl-zoo are from ",
                Link("its benchmark", ZOO),
                ": one training each, in the v3 environments, over 1,000,000 steps (Humanoid: "
                "2,000,000). A dash: it has none.",
            )
        ),
        Paragraph(
            (
                "Each folder is an agent for every command, for example ",
                Code("squeezerl inspect results/paper/agents/ppo/Hopper-v4"),
                "; ",
                Code(RECORD),
                " beside the policy has settings, learning curves, all returns and versions. ",
                Code("make paper-agents"),
                " makes all of this: it trains what is missing, two agents at a time, and goes "
                "on where it was interrupted. The processor's time is that of a shared machine. "
                "Those marked GPU learned side by side on one, with ",
                Code("scripts/train_on_gpu.py"),
                ", which notes where and for how long.",
            )
        ),
    )
    return render(Document(title="Agents that have learned", blocks=blocks))


def left(
    trainings: Sequence[Training], agents: Path, runs: Path
) -> Iterator[tuple[Training, TrainConfig, Path, Callable[[Training, Path, Path], None]]]:
    """What is not kept yet, with its training, that one's folder, and how it will be kept."""
    for training in trainings:
        run, int8 = place_of(runs, training), place_of(agents, training) / INT8
        # What is kept has no critic, so the training's own folder is what learns on.
        can_learn_on = is_artifact(int8) or is_of(place_of(agents, training), run)
        if steps_of(place_of(agents, training)) < training.steps or not can_learn_on:
            yield training, config_of(training), run, keep
        if not is_artifact(int8):
            config, keep_it = int8_config_of(training, run), partial(keep_int8, name=INT8)
            yield training, config, run.with_name(f"{run.name}-{INT8}"), keep_it
    for training in trainings:
        on_policy = find_algorithm(training.algorithm).on_policy
        if on_policy and not is_artifact(place_of(agents, training) / FROM_START):
            run = place_of(runs, training)
            config = dataclasses.replace(config_of(training), qat=QatConfig())
            keep_it = partial(keep_int8, name=FROM_START)
            yield training, config, run.with_name(f"{run.name}-{FROM_START}"), keep_it


def is_of(folder: Path, run: Path) -> bool:
    """Whether an agent that is kept is the best policy of this training, and of no earlier one."""
    best = run / _BEST
    if not (best.is_file() and is_artifact(folder)):
        return False
    return source_file("checkpoint", best) in read_artifact(folder).manifest.source.files


def steps_of(folder: Path) -> int:
    """How many steps an agent that is kept has learned; 0 if none is."""
    record = folder / RECORD
    return int(json.loads(record.read_text())["steps"]) if record.is_file() else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("study", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("out/paper-trained"))
    parser.add_argument("--part", default="1/1", help="1/2 and 2/2 are for two side by side")
    arguments = parser.parse_args()
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: asked.append(number))
    trainings = read_study(arguments.study).trainings
    agents: Path = arguments.output
    agents.mkdir(parents=True, exist_ok=True)
    part, parts = map(int, arguments.part.split("/"))
    mine = trainings[part - 1 :: parts]
    write_file(agents / "README.md", page(agents, trainings).encode())
    for training, config, run, keep_it in left(mine, agents, arguments.runs):
        name = f"{training.name}{' for int8' if config.qat else ''}"
        print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)
        if not train_one(config, run, lambda: bool(asked)):
            break
        keep_it(training, run, agents)
        write_file(agents / "README.md", page(agents, trainings).encode())


if __name__ == "__main__":
    main()
