"""A checkpoint's metadata, read as JSON; the pickles embedded in it are never opened."""

from __future__ import annotations

import ast
import base64
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from squeezerl.agents.inert_pickle import NUMPY_NAMES, Inert, InertUnpickler, array_of
from squeezerl.errors import CheckpointError, NetworkError, UnsupportedPolicyError
from squeezerl.network.activations import ACTIVATIONS, Activation
from squeezerl.network.network import Part, parts_of
from squeezerl.records import known_steps

Normalized = Literal["observations", "something", "nothing", "unknown"]

# The module of the policy class → the family that decides how its weights are named.
_FAMILIES = {
    "stable_baselines3.common.policies": "actor-critic",
    "stable_baselines3.sac.policies": "sac",
    "stable_baselines3.td3.policies": "td3",
    "stable_baselines3.dqn.policies": "dqn",
    "sb3_contrib.tqc.policies": "tqc",
    "sb3_contrib.qrdqn.policies": "qrdqn",
    "sb3_contrib.ars.policies": "ars",
}
DISCRETE = ("Discrete", "MultiDiscrete", "MultiBinary")
_MOST_ACTIONS = 1_000_000
_ACTIVATIONS = "torch.nn.modules.activation."
_PARTIAL = re.compile(r"functools\.partial\((<class '[\w.]+'>)(.{0,200})\)", re.DOTALL)
_ANY_NAME = re.compile(".*", re.DOTALL)  # a space may be of a class of one's own
_NUMPY = re.compile(NUMPY_NAMES)
_EPISODES = re.compile(rf"collections\.deque|{NUMPY_NAMES}")
_GOAL_PARTS = ("observation", "desired_goal")
_LONGEST_NAME = 100
_UNREADABLE = (CheckpointError, LookupError, TypeError, ValueError, AttributeError)
# A text with so many digits was not shortened by the precision that people set.
_WHOLE_DIGITS = 6
_EXTRACTORS = "stable_baselines3.common.torch_layers."
_UNSUPPORTED = {
    "sb3_contrib.common.recurrent.policies": "recurrent policies (RecurrentPPO)",
    "sb3_contrib.common.maskable.policies": "maskable policies (MaskablePPO)",
    "sb3_contrib.crossq.policies": "CrossQ policies (batch renormalisation)",
}


@dataclass(frozen=True)
class BoxSpace:
    """Arrays of `shape`, between `low` and `high` (flattened)."""

    shape: tuple[int, ...]
    dtype: str
    low: npt.NDArray[np.float32]
    high: npt.NDArray[np.float32]


@dataclass(frozen=True)
class DiscreteSpace:
    """One choice of so many actions, or several (`MultiDiscrete`, `MultiBinary`: of two each)."""

    counts: tuple[int, ...]
    kind: str = "Discrete"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one action."""
        return () if self.kind == "Discrete" else (len(self.counts),)

    @property
    def outputs(self) -> int:
        """How many outputs a policy has: one per action, or one per yes-or-no choice."""
        return len(self.counts) if self.kind == "MultiBinary" else sum(self.counts)


@dataclass(frozen=True)
class CheckpointMetadata:
    """What the metadata says of the policy.

    Args:
        family: of policies, which decides how weights are named.
        algorithm: in lower case.
        observation_space: that of the policy.
        action_space: that of the policy.
        activation: as `Layer` has it; of a PReLU only the name.
        is_squashed: whether a tanh bounds continuous actions.
        clip_mean: bound of a gSDE actor's mean before the tanh.
        has_images: whether observations are images, which Stable-Baselines3 turns channels first.
        is_image: whether the policy divides observations by 255 first.
        normalized: by a VecNormalize in training: observations, something (perhaps only rewards),
            nothing, or unknown.
        activation_is_default: whether the activation is that of the policy class, unnamed.
        training_returns: of the last episodes in training, which were not deterministic.
        training_steps: how many steps of the environment the training took, if that is known.
        parts: the entries of a dict observation, which stand behind each other.
    """

    family: str
    algorithm: str
    observation_space: BoxSpace
    action_space: BoxSpace | DiscreteSpace
    activation: str | None
    is_squashed: bool
    clip_mean: float | None
    has_images: bool = False
    is_image: bool = False
    normalized: Normalized = "unknown"
    activation_is_default: bool = False
    training_returns: tuple[float, ...] = ()
    training_steps: int | None = None
    parts: tuple[Part, ...] = ()


def parse_metadata(content: bytes) -> CheckpointMetadata:
    """Read the `data` member of a checkpoint.

    Raises:
        CheckpointError: if it is not what Stable-Baselines3 writes.
        UnsupportedPolicyError: for image, recurrent and custom policies.
    """
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"the metadata is not valid JSON ({error})") from error
    if not isinstance(data, dict) or not isinstance(data.get("policy_class"), dict):
        raise CheckpointError("the metadata names no policy class")
    module = str(data["policy_class"].get("__module__"))
    if module.startswith("sbx."):
        raise UnsupportedPolicyError(
            "an agent of SBX (JAX): its weights lie in a pickle of the whole policy and its code, "
            "which is not run. In Python with SBX, save the actor's kernels, transposed, and its "
            "biases as 0.weight, 0.bias, 1.weight, ... in a .safetensors file, and name the "
            "activation when you load that"
        )
    if module in _UNSUPPORTED:
        raise UnsupportedPolicyError(f"{_UNSUPPORTED[module]} are not supported yet")
    if module not in _FAMILIES:
        raise UnsupportedPolicyError(
            f"the policy class is defined in {module!r}; only the MLP policies of "
            "Stable-Baselines3 and sb3-contrib are supported"
        )
    family = _FAMILIES[module]
    kwargs = data.get("policy_kwargs")
    kwargs = kwargs if isinstance(kwargs, dict) else {}
    default_activation = "Tanh" if family == "actor-critic" else "ReLU"
    use_sde = bool(data.get("use_sde") or kwargs.get("use_sde"))
    observation_space, parts = _observations(data)
    _check_features(kwargs, is_dict=_is_dict(data.get("observation_space")))
    last, original = (_stored_array(data.get(f"_last_{x}obs")) for x in ("", "original_"))
    return CheckpointMetadata(
        family=family,
        algorithm=_algorithm(family, data, kwargs),
        observation_space=observation_space,
        action_space=parse_space(data.get("action_space"), "action"),
        activation=_activation(kwargs.get("activation_fn"), default_activation),
        is_squashed=_is_squashed(family, data["policy_class"], kwargs, use_sde),
        clip_mean=_clip_mean(kwargs) if use_sde else None,
        has_images=is_image(observation_space),
        is_image=is_image(observation_space) and kwargs.get("normalize_images") is not False,
        normalized=_normalized(family, last, original, observation_space),
        activation_is_default=kwargs.get("activation_fn") is None,
        training_returns=_training_returns(data),
        training_steps=known_steps(data.get("num_timesteps")),
        parts=parts,
    )


def _observations(data: dict[str, Any]) -> tuple[BoxSpace, tuple[Part, ...]]:
    """The space of flat observations, and the entries of the dict that it was made of, if any."""
    if _is_dict(data.get("observation_space")):
        return _dict_space(data["observation_space"])
    space = parse_space(data.get("observation_space"), "observation")
    if isinstance(space, DiscreteSpace):
        raise UnsupportedPolicyError(f"{space.kind} observations are not supported yet")
    if "n_sampled_goal" not in data or "model_class" not in data:
        return space, ()
    # The class HER, before Stable-Baselines3 1.1, gave its policy two entries of a dict.
    seen = _entries(read_stored(data.get("_last_original_obs") or data.get("_last_obs"), _ANY_NAME))
    try:
        parts = parts_of((name, array_of(seen[name]).shape[1:]) for name in _GOAL_PARTS)
    except _UNREADABLE:
        parts = ()
    if not parts or parts[-1].stop != math.prod(space.shape):
        raise CheckpointError("the entries of the observations of HER cannot be read")
    return space, parts


def _is_dict(space: Any) -> bool:
    return isinstance(space, dict) and str(space.get(":type:")).endswith(".Dict'>")


def _entries(record: Any) -> dict[Any, Any]:
    """The entries of a pickled dict, ordered or not; none of anything else."""
    if isinstance(record, Inert):
        return record.items
    return record if isinstance(record, dict) else {}


def _dict_space(data: dict[str, Any]) -> tuple[BoxSpace, tuple[Part, ...]]:
    """All boxes of a dict behind each other, in the order in which its policies take them."""
    state = getattr(read_stored(data, _ANY_NAME), "state", None)
    spaces = _entries(state.get("spaces")) if isinstance(state, dict) else {}
    if not spaces:
        raise CheckpointError("the entries of the dict observation cannot be read")
    shapes, low, high = [], [], []
    for name, space in spaces.items():
        kind = getattr(space, "name", type(space).__name__).rpartition(".")[2]
        if kind != "Box" or not isinstance(space.state, dict):
            raise UnsupportedPolicyError(
                f"dict observations with an entry {str(name)[:40]!r} of the kind {kind[:40]}; "
                "boxes are supported"
            )
        try:
            ends = [array_of(space.state[end]) for end in ("low", "high")]
        except _UNREADABLE as error:
            raise CheckpointError(f"the box {str(name)[:40]!r} cannot be read") from error
        if ends[0].shape != ends[1].shape or not ends[0].size:
            raise CheckpointError(f"the box {str(name)[:40]!r} has no sound bounds")
        if not (isinstance(name, str) and name.isprintable() and len(name) <= _LONGEST_NAME):
            raise CheckpointError(f"a box has the name {str(name)[:40]!r}")
        if ends[0].ndim == 3 and ends[0].dtype == np.uint8:
            raise UnsupportedPolicyError(f"dict observations with images ({name[:40]!r})")
        shapes.append((name, ends[0].shape))
        with np.errstate(over="ignore"):
            low.append(ends[0].ravel().astype(np.float32))
            high.append(ends[1].ravel().astype(np.float32))
    parts = parts_of(shapes)
    size = parts[-1].stop
    if size > 1_000_000:
        raise CheckpointError(f"the observation space claims {size:,} features")
    return BoxSpace((size,), "float32", np.concatenate(low), np.concatenate(high)), parts


def is_image(space: BoxSpace) -> bool:
    """Stable-Baselines3's `is_image_space`."""
    is_bytes = len(space.shape) == 3 and space.dtype == "uint8"
    return is_bytes and bool((space.low == 0).all() and (space.high == 255).all())


def _check_features(kwargs: dict[str, Any], *, is_dict: bool) -> None:
    name = kwargs.get("features_extractor_class")
    plain = f"{_EXTRACTORS}{'Combined' if is_dict else 'Flatten'}Extractor"
    extractor = plain if name is None else _class_name(name)
    if extractor == f"{_EXTRACTORS}NatureCNN":
        raise UnsupportedPolicyError("CNN policies on images are not supported yet")
    if extractor != plain:
        raise UnsupportedPolicyError(
            f"the custom features extractor {extractor!r} is not supported"
        )


def _activation(text: Any, default: str) -> str | None:
    """`ReLU`, if it is torch's own: a class of that name from elsewhere may do anything.

    `functools.partial(<class '...LeakyReLU'>, 0.1)` is "LeakyReLU:0.1". Of a PReLU this is only the
    name: its slopes are among the weights.
    """
    if text is None:
        return default
    partial = _PARTIAL.fullmatch(str(text))
    name = _class_name(partial[1] if partial else text)
    if name == "torch.nn.modules.linear.Identity":
        return None
    if not name.startswith(_ACTIVATIONS):
        raise UnsupportedPolicyError(
            f"the custom activation {name!r} is not supported; supported are torch's own, as a "
            "class or as functools.partial(nn.LeakyReLU, 0.1)"
        )
    name = name.removeprefix(_ACTIVATIONS)
    values, keywords = _arguments(partial[2]) if partial else ((), {})
    keywords.pop("inplace", None)  # the same numbers in other memory
    if name == "PReLU":
        return name
    if name == "GELU" and [*values, *keywords.values()] == ["tanh"]:
        return "GELUTanh"
    if name == "GELU" and [*values, *keywords.values()] == ["none"]:
        return name
    if name == "ReLU6":
        return "Hardtanh:0:6"
    try:
        defaults = Activation(name).parameters
        names = ACTIVATIONS[name].defaults
        settings = dict(zip(names, defaults, strict=True))
        settings |= dict(zip(names, values, strict=False)) | keywords
        # What comes after the settings is `inplace`.
        if {*settings} != {*names} or not all(type(x) is bool for x in values[len(names) :]):
            raise NetworkError(f"the activation {_class_name(text)} has settings that are not read")
        return str(Activation(name, tuple(float(value) for value in settings.values())))
    except (NetworkError, TypeError, ValueError) as error:
        raise UnsupportedPolicyError(str(error)) from error


def _arguments(text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments in the text of a partial, which are numbers, words or truth values."""
    text = re.sub(r"np\.float\d+\(([^()]*)\)", r"\1", text)
    try:
        call = ast.parse(f"f({text.removeprefix(', ')})", mode="eval").body
        assert isinstance(call, ast.Call)
        values = tuple(ast.literal_eval(value) for value in call.args)
        keywords = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, ValueError, AssertionError, RecursionError, MemoryError) as error:
        raise UnsupportedPolicyError(
            f"the activation's settings cannot be read: {text[:80]!r}"
        ) from error
    return values, keywords


def _class_name(text: Any) -> str:
    """`a.b.C` from `<class 'a.b.C'>`, as JSON writes a class."""
    return str(text).removeprefix("<class '").removesuffix("'>")


def _clip_mean(kwargs: dict[str, Any]) -> float | None:
    """Bound of a gSDE actor's mean before the tanh (SAC and TQC; 2 unless set, 0 is none)."""
    value = kwargs.get("clip_mean", 2.0)
    if not isinstance(value, int | float):
        raise CheckpointError(f"clip_mean is {value!r}, not a number")
    return float(value) if value > 0 else None


def _algorithm(family: str, data: dict[str, Any], kwargs: dict[str, Any]) -> str:
    if family == "actor-critic":
        if "clip_range" in data:
            return "ppo"
        return "trpo" if "cg_max_steps" in data else "a2c"
    if family == "td3":
        return "ddpg" if kwargs.get("n_critics") == 1 and data.get("policy_delay") == 1 else "td3"
    return family


def _is_squashed(family: str, policy: Any, kwargs: dict[str, Any], use_sde: bool) -> bool:
    """Whether a tanh bounds the actions, which some policies are asked to do."""
    if family == "actor-critic":
        return use_sde and bool(kwargs.get("squash_output"))
    if family != "ars":
        return True
    # Linear policies of ARS clip unless they are told otherwise, the others squash.
    name = getattr(read_stored(policy, _ANY_NAME), "name", "")
    if name.rpartition(".")[2] not in ("ARSPolicy", "ARSLinearPolicy"):
        raise UnsupportedPolicyError(f"the ARS policy of the class {name[:80]!r}")
    return bool(kwargs.get("squash_output", not name.endswith("ARSLinearPolicy")))


def parse_space(data: Any, role: str) -> BoxSpace | DiscreteSpace:
    """A space from its entry in the checkpoint's metadata; `role` names it in errors."""
    if not isinstance(data, dict):
        raise CheckpointError(f"the metadata has no readable {role} space")
    kind = str(data.get(":type:", "")).removeprefix("<class '").removesuffix("'>")
    kind = kind.rpartition(".")[2]
    if kind in DISCRETE:
        state = getattr(read_stored(data, _ANY_NAME), "state", None)
        return discrete_space(kind, {**data, **state} if isinstance(state, dict) else data, role)
    if kind != "Box":
        raise UnsupportedPolicyError(
            f"{kind or 'unknown'} {role} spaces are not supported yet; supported are "
            f"Box observations and dicts of them, and actions of Box, {', '.join(DISCRETE)}"
        )
    shape = data.get("shape", data.get("_shape"))
    if not isinstance(shape, list) or not all(isinstance(n, int) and n > 0 for n in shape):
        raise CheckpointError(f"the {role} space has no valid shape: {shape!r}")
    size = math.prod(shape)
    if size > 1_000_000:
        raise CheckpointError(f"the {role} space claims {size:,} features")
    low, high = _bounds(data, size, role)
    if not (low <= high).all():
        raise CheckpointError(f"the bounds of the {role} space are crossed")
    return BoxSpace(tuple(shape), str(data.get("dtype")), low, high)


def discrete_space(kind: str, held: Mapping[str, Any], role: str) -> DiscreteSpace:
    """A space of one of the kinds in `DISCRETE`, from its attributes; `role` names it in errors."""
    counts = _integers(held.get("nvec" if kind == "MultiDiscrete" else "n"))
    starts = _integers(held.get("start", 0))
    if counts is None or starts is None or counts.ndim > 1 or not counts.size:
        raise CheckpointError(f"the sizes of the {role} space ({kind}) cannot be read")
    if starts.any():
        raise UnsupportedPolicyError(f"discrete {role} spaces that start at {starts} (not 0)")
    if counts.min() < 1 or counts.max() > _MOST_ACTIONS or counts.sum() > _MOST_ACTIONS:
        raise CheckpointError(f"the {role} space is discrete, but its size is {counts}")
    if kind != "MultiBinary":
        return DiscreteSpace(tuple(counts.ravel().tolist()), kind)
    if counts.ndim:
        raise UnsupportedPolicyError(f"{kind} {role} spaces of several dimensions")
    return DiscreteSpace((2,) * int(counts), kind)


def _integers(held: Any) -> npt.NDArray[np.int64] | None:
    """The integers in a pickled array or number, or in the text of a number."""
    try:
        array = np.asarray(array_of(held) if isinstance(held, Inert) else held)
        if array.dtype.kind == "U" and str(array).isdecimal() and len(str(array)) < 8:
            return np.array(int(str(array)))
        return array.astype(np.int64) if array.dtype.kind in "iu" else None
    except _UNREADABLE:
        return None


def _exact_bounds(data: dict[str, Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]] | None:
    """The bounds in the pickle of the space, which is read without being executed.

    The text beside it has as many digits as the training script let NumPy print.
    """
    state = getattr(read_stored(data, _ANY_NAME), "state", None)
    if not isinstance(state, dict):
        return None
    try:
        return array_of(state["low"]), array_of(state["high"])
    except _UNREADABLE:
        return None


def _printed_bounds(data: dict[str, Any], key: str, role: str) -> npt.NDArray[Any]:
    """Bounds from NumPy's printed form, where that shows that it has lost no digits."""
    text = str(data.get(key))
    words = text.replace("[", " ").replace("]", " ").replace(",", " ").split()
    try:
        bounds = np.array([float(word) for word in words], np.float64)
    except ValueError:
        bounds = np.zeros(0)
    digits = max((len(word.partition(".")[2].partition("e")[0]) for word in words), default=0)
    if digits < _WHOLE_DIGITS and (bounds[np.isfinite(bounds)] % 1).any():
        raise CheckpointError(
            f"the exact bounds of the {role} space cannot be read, and their text {text[:80]!r} "
            "may have lost digits; save the agent again with np.set_printoptions() at its defaults"
        )
    return bounds


def _bounds(data: dict[str, Any], size: int, role: str) -> tuple[Any, Any]:
    """Lower and upper bounds, float32, (size,)."""
    exact = _exact_bounds(data)
    try:
        low, high = exact or (_printed_bounds(data, key, role) for key in ("low", "high"))
        if exact is None and (low == high).any():
            raise CheckpointError(f"the text of the {role} space has lost the digits of its bounds")
    except CheckpointError:
        if role == "action" or data.get("dtype") == "uint8":
            raise
        return np.full(size, -np.inf, np.float32), np.full(size, np.inf, np.float32)
    for name, bounds in (("low", low), ("high", high)):
        if bounds.size != size or np.isnan(bounds).any():
            raise CheckpointError(
                f"the bounds of the {role} space cannot be read: {str(data.get(name))[:80]!r}"
            )
    with np.errstate(over="ignore"):
        return low.ravel().astype(np.float32), high.ravel().astype(np.float32)


def read_stored(entry: Any, allowed: re.Pattern[str]) -> Any:
    """What Stable-Baselines3 pickled into an entry of the metadata, as an inert record.

    It is `None` if there is none, or if it cannot be read; nothing is executed.
    """
    content = entry.get(":serialized:") if isinstance(entry, dict) else None
    if not isinstance(content, str):
        return None
    try:
        decoded = base64.b64decode(content, validate=True)
        return InertUnpickler(decoded, allowed=allowed, what="a stored array").load()
    except Exception:  # a hostile pickle can make the reader fail in any way
        return None


def _stored_array(entry: Any) -> npt.NDArray[Any] | None:
    try:
        return array_of(read_stored(entry, _NUMPY))
    except _UNREADABLE:
        return None


def _training_returns(data: dict[str, Any]) -> tuple[float, ...]:
    """Of the last episodes in training, if the environment was watched by a Monitor."""
    record = read_stored(data.get("ep_info_buffer"), _EPISODES)
    items = record.items.values() if isinstance(record, Inert) else ()
    try:
        values = [item["r"] for item in items]
        found = [float(array_of(x) if isinstance(x, Inert) else x) for x in values]
    except _UNREADABLE:
        return ()
    return tuple(value for value in found if math.isfinite(value))


def _normalized(family: str, last: Any, original: Any, space: BoxSpace) -> Normalized:
    """What a VecNormalize did in training, as far as the two observations show that were kept.

    `last` is what the policy saw last. The on-policy algorithms keep `original` only where there is
    a VecNormalize, from the first step. The others always keep one: where there is a VecNormalize
    the same observation before it, and otherwise that of the step before.
    """
    on_policy = family in ("actor-critic", "ars")
    if last is None:
        return "unknown"
    if original is None:
        return "nothing" if on_policy else "unknown"
    # What it normalises becomes float32, and knows no bounds; some environments exceed theirs, too.
    if last.dtype != original.dtype or (_beyond(space, last) and not _beyond(space, original)):
        return "observations"
    if last.dtype == np.float64:
        return "nothing"
    return "something" if on_policy else "unknown"


def _beyond(space: BoxSpace, observations: npt.NDArray[Any]) -> bool:
    """Whether they lie beyond the space's finite bounds by more than a tenth of their distance."""
    flat = observations.reshape(len(observations), -1)
    margin = 0.1 * (space.high.astype(np.float64) - space.low)
    if flat.shape[1] != space.low.size or not margin.size:
        return False
    return bool(((flat < space.low - margin) | (flat > space.high + margin)).any())
