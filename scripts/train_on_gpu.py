"""Train the off-policy agents of a study together on one GPU, and keep each.

    python scripts/train_on_gpu.py studies/paper-trained.yaml --output results/paper/agents

Small networks leave a GPU idle: it waits for the processor, which starts a gradient step as two
hundred kernels, one after the other. Here one step of an agent (store what the environments
returned, learn, choose the next actions) is one CUDA graph, and those of all agents run at once.
The gradient step is the `train` of Stable-Baselines3, recorded; nothing of the algorithms is
written anew.

It leaves the same files as `train`, and agents as `train_and_keep.py` keeps them. An interrupted
training begins anew; those that are done are not trained again. Where there is no GPU, all of it
runs on the processor, one gradient step after the other (`--device cpu`).
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, final
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize
from train_and_keep import ON_GPU, config_of, keep, page, place_of, steps_of

from squeezerl.artifacts.output import write_file
from squeezerl.evaluation import envpool_support
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import play
from squeezerl.formats.base import FORMATS
from squeezerl.host.facts import host_facts
from squeezerl.records import EvaluationRecord, to_json
from squeezerl.runtimes.onnx_runtime import load_network
from squeezerl.studies.reading.study_file import read_study
from squeezerl.training.algorithms import find_algorithm
from squeezerl.training.folder import BEST, TrainingFolder
from squeezerl.training.model import make_model, network_of
from squeezerl.training.resolve import Training, resolve
from squeezerl.training.result import EVALUATION_SEED, Evaluations

Array = npt.NDArray[Any]

_WEIGHTS = "best_model.pt"
_EVALUATORS = 5
_THREADS = 4  # that step the environments of one agent
_TURNS = 500  # of all agents, between two looks at the clock
_TELL_SECONDS = 20.0
_WARM_UP = 4  # CUDA wants a few runs before it records one


@final
class Moments:
    """Mean and variance of all rows so far, on the device, as `RunningMeanStd` has them."""

    def __init__(self, start: RunningMeanStd, device: torch.device) -> None:
        self.mean, self.var, self._count = (
            torch.tensor(value, dtype=torch.float64, device=device)
            for value in (start.mean, start.var, start.count)
        )

    def update(self, rows: torch.Tensor) -> None:
        """Take in rows (count, features), or numbers (count,)."""
        rows, count = rows.double(), len(rows)
        total = self._count + count
        change = rows.mean(dim=0) - self.mean
        squares = self.var * self._count + rows.var(dim=0, correction=0) * count
        squares += change.square() * self._count * count / total
        self.mean += change * count / total
        self.var.copy_(squares / total)
        self._count.copy_(total)


@final
class DeviceNormalizer:
    """What `VecNormalize` does to observations and rewards, on the device."""

    def __init__(self, env: VecNormalize, device: torch.device) -> None:
        assert isinstance(env.obs_rms, RunningMeanStd)
        self._env = env
        self._observed, self._returned = Moments(env.obs_rms, device), Moments(env.ret_rms, device)
        self._returns = torch.zeros(env.num_envs, dtype=torch.float64, device=device)

    def begin(self, observations: torch.Tensor) -> None:
        """Take in the first observations (n_envs, features)."""
        if self._env.norm_obs:
            self._observed.update(observations)

    def note(self, observations: torch.Tensor, rewards: torch.Tensor, done: torch.Tensor) -> None:
        """Take in what a step returned: (n_envs, features), and (n_envs,) twice."""
        self.begin(observations)
        self._returns.mul_(self._env.gamma).add_(rewards)
        self._returned.update(self._returns)
        self._returns.mul_(1 - done)

    def observations(self, raw: torch.Tensor) -> torch.Tensor:
        """Observations as the networks see them."""
        if not self._env.norm_obs:
            return raw
        scale = (self._observed.var + self._env.epsilon).sqrt()
        return _clipped((raw - self._observed.mean) / scale, self._env.clip_obs)

    def rewards(self, raw: torch.Tensor) -> torch.Tensor:
        """Rewards as the networks see them."""
        if not self._env.norm_reward:
            return raw
        scale = (self._returned.var + self._env.epsilon).sqrt()
        return _clipped(raw / scale, self._env.clip_reward)

    def state(self) -> dict[str, torch.Tensor]:
        """Copies of the statistics, for `set_statistics`."""
        moments = {"obs": self._observed, "ret": self._returned}
        return {
            f"{name}.{part}": getattr(each, part).cpu().clone()
            for name, each in moments.items()
            for part in ("mean", "var")
        }


def _clipped(values: torch.Tensor, bound: float) -> torch.Tensor:
    return values.clamp(-bound, bound).float()


def set_statistics(env: VecNormalize | None, state: Mapping[str, torch.Tensor]) -> None:
    """Give statistics back to the `VecNormalize` that they would be in."""
    if env is not None:
        for moments, name in ((env.obs_rms, "obs"), (env.ret_rms, "ret")):
            assert isinstance(moments, RunningMeanStd)
            moments.mean, moments.var = (
                state[f"{name}.{part}"].numpy() for part in ("mean", "var")
            )


@final
class DeviceReplay:
    """A replay buffer in the GPU's memory, which neither adds to nor samples from with the host.

    One row per transition: observation, next observation, action, reward, whether it terminated.
    """

    def __init__(
        self,
        capacity: int,
        features: int,
        actions: int,
        n_envs: int,
        device: torch.device,
        normalizer: DeviceNormalizer | None = None,
    ) -> None:
        self._widths, self._normalizer = [features, features, actions, 1, 1], normalizer
        self._capacity = capacity // n_envs * n_envs
        self._rows = torch.zeros(self._capacity, sum(self._widths), device=device)
        self._offsets = torch.arange(n_envs, device=device)
        self._added = torch.zeros(1, dtype=torch.int64, device=device)

    def add(self, *columns: torch.Tensor) -> None:
        """Add a transition per environment, each column (n_envs, width) or (n_envs,)."""
        row = torch.cat([column.reshape(len(self._offsets), -1) for column in columns], dim=1)
        self._rows.index_copy_(0, (self._added + self._offsets) % self._capacity, row)
        self._added += len(self._offsets)

    def sample(self, batch_size: int, env: Any = None) -> ReplayBufferSamples:
        """Transitions drawn evenly, as Stable-Baselines3 wants them: normalised, if need be."""
        filled = self._added.clamp(max=self._capacity)
        share = torch.rand(batch_size, device=self._rows.device, dtype=torch.float64)
        rows = self._rows[(share * filled).long()]
        observations, following, actions, rewards, ends = torch.split(rows, self._widths, dim=1)
        if (normalizer := self._normalizer) is not None:
            observations, following = map(normalizer.observations, (observations, following))
            rewards = normalizer.rewards(rewards)
        return ReplayBufferSamples(observations, actions, following, ends, rewards)


@final
class Environments:
    """EnvPool without the checks and dictionaries that take it three times as long as its steps.

    Notes return and length of each episode.
    """

    def __init__(self, training: Training, n_envs: int) -> None:
        seeds = [training.seed + i for i in range(n_envs)]
        environment = training.environment
        self._pool = envpool_support.make_pool(environment.id, environment.kwargs, seeds, _THREADS)
        keys = self._pool._state_keys
        names = ("obs", "reward", "done", "trunc")
        self._places = [keys.index(name) for name in names]
        self._ids = np.arange(n_envs, dtype=np.int32)
        self._returns, self._lengths = np.zeros(n_envs), np.zeros(n_envs, dtype=np.int64)
        self.episodes: list[tuple[float, int]] = []

    def reset(self) -> Array:
        """First observations (n_envs, features)."""
        self._pool._reset(self._ids)
        observations: Array = self._pool._recv()[self._places[0]]
        return observations

    def send(self, actions: Array) -> None:
        """Begin a step with actions (n_envs, actions); returns at once."""
        self._pool._send([self._ids, self._ids, actions.astype(np.float64)])

    def receive(self) -> tuple[Array, Array, Array, Array, Array]:
        """What a step returned.

        Observations to act on, those that it ended with, rewards, and for each environment whether
        its episode terminated, and whether it ended at all.
        """
        state = self._pool._recv()
        following, rewards, done, truncated = (state[place] for place in self._places)
        self._returns += rewards
        self._lengths += 1
        observations = following
        if done.any():
            ids = self._ids[done]
            ended = zip(self._returns[ids].tolist(), self._lengths[ids].tolist(), strict=True)
            self.episodes += ended
            self._returns[ids], self._lengths[ids] = 0.0, 0
            # Left alone, EnvPool would spend the next step on the reset and ignore its action.
            self._pool._reset(ids)
            observations = following.copy()
            observations[ids] = self._pool._recv()[self._places[0]]
        return observations, following, rewards, done & ~truncated, done

    def write_log(self, file: Path) -> None:
        """Write the episodes as Stable-Baselines3's Monitor does."""
        lines = ["#{}", "r,l,t", *(f"{r:.6f},{length},0" for r, length in self.episodes)]
        write_file(file, "\n".join([*lines, ""]).encode())


@final
class Learner:
    """One agent in training: its environments on the processor, all else on the device."""

    def __init__(self, training: Training, run: Path, evaluators: ProcessPoolExecutor) -> None:
        self._training, self._evaluators = training, evaluators
        shutil.rmtree(run, ignore_errors=True)  # an interrupted training begins anew
        self._folder = TrainingFolder(run, training)
        self._folder.prepare(resume=False)
        with tempfile.TemporaryDirectory() as folder:
            self._model = model = make_model(training, Path(folder) / "0")
        model.set_logger(Logger(folder=None, output_formats=[]))
        for optimizer in (
            model.actor.optimizer,
            model.critic.optimizer,
            getattr(model, "ent_coef_optimizer", None),
        ):
            if optimizer is not None and model.device.type == "cuda":
                optimizer.param_groups[0]["capturable"] = True
        self._n = n = int(model.n_envs)
        self._environments = Environments(training, n)
        space = model.action_space
        features, actions = int(np.prod(model.observation_space.shape)), int(space.shape[0])
        self._sizes = [features, features, 1, 1, 1]
        device = model.device
        normalized = model.get_vec_normalize_env()
        self._normalizer = None if normalized is None else DeviceNormalizer(normalized, device)
        model.replay_buffer = DeviceReplay(
            training.buffer_size, features, actions, n, device, self._normalizer
        )
        self._low, self._high = (
            torch.tensor(bound, device=device) for bound in (space.low, space.high)
        )
        noise = training.hyperparameters.noise
        if noise is not None and noise[0] != "normal":
            raise SystemExit(f"{training.algorithm.name}: only normal noise is supported here")
        self._noise = 0.0 if noise is None else noise[1]
        # What crosses between host and device: one array in each direction.
        pin = device.type == "cuda"
        self._seen_host = torch.zeros(n, sum(self._sizes), pin_memory=pin)
        self._chosen_host = torch.zeros(n, actions, pin_memory=pin)
        self._seen = torch.zeros(n, sum(self._sizes), device=device)
        self._chosen = torch.zeros(n, actions, device=device)
        self._observation = torch.zeros(n, features, device=device)
        self._action = torch.zeros(n, actions, device=device)
        self._stream: Any = torch.cuda.Stream() if pin else None  # type: ignore[no-untyped-call]
        self._done: Any = torch.cuda.Event() if pin else None  # type: ignore[no-untyped-call]
        self._generator: Any = None
        if pin:
            self._generator = torch.cuda.default_generators[device.index or 0].clone_state()
            self._generator.manual_seed(training.seed)
        self._recorded: list[Callable[[], None]] = []
        self._gradient_steps = 0
        self._evaluations = Evaluations()
        self._pending: tuple[int, Future[EvaluationRecord], dict[str, torch.Tensor]] | None = None
        self.steps = 0
        self._observation.copy_(torch.as_tensor(self._environments.reset()))
        if self._normalizer is not None:
            self._normalizer.begin(self._observation)
        if pin:
            torch.cuda.synchronize()  # all of the above was made on another stream
        self._launch(self._explore)

    @property
    def turns_left(self) -> int:
        """How many more steps its environments take together."""
        return -(-(self._training.steps - self.steps) // self._n)

    def act(self) -> None:
        """Wait for the device, and let the environments take its actions."""
        if self._done is not None:
            self._done.synchronize()
        self._evaluate_if_due()
        self._environments.send(self._chosen_host.numpy())

    def learn(self) -> None:
        """Wait for the environments, and let the device learn from what they returned."""
        observations, following, *each = self._environments.receive()
        self.steps += self._n
        features = self._sizes[0]
        seen = self._seen_host.numpy()
        seen[:, :features], seen[:, features : 2 * features] = observations, following
        seen[:, 2 * features :] = np.stack(each, axis=1)
        waits = self._model.learning_starts
        if self.steps < waits:
            self._launch(self._store, self._explore)
        elif self.steps <= waits:
            self._launch(self._store, self._follow)
        else:
            if not self._recorded:
                self._record()
            self._launch(self._recorded[self._gradient_steps % len(self._recorded)])
            self._gradient_steps += 1

    def finish(self, notes: dict[str, Any]) -> None:
        """Evaluate once more, and write down that the training is complete."""
        if self._done is not None:
            self._done.synchronize()
        if self._pending is None or self._pending[0] != self.steps:
            self._evaluate()
        self._take_evaluation()
        run = self._folder.path
        self._environments.write_log(run / "0.monitor.csv")
        write_file(run / ON_GPU, json.dumps({**notes, "steps": self.steps}).encode())
        self._folder.close()

    def __str__(self) -> str:
        best = self._evaluations.best_return
        return f"{self._training.algorithm.name}/{self._training.env_name} {self.steps} {best}"

    # What the device does in one turn.

    def _store(self) -> None:
        observations, following, rewards, ends, done = torch.split(self._seen, self._sizes, dim=1)
        self._model.replay_buffer.add(self._observation, following, self._action, rewards, ends)
        self._observation.copy_(observations)
        if self._normalizer is not None:
            self._normalizer.note(observations, rewards[:, 0], done[:, 0])

    def _explore(self) -> None:
        self._choose(torch.rand_like(self._action) * 2 - 1)

    def _train(self) -> None:
        self._model.train(gradient_steps=1, batch_size=self._model.batch_size)

    def _follow(self) -> None:
        observation = self._observation
        if self._normalizer is not None:
            observation = self._normalizer.observations(observation)
        with torch.no_grad():
            self._choose(self._model.actor._predict(observation))

    def _turn(self) -> None:
        self._store()
        self._train()
        self._follow()

    def _choose(self, action: torch.Tensor) -> None:
        """Note an action between -1 and 1, with noise, and scale it for the environment."""
        if self._noise:
            action = (action + torch.randn_like(action) * self._noise).clamp(-1, 1)
        self._action.copy_(action)
        self._chosen.copy_(self._low + 0.5 * (action + 1) * (self._high - self._low))

    # Starting that.

    def _launch(self, *work: Callable[[], None]) -> None:
        """Copy to the device, work there, and copy back; the host does not wait."""
        with ExitStack() as stack:
            if self._stream is not None:
                stack.enter_context(torch.cuda.stream(self._stream))
            self._seen.copy_(self._seen_host, non_blocking=True)
            for each in work:
                each()
            self._chosen_host.copy_(self._chosen, non_blocking=True)
            if self._done is not None:
                self._done.record(self._stream)

    def _record(self) -> None:
        """Record the turn as CUDA graphs: one for each step of a delayed policy's cycle."""
        if self._stream is None:
            self._recorded = [self._turn]
            return
        with torch.cuda.stream(self._stream), _no_host(), self._own_generator():
            for _ in range(_WARM_UP):
                self._train()
        self._stream.synchronize()
        self._model._n_updates = 0
        for _ in range(getattr(self._model, "policy_delay", 1)):
            graph = torch.cuda.CUDAGraph()
            with _no_host(), self._own_generator(), torch.cuda.graph(graph, stream=self._stream):
                self._turn()
            self._recorded.append(graph.replay)

    @contextmanager
    def _own_generator(self) -> Iterator[None]:
        """Draw from a generator of this agent's own: two streams must not share one."""
        default = torch.cuda.default_generators[self._model.device.index or 0]
        before = default.graphsafe_get_state()
        default.graphsafe_set_state(self._generator)
        try:
            yield
        finally:
            default.graphsafe_set_state(before)

    # Evaluation.

    def _evaluate_if_due(self) -> None:
        total, count = self._training.steps, self._training.config.evaluations
        before = max(0, self.steps - self._n)
        if self.steps * count // total > before * count // total:
            self._evaluate()

    def _evaluate(self) -> None:
        """Send the policy as it is now to be evaluated, after taking the last evaluation."""
        self._take_evaluation()
        model = self._model
        weights = {
            name: value.detach().cpu().clone()
            for name, value in model.policy.state_dict().items()
            if not name.startswith(("actor_target", "critic_target"))
        }
        if self._normalizer is not None:
            statistics = self._normalizer.state()
            set_statistics(model.get_vec_normalize_env(), statistics)
            weights |= statistics
        played = self._evaluators.submit(
            evaluated,
            FORMATS.get("onnx").write(network_of(model, self._training.algorithm)),
            self._training.environment.id,
            dict(self._training.environment.kwargs),
            self._training.config.eval_episodes,
        )
        self._pending = (self.steps, played, weights)

    def _take_evaluation(self) -> None:
        if self._pending is None:
            return
        steps, played, weights = self._pending
        self._pending = None
        if self._evaluations.add(steps, played.result(), may_be_best=True):
            torch.save(weights, self._folder.path / _WEIGHTS)
        self._folder.save_evaluations(self._evaluations)


def evaluated(
    content: bytes, env_id: str, env_kwargs: Mapping[str, Any], episodes: int
) -> EvaluationRecord:
    """Evaluate a policy as it would be deployed, as `train` does."""
    network, _ = FORMATS.get("onnx").read(content)
    environment = Environment.find(env_id, env_kwargs)
    return play(load_network(network), environment, episodes=episodes, seed=EVALUATION_SEED)


@contextmanager
def _no_host() -> Iterator[None]:
    """Keep `train` from asking the device for its losses, which it does only to log them."""
    with patch.object(torch.Tensor, "item", lambda self: 0.0):
        yield


def train_together(trainings: Sequence[Training], runs: Sequence[Path], seconds: float) -> None:
    """Train all agents at once until they have their steps, or for so many seconds."""
    start = time.perf_counter()
    torch.distributions.Distribution.set_default_validate_args(False)  # it would ask the device
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(_EVALUATORS, mp_context=context) as evaluators:
        learners = [
            Learner(training, run, evaluators)
            for training, run in zip(trainings, runs, strict=True)
        ]
        told = -math.inf
        while active := [one for one in learners if one.turns_left > 0]:
            turns = min(_TURNS, *(one.turns_left for one in active))
            count, half = len(active), len(active) // 2
            # While the device works for one half of the agents, the others' environments step.
            for number in range(turns * count + half):
                if number < turns * count:
                    active[number % count].act()
                if number >= half:
                    active[(number - half) % count].learn()
            took = time.perf_counter() - start
            if took > told + _TELL_SECONDS or took > seconds:
                told = took
                print(f"{took:.0f} s: {', '.join(str(one) for one in learners)}", flush=True)
            if took > seconds:
                break
        notes = {
            "host": to_json(host_facts()),
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
            "agents": len(learners),
            "seconds": round(time.perf_counter() - start, 1),
        }
        for one in learners:
            one.finish(notes)


def write_model(training: Training, run: Path) -> None:
    """Write the best policy and its critic as Stable-Baselines3 does; its targets equal them."""
    weights = torch.load(run / _WEIGHTS, weights_only=True)
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(training, Path(folder) / "0")
    set_statistics(model.get_vec_normalize_env(), weights)
    names = model.policy.state_dict()
    model.policy.load_state_dict({name: weights[name.replace("_target.", ".")] for name in names})
    with closing(TrainingFolder(run, training)) as output:
        output.prepare(resume=True)
        output.save_model(model, BEST)
    model.env.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("study", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("out/paper-trained"))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--seconds", type=float, default=math.inf, help="end all trainings then")
    parser.add_argument("--train-only", action="store_true", help="keep them in a later run")
    arguments = parser.parse_args()
    tasks = read_study(arguments.study).trainings
    runs = [
        (task, place_of(arguments.runs, task))
        for task in tasks
        if not find_algorithm(task.algorithm).on_policy
        and steps_of(place_of(arguments.output, task)) < task.steps
    ]
    todo = [(task, run) for task, run in runs if not (run / ON_GPU).is_file()]
    if todo:
        train_together(
            [resolve(config_of(task, arguments.device)) for task, _ in todo],
            [run for _, run in todo],
            arguments.seconds,
        )
    if arguments.train_only:
        return
    arguments.output.mkdir(parents=True, exist_ok=True)
    for task, run in runs:
        print(f"{time.strftime('%H:%M:%S')} {task.name}", flush=True)
        write_model(resolve(config_of(task)), run)
        keep(task, run, arguments.output)
        text = page(arguments.output, tasks)
        (arguments.output / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
