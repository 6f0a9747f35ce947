"""A module of torch as a network: its forward is called once, with something that writes down.

What is given in the place of an observation is no tensor, but tells torch what to do with it (the
`__torch_function__` protocol). So each function that the module calls is noted with its weights,
and read in the same way as TorchScript's code. torch is not imported here: the module brings it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from squeezerl.agents.chain import Chain, network_of, part
from squeezerl.agents.torch_operators import OPERATORS, Memory, apply, works_in_place
from squeezerl.errors import CheckpointError, SqueezeRLError, UnsupportedPolicyError
from squeezerl.network.network import Network


def network_of_module(
    module: Any, observation_shape: tuple[int, ...] | None, *, bounds: Any, is_discrete: bool
) -> Network:
    """The network that a module computes after `eval()`; the module itself stays as it is.

    Args:
        module: a `torch.nn.Module` whose forward takes observations (n, *observation_shape).
        observation_shape: unless given, what its first layer takes.
        bounds: of the actions, two numbers or sequences; `None` for none.
        is_discrete: the action is the index of the largest output.

    Raises:
        CheckpointError: if weights are not finite, or do not fit together.
        UnsupportedPolicyError: if it computes something that is not supported.
    """
    rank = 2 if observation_shape is None else 1 + len(observation_shape)
    width = None if observation_shape is None else int(np.prod(observation_shape))
    with _noted(module) as path:
        try:
            result = module(
                _Features(Chain("observation", rank=rank, inputs=width), path, Memory())
            )
        except SqueezeRLError:
            raise
        except Exception as error:  # the module's own code
            raise UnsupportedPolicyError(
                f"{_place(path)} fails or needs a tensor where a record of one was given: {error}"
            ) from error
    if isinstance(result, tuple | list) and len(result) == 1:
        result = result[0]
    if not isinstance(result, _Features):
        raise UnsupportedPolicyError(
            f"the module returns {type(result).__name__}, not one tensor computed from the "
            "observation; wrap it in a module that returns the action alone"
        )
    chain = result.chain
    result.memory.check(chain, "the module's result")
    if is_discrete:
        chain = part(chain, "Argmax", "the choice")
    elif bounds is not None:
        low, high = (np.asarray(end, np.float64) for end in bounds)
        chain = apply("clamp", "the bounds", [chain, low, high], {})
    return network_of(chain, observation_shape=observation_shape, place="the module's result")


@contextmanager
def _noted(module: Any) -> Iterator[list[str]]:
    """The module in evaluation mode, and the names of the submodules that it is in, as a list."""
    path: list[str] = []
    was_training = {part: part.training for part in module.modules()}
    hooks = []

    def leave(*_: Any) -> None:
        path.pop()

    for name, submodule in module.named_modules():
        hooks += [
            submodule.register_forward_pre_hook(lambda *_, name=name: path.append(name)),
            submodule.register_forward_hook(leave),
        ]
    try:
        module.eval()
        yield path
    finally:
        for hook in hooks:
            hook.remove()
        for submodule, training in was_training.items():
            submodule.training = training


def _place(path: Sequence[str]) -> str:
    return (path[-1] if path else "") or "the module"


class _Features:
    """Stands where an observation, or what was computed from it, would stand.

    All that come of one observation share `path`, the submodules that they are in, and `memory`.
    """

    def __init__(self, chain: Chain, path: list[str], memory: Memory) -> None:
        self.chain, self.path, self.memory = chain, path, memory

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, arguments: Any = (), named: Any = None
    ) -> Any:
        given = [*arguments, *(named or {}).values()]
        given += [item for items in given if isinstance(items, list | tuple) for item in items]
        one = next(item for item in given if isinstance(item, cls))
        name = getattr(function, "__name__", str(function))
        return one._call(name, arguments, named or {})

    def _call(self, name: str, arguments: Sequence[Any], named: Any) -> Any:
        place = f"{name.strip('_')} in {_place(self.path)}"
        result = self.memory.apply(
            name if works_in_place(name, named) else name.strip("_"),
            place,
            [_plain(argument, place) for argument in arguments],
            {word: _plain(value, place) for word, value in named.items()},
        )
        given = arguments[0] if arguments else None
        if isinstance(given, _Features):
            if works_in_place(name, named):
                given.chain = result
            if result is given.chain:
                return given
        return self._wrapped(result)

    def _wrapped(self, result: Any) -> Any:
        if isinstance(result, list):
            return [self._wrapped(item) for item in result]
        if not isinstance(result, Chain):
            return result
        return _Features(result, self.path, self.memory)

    def __getattr__(self, name: str) -> Any:
        if name in OPERATORS or name.rstrip("_") in OPERATORS:
            return lambda *arguments, **named: self._call(name, (self, *arguments), named)
        raise UnsupportedPolicyError(f"{_place(self.path)} takes {name!r} of its input")

    @property
    def shape(self) -> tuple[int | None, ...]:
        """With a batch of one."""
        return (1, self.chain.width)

    @property
    def ndim(self) -> int:
        """The batch included."""
        return self.chain.rank

    def __getitem__(self, key: Any) -> Any:
        keys = key if isinstance(key, tuple) else (key,)
        if len(keys) == 2 and isinstance(keys[1], slice) and keys[0] in (..., slice(None)):
            cut = keys[1]
            return self._call("slice", (self, -1, cut.start, cut.stop, cut.step or 1), {})
        raise UnsupportedPolicyError(f"{_place(self.path)} indexes its input by {key!r:.60}")

    def __add__(self, other: Any) -> Any:
        return self._call("add", (self, other), {})

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return self._call("sub", (self, other), {})

    def __rsub__(self, other: Any) -> Any:
        return self._call("sub", (other, self), {})

    def __mul__(self, other: Any) -> Any:
        return self._call("mul", (self, other), {})

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        return self._call("div", (self, other), {})

    def __iadd__(self, other: Any) -> Any:
        return self._call("add_", (self, other), {})

    def __isub__(self, other: Any) -> Any:
        return self._call("sub_", (self, other), {})

    def __imul__(self, other: Any) -> Any:
        return self._call("mul_", (self, other), {})

    def __itruediv__(self, other: Any) -> Any:
        return self._call("div_", (self, other), {})

    def __matmul__(self, other: Any) -> Any:
        return self._call("matmul", (self, other), {})

    def __pow__(self, other: Any) -> Any:
        return self._call("pow", (self, other), {})

    def __neg__(self) -> Any:
        return self._call("neg", (self,), {})

    def __gt__(self, other: Any) -> Any:
        return self._call("gt", (self, other), {})

    def __bool__(self) -> bool:
        raise UnsupportedPolicyError(f"{_place(self.path)} branches on what it computes")


def _plain(value: Any, place: str) -> Any:
    """What torch was given, with chains and arrays in the place of tensors."""
    if isinstance(value, _Features):
        return value.chain
    if isinstance(value, list | tuple):
        return [_plain(item, place) for item in value]
    if hasattr(value, "detach"):
        try:
            return value.detach().cpu().numpy()
        except TypeError as error:
            raise CheckpointError(f"{place} has weights of a type that is not read") from error
    return value
