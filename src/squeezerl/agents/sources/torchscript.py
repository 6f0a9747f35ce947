"""The source that reads policies in TorchScript archives, without torch.

An archive holds the modules and their weights in a pickle, and the text of their code. The pickle
is read by a reader that executes nothing. The text is parsed, and followed from one known function
of torch to the next, with what happens to the observation written down (`agents/chain.py`). Code
that is anything else is refused; none of it is run.
"""

from __future__ import annotations

import ast
import io
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from squeezerl.agents.chain import Chain, Value, network_of
from squeezerl.agents.inert_pickle import Inert
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
from squeezerl.agents.torch_file import TENSOR_NAMES, TorchArchive, is_tensor
from squeezerl.agents.torch_operators import Memory, works_in_place
from squeezerl.errors import (
    CheckpointError,
    SqueezeRLWarning,
    UnsupportedPolicyError,
)
from squeezerl.network.network import Network

_CLASS = r"__torch__\.[\w.]+"
_LIST = r"torch\.jit\._pickle\.(build_\w+list|restore_type_tag)"
_ALLOWED = re.compile(f"{_CLASS}|{_LIST}|{TENSOR_NAMES}")
_MAX_CODE_BYTES = 2**18  # of one file
_MAX_ALL_CODE_BYTES = 2**25
_MAX_STEPS = 5000
_MAX_DEPTH = 60
# The methods of a module that give its actions, in the order in which they are looked for.
_METHODS = ("forward", "act_inference")
_ACTORS = ("actor", "policy", "actor_mean")


@final
class TorchScript(Source):
    """Reads multilayer perceptrons in the archives of `torch.jit.save`, scripted or traced."""

    kind = "torchscript"
    takes = "a TorchScript .pt file"

    def recognises(self, path: Path) -> bool:
        """See `Source`."""
        if not path.is_file():
            return False
        return any(name.endswith("/constants.pkl") for name in zip_names(path) or ())

    def load(self, path: Path, *, normalizer: Path | None = None) -> Agent:
        """See `Source`."""
        refuse_normalizer(path, normalizer)
        content = read_limited(path)
        with reading(path):
            network = _read(content)
        return Agent(network, exported_source(self.kind, path, "the code in the archive"))


SOURCES.register(TorchScript.kind, TorchScript())


def _read(content: bytes) -> Network:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        _check_sizes(archive, len(content))
        records = TorchArchive(archive)
        root = records.records("data.pkl", _ALLOWED, "a TorchScript model")
        if not _is_module(root):
            raise CheckpointError("its data.pkl holds no module")
        return network_of(_Reader(records).actions(root), place="the action")


def _check_sizes(archive: zipfile.ZipFile, size: int) -> None:
    """Refuse archives that unpack to much more than themselves: only code is compressed."""
    members = archive.infolist()
    stored = sum(m.file_size for m in members if m.compress_type == zipfile.ZIP_STORED)
    packed = sum(m.file_size for m in members if m.compress_type != zipfile.ZIP_STORED)
    if stored > size or packed > _MAX_ALL_CODE_BYTES:
        raise CheckpointError(
            f"claims to unpack from {size:,} to {stored + packed:,} bytes; refused as a possible "
            "zip bomb"
        )


def _is_module(record: Any) -> bool:
    return (
        isinstance(record, Inert)
        and re.fullmatch(_CLASS, record.name) is not None
        and isinstance(record.state, dict)
    )


@dataclass(frozen=True)
class _File:
    """The classes, constants of classes, and functions of one file of code."""

    methods: Mapping[tuple[str, str], ast.FunctionDef]
    constants: Mapping[tuple[str, str], ast.expr]
    functions: Mapping[str, ast.FunctionDef]


def _parse(text: str) -> _File:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes in strings
        tree = ast.parse(text)
    methods, constants, functions = {}, {}, {}
    for item in tree.body:
        if isinstance(item, ast.FunctionDef):
            functions[item.name] = item
        elif isinstance(item, ast.ClassDef):
            for line in item.body:
                if isinstance(line, ast.FunctionDef):
                    methods[item.name, line.name] = line
                elif isinstance(line, ast.AnnAssign) and line.value is not None:
                    constants[item.name, ast.unparse(line.target)] = line.value
    return _File(methods, constants, functions)


@dataclass(frozen=True)
class _Scope:
    """The names in a function, and the module that it is in, as a path of attributes."""

    names: dict[str, Any]
    path: str
    depth: int


@dataclass(frozen=True)
class _Function:
    """A function of the archive, by its full name."""

    name: str


class _Stop(Exception):  # noqa: N818 - it is no error
    """A function returns."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


class _Reader:
    """Follows the code of an archive; `_MAX_STEPS` and `_MAX_DEPTH` bound how far."""

    def __init__(self, records: TorchArchive) -> None:
        self._records = records
        self._files: dict[str, _File] = {}
        self._constants: Any = None
        self._paths: dict[int, str] = {}  # of modules, by their identity
        self._left = _MAX_STEPS
        self._memory = Memory()
        self._scopes: list[_Scope] = []  # of the functions that have not returned

    def actions(self, root: Inert) -> Value:
        """What the policy in a module does to an observation."""
        module, path, method = self._entry(root)
        self._paths[id(module)] = path
        function = self._file(module.name).methods[module.name.rpartition(".")[2], method]
        given = function.args.args[1:]
        open_count = len(given) - len(function.args.defaults)
        if open_count != 1:
            names = ", ".join(argument.arg for argument in given)
            raise UnsupportedPolicyError(
                f"{method} takes {names or 'nothing'}; a policy takes one observation, and has no "
                "state"
            )
        scope = _Scope({}, path, 0)
        result = self._call(function, [module, Chain(given[0].arg)], {}, scope)
        if isinstance(result, list | tuple) and result and isinstance(result[0], Chain):
            if len(result) > 1:
                warnings.warn(
                    f"{method} returns {len(result)} values; the first is taken as the action",
                    SqueezeRLWarning,
                    stacklevel=2,
                )
            result = result[0]
        if not isinstance(result, Chain):
            raise UnsupportedPolicyError(f"{method} returns no value computed from the observation")
        return result

    def _entry(self, root: Inert) -> tuple[Inert, str, str]:
        """The module, its path, and the method that gives the actions."""
        modules = [(root, "")]
        modules += [(root.state[a], a) for a in _ACTORS if _is_module(root.state.get(a))]
        for module, path in modules:
            methods = self._file(module.name).methods
            for name in _METHODS:
                function = methods.get((module.name.rpartition(".")[2], name))
                if function is not None and not _only_raises(function):
                    return module, path, name
        raise UnsupportedPolicyError("the module has no forward method, and no actor in it either")

    def _file(self, name: str) -> _File:
        """The file with the class or function of this full name."""
        folder = name.rpartition(".")[0]
        if folder not in self._files:
            member = f"code/{folder.replace('.', '/')}.py"
            if member not in self._records:
                raise CheckpointError(f"it lacks the code of {name[:80]}")
            content = self._records.read(member)
            if len(content) > _MAX_CODE_BYTES:
                raise CheckpointError(f"the code of {name[:80]} is longer than that of a policy")
            self._files[folder] = _parse(content.decode())
        return self._files[folder]

    def _call(
        self, function: ast.FunctionDef, given: Sequence[Any], named: Mapping[str, Any], at: _Scope
    ) -> Any:
        names = [argument.arg for argument in function.args.args]
        if at.depth > _MAX_DEPTH:
            raise CheckpointError("its functions call one another without an end")
        if len(given) > len(names) or not set(named) <= set(names):
            raise CheckpointError(f"{function.name} is called with other arguments than it has")
        defaults = function.args.defaults
        inside = _Scope({}, at.path, at.depth + 1)
        for name, default in zip(names[len(names) - len(defaults) :], defaults, strict=True):
            inside.names[name] = self._value(default, inside)
        inside.names.update(zip(names, given, strict=False))
        inside.names.update(named)
        self._scopes.append(inside)
        try:
            self._block(function.body, inside)
        except _Stop as stop:
            self._memory.check(stop.value, _place(at))
            return stop.value
        finally:
            self._scopes.pop()
        return None

    def _block(self, lines: Sequence[ast.stmt], at: _Scope) -> None:
        for line in lines:
            self._spend()
            match line:
                case ast.Assign(targets=[ast.Name(id=name)]):
                    at.names[name] = self._value(line.value, at)
                case ast.Assign(targets=[ast.Tuple(elts=targets)]):
                    values = self._value(line.value, at)
                    if not isinstance(values, list | tuple) or len(values) != len(targets):
                        raise CheckpointError("a value is not as many values as it has names")
                    for target, value in zip(targets, values, strict=True):
                        if not isinstance(target, ast.Name):
                            self._refuse(line, at)
                        else:
                            at.names[target.id] = value
                case ast.Assign(targets=[ast.Attribute(attr=name)]):
                    raise UnsupportedPolicyError(
                        f"{_place(at)} changes its own {name[:40]!r}: it has a state, or was saved "
                        "in training mode; only policies without a state are supported, saved "
                        "after eval()"
                    )
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as given):
                    at.names[name] = self._value(given, at)
                case ast.Return():
                    raise _Stop(None if line.value is None else self._value(line.value, at))
                case ast.If():
                    self._block(line.body if self._truth(line.test, at) else line.orelse, at)
                case ast.Expr():
                    self._value(line.value, at)
                case ast.Pass():
                    pass
                case _:
                    self._refuse(line, at)

    def _spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise CheckpointError("its code is longer than that of a policy")

    def _refuse(self, code: ast.AST, at: _Scope) -> Any:
        text = " ".join(ast.unparse(code).split())[:100]
        other = "; torch.jit.trace writes it without a loop" if isinstance(code, ast.For) else ""
        raise UnsupportedPolicyError(f"{_place(at)} has code that is not supported: {text}{other}")

    def _truth(self, test: ast.expr, at: _Scope) -> bool:
        value = self._value(test, at)
        if not isinstance(value, bool | int):
            raise UnsupportedPolicyError(
                f"{_place(at)} branches on what it computes: {ast.unparse(test)[:80]}"
            )
        return bool(value)

    def _value(self, code: ast.expr, at: _Scope) -> Any:
        self._spend()
        match code:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name) if name in at.names:
                return at.names[name]
            case ast.Tuple(elts=items) | ast.List(elts=items):
                return [self._value(item, at) for item in items]
            case ast.Attribute(value=ast.Name(id="CONSTANTS"), attr=name):
                return self._constant(name)
            case ast.Attribute() if (name := _dotted(code) or "").startswith("__torch__."):
                return _Function(name)
            case ast.Attribute(value=base, attr=name):
                return self._attribute(self._value(base, at), name, at)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                value = self._value(operand, at)
                return -value if isinstance(value, int | float) else self._refuse(code, at)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not self._truth(operand, at)
            case ast.BoolOp(op=ast.And(), values=values):
                return all(self._truth(value, at) for value in values)
            case ast.BoolOp(op=ast.Or(), values=values):
                return any(self._truth(value, at) for value in values)
            case ast.Compare(left=left, ops=[comparison], comparators=[right]):
                return self._compare(comparison, self._value(left, at), self._value(right, at), at)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return self._value(body if self._truth(test, at) else orelse, at)
            case ast.Subscript(value=base, slice=ast.Constant(value=int() as index)):
                values = self._value(base, at)
                if isinstance(values, list | tuple) and -len(values) <= index < len(values):
                    return values[index]
            case ast.Call():
                return self._called(code, at)
        return self._refuse(code, at)

    def _compare(self, comparison: ast.cmpop, left: Any, right: Any, at: _Scope) -> bool:
        for value in (left, right):
            if isinstance(value, Chain):
                raise UnsupportedPolicyError(f"{_place(at)} compares what it computes")
        known: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
            ast.Is: lambda a, b: a is b,
            ast.IsNot: lambda a, b: a is not b,
            ast.Eq: lambda a, b: a == b,
            ast.NotEq: lambda a, b: a != b,
            ast.Lt: lambda a, b: a < b,
            ast.LtE: lambda a, b: a <= b,
            ast.Gt: lambda a, b: a > b,
            ast.GtE: lambda a, b: a >= b,
        }
        if type(comparison) not in known:
            raise UnsupportedPolicyError(f"{_place(at)} compares in a way that is not supported")
        return bool(known[type(comparison)](left, right))

    def _constant(self, name: str) -> Any:
        if self._constants is None:
            self._constants = self._records.records(
                "constants.pkl", _ALLOWED, "a TorchScript model"
            )
        index = int(name.removeprefix("c"))
        return self._plain(self._constants[index], f"the constant {name}", "constants")

    def _plain(self, record: Any, name: str, folder: str = "data") -> Any:
        """A value of a pickle: tensors as arrays, lists as lists, modules as they are."""
        if is_tensor(record):
            return self._records.tensor(record, name, folder)
        if isinstance(record, Inert) and re.fullmatch(_LIST, record.name):
            return self._plain(record.arguments[0], name, folder)
        if isinstance(record, list | tuple):
            return [self._plain(item, name, folder) for item in record]
        return record

    def _attribute(self, base: Any, name: str, at: _Scope) -> Any:
        if not _is_module(base):
            if isinstance(base, np.ndarray) and name == "T":
                return base.T
            raise UnsupportedPolicyError(f"{_place(at)} takes {name[:40]!r} of a value")
        if name in base.state:
            found = base.state[name]
            if _is_module(found):
                self._paths[id(found)] = f"{self._paths.get(id(base), '')}.{name[:40]}".lstrip(".")
            return self._plain(found, f"{_place(at)}.{name}")
        constant = self._file(base.name).constants.get((base.name.rpartition(".")[2], name))
        if constant is None:
            raise CheckpointError(f"{_place(at)} lacks its {name[:40]!r}")
        return self._value(constant, _Scope({}, at.path, at.depth))

    def _called(self, code: ast.Call, at: _Scope) -> Any:
        given = [argument for argument in code.args if not isinstance(argument, ast.Starred)]
        named = {word.arg: word.value for word in code.keywords if word.arg is not None}
        if len(given) != len(code.args) or len(named) != len(code.keywords):
            self._refuse(code, at)
        name = _dotted(code.func)
        if name is not None and isinstance(function := at.names.get(name), _Function):
            name = function.name
        match name:
            case "getattr" if len(given) == 2 and isinstance(given[1], ast.Constant):
                return self._attribute(self._value(given[0], at), str(given[1].value), at)
            case "annotate" | "unchecked_cast" | "_cast" if len(given) == 2:
                return self._value(given[1], at)
            case "uninitialized":
                return None
        if isinstance(code.func, ast.Attribute) and (
            name is None or name.split(".")[0] in at.names
        ):
            return self._method(code.func, given, named, at)
        if name is None:
            self._refuse(code, at)
        assert name is not None
        values = [self._value(argument, at) for argument in given]
        keywords = {word: self._value(value, at) for word, value in named.items()}
        if name.startswith("__torch__."):
            function = self._file(name).functions.get(name.rpartition(".")[2])
            if function is None:
                raise CheckpointError(f"it lacks the code of {name[:80]}")
            return self._call(function, values, keywords, at)
        if name == "torch.warn":
            return None
        if name == "ops.prim.RaiseException":
            raise UnsupportedPolicyError(f"{_place(at)} ends in an error: {str(values[:1])[:100]}")
        if name in _PLAIN_FUNCTIONS and not any(isinstance(v, Chain) for v in values):
            return _PLAIN_FUNCTIONS[name](*values)
        place = f"{name[:60]} in {_place(at)}"
        if not name.startswith(("torch.", "ops.aten.")):
            raise UnsupportedPolicyError(f"{place} is not supported")
        short = name.rpartition(".")[2]
        result = self._memory.apply(short, place, values, keywords)
        if values and works_in_place(short, keywords):
            self._rename(values[0], result)
        return result

    def _rename(self, changed: Any, result: Any) -> None:
        """Let all names of what a function in place has changed mean its result."""
        for scope in self._scopes:
            for name, value in scope.names.items():
                if value is changed:
                    scope.names[name] = result
                elif isinstance(value, list):
                    scope.names[name] = [result if one is changed else one for one in value]

    def _method(
        self,
        function: ast.Attribute,
        given: Sequence[ast.expr],
        named: Mapping[str, ast.expr],
        at: _Scope,
    ) -> Any:
        """A method of a module; its path becomes that of the attribute that it stands in."""
        module = self._value(function.value, at)
        values = [self._value(argument, at) for argument in given]
        keywords = {word: self._value(value, at) for word, value in named.items()}
        if not _is_module(module):
            raise UnsupportedPolicyError(f"{_place(at)} calls {function.attr[:40]!r} of a value")
        inner = _Scope({}, self._paths.get(id(module), at.path), at.depth)
        methods = self._file(module.name).methods
        code = methods.get((module.name.rpartition(".")[2], function.attr))
        if code is None:
            raise CheckpointError(f"it lacks the method {function.attr[:40]} of {module.name[:80]}")
        return self._call(code, [module, *values], keywords, inner)


# Functions of numbers and lists alone, as they stand in the code of torch.nn.functional.
_PLAIN_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "torch.__is__": lambda a, b: a is b,
    "torch.__isnot__": lambda a, b: a is not b,
    "torch.__not__": lambda a: not a,
    "torch.eq": lambda a, b: bool(a == b),
    "torch.ne": lambda a, b: bool(a != b),
    "torch.gt": lambda a, b: bool(a > b),
    "torch.lt": lambda a, b: bool(a < b),
    "torch.ge": lambda a, b: bool(a >= b),
    "torch.le": lambda a, b: bool(a <= b),
    "torch.len": len,
    "float": float,
    "int": int,
    "bool": bool,
}


def _only_raises(function: ast.FunctionDef) -> bool:
    """Whether a method ends in an error whatever it is given, as one that nobody wrote does."""
    return any(
        isinstance(line, ast.Expr)
        and isinstance(line.value, ast.Call)
        and _dotted(line.value.func) == "ops.prim.RaiseException"
        for line in function.body
    )


def _place(at: _Scope) -> str:
    return at.path or "the module"


def _dotted(code: ast.expr) -> str | None:
    """The name that an expression of names and dots spells; `None` for any other expression."""
    parts: list[str] = []
    while isinstance(code, ast.Attribute):
        parts.append(code.attr)
        code = code.value
    return ".".join([code.id, *reversed(parts)]) if isinstance(code, ast.Name) else None
