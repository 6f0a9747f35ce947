"""The source that reads the checkpoints of other trainers: weights under the names of their layers.

A trainer is recognised by these names. What its files do not hold, the activation above all, is
what the trainer always uses, or its default, or has to be given. Pickles are read by a reader that
executes nothing.
"""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np

from squeezerl.agents import chain as steps
from squeezerl.agents.chain import Chain, network_of
from squeezerl.agents.inert_pickle import NUMPY_NAMES, Inert, array_of
from squeezerl.agents.load import (
    SOURCES,
    Agent,
    Source,
    exported_source,
    read_limited,
    reading,
    refuse_normalizer,
    zip_names,
)
from squeezerl.agents.sources.stable_baselines3.metadata import (
    DISCRETE,
    BoxSpace,
    CheckpointMetadata,
    DiscreteSpace,
    discrete_space,
)
from squeezerl.agents.sources.stable_baselines3.network import build_network, build_sampled
from squeezerl.agents.torch_file import (
    ORDERED_DICT,
    TENSOR_NAMES,
    Array,
    State,
    TorchArchive,
    checked,
    is_tensor,
    read_linear,
    read_sequential,
)
from squeezerl.errors import (
    CheckpointError,
    NetworkError,
    SqueezeRLWarning,
    UnsupportedPolicyError,
)
from squeezerl.network.network import Network, Sampling, as_float

# What checkpoints name beside tensors. Each becomes a record that does nothing.
_ALLOWED = re.compile(
    rf"{TENSOR_NAMES}|{NUMPY_NAMES}"
    r"|torch\.(device|Size|float32|float64|_utils\._rebuild_parameter)"
    r"|(torch\.nn\.modules|gymnasium\.spaces|gym\.spaces)\.[\w.]+"
    r"|collections\.(defaultdict|deque)|pathlib\.\w+|datetime\.\w+"
    r"|(builtins|__builtin__)\.(set|getattr|int|float|str|dict|list)"
)
_WRAPPED = ("_orig_mod.", "module.")  # by torch.compile and data parallel training
_RSL_RL_NORMALIZER = "obs_norm_state_dict"
_RL_GAMES_NORMALIZER = "running_mean_std"  # beside the model until version 1.1, part of it since
# skrl's policy sees the states until version 1, and the observations since version 2, in which the
# states are what the critic sees.
_SKRL_NORMALIZERS = ("observation_preprocessor", "state_preprocessor")
# The normalisers that stand beside a model, and those among them that are not the policy's.
_BESIDE = (
    *(_RSL_RL_NORMALIZER, "critic_obs_norm_state_dict", "privileged_obs_norm_state_dict"),
    *(_RL_GAMES_NORMALIZER, "reward_mean_std", "value_mean_std"),
    *(*_SKRL_NORMALIZERS, "value_preprocessor"),
    *("amp_observation_preprocessor", "amp_state_preprocessor"),
)
_RSL_RL_EPS = 1e-2  # of its EmpiricalNormalization, added to the standard deviation
_CLIP = 5.0  # of the normalised observations in rl_games and skrl


@final
class Checkpoint(Source):
    """Reads the multilayer perceptrons of rsl_rl, CleanRL, rl_games, skrl and `policy.save()`."""

    kind = "checkpoint"
    takes = "a file of torch.save or safetensors of rsl_rl, CleanRL, rl_games, skrl or SB3's policy"
    takes_activation = True

    def recognises(self, path: Path) -> bool:
        """See `Source`."""
        if not path.is_file():
            return False
        if path.suffix == ".safetensors":
            return True
        names = zip_names(path) or []
        return any(name.endswith("/data.pkl") for name in names) and not any(
            name.endswith("/constants.pkl") for name in names
        )

    def load(
        self, path: Path, *, normalizer: Path | None = None, activation: str | None = None
    ) -> Agent:
        """See `Source`; `activation` is the text of an `Activation`."""
        refuse_normalizer(path, normalizer)
        content = read_limited(path)
        with reading(path, damaged="damaged, or no file of weights ({}); nothing was executed"):
            found = _read(content, path.suffix == ".safetensors", activation)
        source = exported_source(self.kind, path, found.activation_from, algorithm=found.algorithm)
        return Agent(found.network, source, found.sampled)


SOURCES.register(Checkpoint.kind, Checkpoint())


@dataclass(frozen=True)
class _Found:
    network: Network
    sampled: Network | None = None
    algorithm: str = ""
    activation_from: str | None = None


def _read(content: bytes, is_safetensors: bool, activation: str | None) -> _Found:
    if is_safetensors:
        from safetensors.numpy import load

        try:
            state = load(content)
        except KeyError as error:  # the type, which NumPy does not have
            raise UnsupportedPolicyError(
                f"tensors of the type {str(error.args[0])[:20]}; save them as 32-bit floats"
            ) from error
        return _of_state(_by_number(_unwrapped(state)), {}, activation)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(member.file_size for member in archive.infolist()) > len(content):
            raise CheckpointError("claims to unpack to more than itself; a possible zip bomb")
        records = TorchArchive(archive)
        root = records.records("data.pkl", _ALLOWED, "a checkpoint", any_class=True)
        return _of_records(records, root, activation)


def _mapping(record: Any) -> Mapping[Any, Any] | None:
    """A record that is a dictionary, as one; `None` for any other."""
    if isinstance(record, Inert) and record.name == ORDERED_DICT:
        return record.items
    return record if isinstance(record, dict) else None


def _state(archive: TorchArchive, record: Any) -> dict[str, Array]:
    """The tensors in a record that is a dictionary, by their names; empty for any other record."""
    found = {}
    for name, item in (_mapping(record) or {}).items():
        if isinstance(item, Inert) and item.name == "torch._utils._rebuild_parameter":
            item = item.arguments[0]
        if isinstance(name, str) and is_tensor(item):
            found[name] = archive.tensor(item, name)
    return _unwrapped(found)


def _unwrapped(state: Mapping[str, Array]) -> dict[str, Array]:
    for prefix in _WRAPPED:
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): array for name, array in state.items()}
    return dict(state)


def _by_number(state: State) -> dict[str, Array]:
    """The tensors of a file that holds no order, in that of the numbers in their names.

    Raises:
        UnsupportedPolicyError: if the names of weights do not differ in one number alone, and no
            trainer is known that names them so.
    """
    if not any(layout.mark.search("\n".join(state)) for layout in _LAYOUTS if layout.has_names):
        places = {re.sub(r"\d+(?=\.weight$)", "#", name) for name in state if ".weight" in name}
        if len(places) > 1:
            named = ", ".join(repr(place[:60]) for place in sorted(places)[:3])
            raise UnsupportedPolicyError(
                f"a safetensors file holds no order, and its names ({named}) do not tell it: name "
                "the layers 0.weight, 0.bias, 1.weight, ..., or save the weights with torch.save"
            )
    numbers = {name: [int(n) for n in re.findall(r"\d+", name)] for name in state}
    return {name: state[name] for name in sorted(state, key=lambda name: numbers[name])}


def _of_records(archive: TorchArchive, root: Any, activation: str | None) -> _Found:
    if isinstance(root, tuple | list) and root:  # CleanRL's actor and critics
        root = root[0]
    given = _mapping(root) or {}
    if "state_dict" in given and "data" in given:
        return _stable_baselines3(_state(archive, given["state_dict"]), given["data"], activation)
    unknown = [
        key
        for key in given
        if re.search(r"norm|(^|_)rms|mean_std|preproc", str(key)) and key not in _BESIDE
    ]
    if unknown:
        raise UnsupportedPolicyError(
            f"it holds {str(unknown[0])[:60]!r}, perhaps a normaliser, of no known trainer"
        )
    for name in ("actor_state_dict", "model_state_dict", "model", "policy"):
        if state := _state(archive, given.get(name)):
            others = {key: _state(archive, given.get(key)) for key in _BESIDE}
            return _of_state(state, {key: held for key, held in others.items() if held}, activation)
    return _of_state(_state(archive, root), {}, activation)


def _of_state(state: State, others: Mapping[str, State], activation: str | None) -> _Found:
    """The policy in a state dict.

    Args:
        state: the actor's tensors, perhaps among others.
        others: state dicts that stood beside it, by their names.
        activation: as the caller gave it.
    """
    for layout in _LAYOUTS:
        if layout.mark.search("\n".join(state)):
            if layout.activation is None and activation is None:
                raise UnsupportedPolicyError(
                    f"a checkpoint of {layout.trainer}, which does not say which activation stands "
                    "between its layers: name it as `activation`, for example elu"
                )
            _refuse_others(state, layout)
            chosen = activation or layout.activation
            found = layout.read(state, others, str(chosen))
            origin = f"the default of {layout.trainer}; the file names none"
            return replace(
                found,
                algorithm=found.algorithm or layout.algorithm,
                activation_from=origin if activation is None else "what was given",
            )
    if not state:
        raise UnsupportedPolicyError(
            "it holds no mapping of names to tensors; a whole module of torch.save is code, and is "
            "not read: save its state_dict()"
        )
    names = ", ".join(repr(name[:60]) for name in list(state)[:4])
    if activation is None:
        raise UnsupportedPolicyError(
            f"its layers ({names}, ...) are those of no known trainer; layers one after the other "
            "are read all the same if you name the activation between them as `activation`"
        )
    return _one_after_the_other(state, {}, activation)


def _refuse_others(state: State, layout: _Layout) -> None:
    for name in state:
        if not layout.known.match(name):
            raise UnsupportedPolicyError(
                f"a checkpoint of {layout.trainer} with {name[:80]!r}, which is not part of a "
                "plain multilayer perceptron"
            )


def _layers(value: Chain, layers: Iterable[Any], prefix: str) -> Chain:
    for index, layer in enumerate(layers):
        place = f"layer {index} of {prefix}"
        value = steps.linear(value, as_float(layer.weight), as_float(layer.bias), place)
        if layer.activation is not None:
            value = steps.activate(value, layer.activation, place)
    return value


def _sequential(value: Chain, state: State, prefix: str, activation: str) -> Chain:
    """Layers of a Sequential, of which the last is linear."""
    return _layers(value, read_sequential(state, prefix, activation, ends_linear=True), prefix)


def _scaled(
    value: Chain, state: State, mean: str, deviation: str, eps: float, clip: float | None
) -> Chain:
    """(value - mean) / (deviation + eps), clipped; `value` itself if the state has no mean."""
    if mean not in state:
        return value
    center, spread = state[mean], np.asarray(state[deviation], np.float64) + eps
    if not (np.isfinite(spread).all() and (spread > 0).all()):
        raise CheckpointError(f"{deviation!r} has numbers that are no deviations")
    moved = steps.arithmetic("sub", value, center, mean)
    scaled = steps.arithmetic("div", moved, spread, deviation)
    if clip is not None:
        scaled = steps.clip(scaled, np.asarray(-clip), np.asarray(clip), deviation)
    assert isinstance(scaled, Chain)
    return scaled


def _variance_scaled(
    value: Chain, state: State, mean: str, variance: str, *, inside: float, outside: float
) -> Chain:
    """The same from a variance: its root with `inside` added before, and `outside` behind."""
    if mean not in state:
        return value
    root = np.sqrt(np.asarray(state[variance], np.float64) + inside)
    return _scaled(value, {**state, "deviation": root}, mean, "deviation", outside, _CLIP)


_OBSERVATION = Chain("observation")


def _drawn(network: Network, deviation: Array | None) -> Network | None:
    """The network that draws its actions around its own; `None` if the file does not say how."""
    if deviation is None:
        return None
    flat = np.asarray(deviation, np.float32).reshape(-1)
    try:
        head = replace(network.head, sampling=Sampling(deviation=flat))
        return network.replace(head=head)
    except NetworkError:
        return None


def _gaussian(value: Chain, state: State, name: str, *, is_logarithm: bool) -> _Found:
    """The mean as action, and around it the deviation of that name."""
    network = network_of(value)
    deviation = checked(state, name) if name in state else None
    if deviation is not None and is_logarithm:
        with np.errstate(over="ignore"):
            deviation = np.exp(deviation)
    return _Found(network, _drawn(network, deviation))


def _choice(value: Chain) -> _Found:
    network = network_of(steps.part(value, "Argmax", "the choice"))
    drawn = network.replace(head=replace(network.head, sampling=Sampling()))
    return _Found(network, drawn)


def _rsl_rl(state: State, others: Mapping[str, State], activation: str) -> _Found:
    value = _OBSERVATION
    normalizer = others.get(_RSL_RL_NORMALIZER)
    if normalizer is not None:
        value = _scaled(value, normalizer, "_mean", "_std", _RSL_RL_EPS, None)
    for place in ("actor_obs_normalizer", "obs_normalizer"):
        value = _scaled(value, state, f"{place}._mean", f"{place}._std", _RSL_RL_EPS, None)
    prefix = "mlp" if "mlp.0.weight" in state else "actor"
    value = _sequential(value, state, prefix, activation)
    names = [n for n in state if n in ("std", "log_std") or n.startswith("distribution.")]
    name = names[0] if names else "std"
    if not names:
        warnings.warn(
            "the file holds no deviation of the actions; if this depends on the observation, the "
            "second half of the outputs is no action: export the policy as ONNX instead",
            SqueezeRLWarning,
            stacklevel=6,
        )
    return _gaussian(value, state, name, is_logarithm="log_std" in name)


def _cleanrl_ppo(state: State, others: Mapping[str, State], activation: str) -> _Found:
    value = _sequential(_OBSERVATION, state, "actor_mean", activation)
    return _gaussian(value, state, "actor_logstd", is_logarithm=True)


def _cleanrl_choice(state: State, others: Mapping[str, State], activation: str) -> _Found:
    return _choice(_sequential(_OBSERVATION, state, "actor", activation))


def _cleanrl_dqn(state: State, others: Mapping[str, State], activation: str) -> _Found:
    prefix = "q_network" if "q_network.0.weight" in state else "network"
    return replace(_choice(_sequential(_OBSERVATION, state, prefix, activation)), sampled=None)


def _cleanrl_squashed(state: State, others: Mapping[str, State], activation: str) -> _Found:
    names = [name for name in ("fc_mean", "fc_mu") if f"{name}.weight" in state]
    hidden = sorted(
        int(match[1]) for name in state if (match := re.fullmatch(r"fc(\d+)\.weight", name))
    )
    if hidden != [*range(1, len(hidden) + 1)]:
        raise CheckpointError(f"layers are missing: only {hidden[:9]} of fc are there")
    layers = [read_linear(state, f"fc{index}", activation) for index in hidden]
    value = _layers(_OBSERVATION, [*layers, read_linear(state, names[0], None)], "fc")
    value = steps.activate(value, "Tanh", names[0])
    scaled = steps.arithmetic("mul", value, checked(state, "action_scale"), "action_scale")
    return _Found(
        network_of(steps.arithmetic("add", scaled, checked(state, "action_bias"), "action_bias")),
        algorithm="sac" if names[0] == "fc_mean" else "",
    )


def _rl_games(state: State, others: Mapping[str, State], activation: str) -> _Found:
    beside = others.get(_RL_GAMES_NORMALIZER, {})
    statistics = {f"{_RL_GAMES_NORMALIZER}.{name}": array for name, array in beside.items()}
    value = _variance_scaled(
        _OBSERVATION,
        {**statistics, **state},
        f"{_RL_GAMES_NORMALIZER}.running_mean",
        f"{_RL_GAMES_NORMALIZER}.running_var",
        inside=1e-5,
        outside=0.0,
    )
    prefix = "a2c_network.actor_mlp"
    value = _layers(value, read_sequential(state, prefix, activation), prefix)
    if "a2c_network.logits.weight" in state:
        return _choice(_layers(value, [read_linear(state, "a2c_network.logits", None)], "logits"))
    value = _layers(value, [read_linear(state, "a2c_network.mu", None)], "mu")
    return _gaussian(value, state, "a2c_network.sigma", is_logarithm=True)


def _skrl(state: State, others: Mapping[str, State], activation: str) -> _Found:
    value = _OBSERVATION
    preprocessor = next((others[name] for name in _SKRL_NORMALIZERS if name in others), {})
    value = _variance_scaled(
        value, preprocessor, "running_mean", "running_variance", inside=0.0, outside=1e-8
    )
    actor = {n: a for n, a in state.items() if not n.startswith(("value", "log_std_parameter"))}
    found = _one_after_the_other(actor, {}, activation, value)
    deviation = state.get("log_std_parameter")
    if deviation is None:
        return found
    drawn = _drawn(found.network, np.exp(checked(state, "log_std_parameter")))
    return replace(found, sampled=drawn)


def _one_after_the_other(
    state: State, others: Mapping[str, State], activation: str, value: Chain = _OBSERVATION
) -> _Found:
    """Linear layers in the order in which they stand, an activation between any two of them."""
    names = [name.removesuffix(".weight") for name in state if name.endswith(".weight")]
    extra = {*state} - {f"{name}.{part}" for name in names for part in ("weight", "bias")}
    if extra or not names:
        raise UnsupportedPolicyError(
            f"{sorted(extra)[0][:80] if extra else 'nothing'!r} is no part of linear layers that "
            "stand one after the other"
        )
    for name in names:
        after = None if name == names[-1] else activation
        value = _layers(value, [read_linear(state, name, after)], name)
    warnings.warn(
        f"nothing in the file says what stands behind {names[-1][:80]!r}: its outputs are taken as "
        "the actions; if a tanh or a factor follows in the trainer's code, export the policy as "
        "ONNX or TorchScript instead",
        SqueezeRLWarning,
        stacklevel=6,
    )
    return _Found(network_of(value))


@dataclass(frozen=True)
class _Layout:
    """How one trainer names its tensors.

    Args:
        trainer: its name.
        mark: is found in the names, one a line, if they are of that trainer.
        known: matches the beginnings of names that such a policy can have.
        read: makes the policy, from the tensors, what stood beside them, and the activation.
        activation: the one that it uses; `None` if that is chosen for each training.
        algorithm: in lower case; "" if it has several.
        has_names: the names say which layer is which; where not, their order does.
    """

    trainer: str
    mark: re.Pattern[str]
    known: re.Pattern[str]
    read: Callable[[State, Mapping[str, State], str], _Found]
    activation: str | None = None
    algorithm: str = ""
    has_names: bool = True


def _layout(trainer: str, mark: str, known: str, *parts: Any) -> _Layout:
    return _Layout(trainer, re.compile(mark, re.MULTILINE), re.compile(known), *parts)


_LAYOUTS = (
    _layout(
        "CleanRL's PPO",
        r"^actor_logstd$",
        r"(actor_mean|critic)\.\d|actor_logstd$",
        _cleanrl_ppo,
        "Tanh",
        "ppo",
    ),
    _layout(
        "CleanRL's SAC, TD3 and DDPG",
        r"^fc_(mean|mu)\.weight$",
        r"fc\d+\.|fc_(mean|mu|logstd)\.|action_(scale|bias)$",
        _cleanrl_squashed,
        "ReLU",
    ),
    _layout(
        "CleanRL's DQN",
        r"^(q_)?network\.0\.weight$",
        r"(q_)?network\.",
        _cleanrl_dqn,
        "ReLU",
        "dqn",
    ),
    _layout(
        "rl_games",
        r"^a2c_network\.actor_mlp\.0\.weight$",
        r"a2c_network\.(actor_mlp\.|critic_mlp\.|value\.|mu\.|sigma|logits\.)"
        r"|(running|value|reward)_mean_std\.",
        _rl_games,
    ),
    _layout(
        "rsl_rl",
        r"^(std|log_std|distribution\.(log_)?std_param|(actor_)?obs_normalizer\._mean)$",
        r"(actor|critic|mlp)\.\d|(log_)?std$|distribution\.(log_)?std_param$"
        r"|((actor|critic)_)?obs_normalizer\.",
        _rsl_rl,
        "ELU",
        "ppo",
    ),
    _layout(
        "CleanRL's PPO",
        r"^critic\.0\.weight$",
        r"(actor|critic)\.\d",
        _cleanrl_choice,
        "Tanh",
        "ppo",
    ),
    _layout("skrl", r"^(log_std_parameter|policy_layer\.weight)$", r".", _skrl, None, "", False),
)


# The parts of names that Stable-Baselines3's families have.
_FAMILIES = {
    "mlp_extractor.": "actor-critic",
    "actor.latent_pi.": "sac",
    "actor.mu.": "td3",
    "q_net.q_net.": "dqn",
}


def _stable_baselines3(state: State, record: Any, activation: str | None) -> _Found:
    """A policy of `policy.save()`, which has its spaces and settings beside the weights."""
    data = _mapping(record) or {}
    marks = "\n".join(state)
    family = next((kind for mark, kind in _FAMILIES.items() if mark in marks), None)
    if family is None:
        family = "actor-critic" if "action_net.weight" in state else None
    observations, actions = (_space(data.get(f"{x}_space")) for x in ("observation", "action"))
    if family is None or not isinstance(observations, BoxSpace) or data.get("use_sde"):
        raise UnsupportedPolicyError(
            "a policy of Stable-Baselines3 that is no plain multilayer perceptron over a box, or "
            "uses gSDE"
        )
    named = getattr(data.get("activation_fn"), "name", None)
    chosen = named.rpartition(".")[2] if named else None
    default = "Tanh" if family == "actor-critic" else "ReLU"
    metadata = CheckpointMetadata(
        family=family,
        algorithm="sac" if family == "sac" else "dqn" if family == "dqn" else "",
        observation_space=observations,
        action_space=actions,
        activation=activation or chosen or default,
        is_squashed=family != "actor-critic",
        clip_mean=None,
    )
    network = build_network(metadata, state, None)
    origin = "the settings in the file" if chosen else "the default of the policy's class"
    return _Found(
        network,
        build_sampled(metadata, state, network),
        metadata.algorithm,
        "what was given" if activation else origin,
    )


def _space(record: Any) -> BoxSpace | DiscreteSpace:
    kind = record.name.rpartition(".")[2] if isinstance(record, Inert) else type(record).__name__
    held = _mapping(record.state) if isinstance(record, Inert) else None
    if kind in DISCRETE and held is not None:
        return discrete_space(kind, held, "stored")
    if kind != "Box" or held is None:
        raise UnsupportedPolicyError(f"a space of the kind {kind[:40]}; boxes are supported")
    low, high = (array_of(held[end]).astype(np.float32) for end in ("low", "high"))
    shape = tuple(int(n) for n in low.shape)
    if low.shape != high.shape or len(shape) > 1:
        raise UnsupportedPolicyError("a space of several dimensions")
    return BoxSpace(shape, str(low.dtype), low.ravel(), high.ravel())
