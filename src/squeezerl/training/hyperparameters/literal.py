"""The pieces of Python in rl-zoo's settings, read as data.

rl-zoo passes them to `eval`. Here they are parsed, and everything except literals, `dict(key=...)`
and the names of activations is refused; nothing is executed, imported or looked up.
"""

from __future__ import annotations

import ast
import reprlib
from typing import Any

from squeezerl.errors import HyperparameterError

_MAX_CHARACTERS = 4096
_NN = ("nn", "th.nn", "torch.nn")
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 120


def shown(value: Any) -> str:
    """A value as error messages show it: short, whatever a file holds."""
    return _SHORT.repr(value)


def read_literal(text: str) -> Any:
    """The value that a text such as "dict(net_arch=[64, 64], activation_fn=nn.ReLU)" stands for.

    Activations become their names: "ReLU".

    Raises:
        HyperparameterError: if the text holds anything other than plain data.
    """
    if len(text) > _MAX_CHARACTERS:
        raise _refusal(text, "too long")
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _refusal(text, "not readable") from error
    except HyperparameterError as error:
        raise _refusal(text, str(error)) from error


def _refusal(text: str, reason: str) -> HyperparameterError:
    return HyperparameterError(
        f"{shown(text)} is refused ({reason}); allowed are numbers, text, lists, "
        "dict(key=value) and activations such as nn.ReLU; nothing was executed"
    )


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.List(elts=items):
            return [_value(item) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_value(item) for item in items)
        case ast.Dict(keys=keys, values=values):
            return {_key(key): _value(value) for key, value in zip(keys, values, strict=True)}
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords):
            return {_name(keyword.arg): _value(keyword.value) for keyword in keywords}
        case ast.Attribute():
            return _activation(ast.unparse(node))
    raise HyperparameterError(f"{shown(ast.unparse(node))} is not data")


def _key(node: ast.expr | None) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise HyperparameterError("a key that is not text")


def _name(name: str | None) -> str:
    if name is None:
        raise HyperparameterError("** is not data")
    return name


def _activation(path: str) -> str:
    from squeezerl.network.activations import TORCH_CLASSES

    module, _, name = path.rpartition(".")
    if module not in _NN or name not in TORCH_CLASSES:
        raise HyperparameterError(
            f"{shown(path)} is not one of nn.{', nn.'.join(sorted(TORCH_CLASSES))}"
        )
    return name
