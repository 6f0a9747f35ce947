"""Checks of single values: each takes a setting's name and value, and returns what SB3 takes."""

from __future__ import annotations

import difflib
import math
import reprlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from squeezerl.errors import HyperparameterError

Check = Callable[[str, Any], Any]
_MOST = 1e15  # above any use; keeps out infinities and what overflows a float
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 120


@dataclass(frozen=True, kw_only=True)
class Number:
    """Check of a number.

    Args:
        low: the least that is allowed.
        above: whether `low` itself is not.
        high: the most that is allowed.
        whole: whether it must be an integer; 1e6 is one.
        others: what may stand instead of a number.
        prefix: what may stand before one, for example "lin_".
    """

    low: float = 0.0
    above: bool = False
    high: float = math.inf
    whole: bool = False
    others: tuple[int | str | None, ...] = ()
    prefix: str = ""

    def __call__(self, name: str, value: Any) -> Any:
        """The value; as an `int` if it must be whole.

        Raises:
            HyperparameterError: if it is not allowed.
        """
        if any(value == other and type(value) is type(other) for other in self.others):
            return value
        if self.prefix and isinstance(value, str) and value.startswith(self.prefix):
            number = to_number(value.removeprefix(self.prefix))
            if self._holds(number) and number > 0:
                return value
        elif self._holds(number := to_number(value)):
            return int(number) if self.whole else number
        raise refusal(name, value, self._described())

    def _holds(self, number: Any) -> bool:
        if isinstance(number, bool) or not isinstance(number, int | float):
            return False
        if not abs(number) <= _MOST or (self.whole and number != int(number)):
            return False
        return self.low <= number <= self.high and not (self.above and number == self.low)

    def _described(self) -> str:
        text = "a whole number" if self.whole else "a number"
        if self.low > -math.inf:
            text += f" {'above' if self.above else 'of at least'} {self.low:g}"
        if self.high < math.inf:
            text += f" and at most {self.high:g}"
        others = [str(other) for other in self.others]
        if self.prefix:
            others.append(f"{self.prefix} and a number above 0")
        return " or ".join([text, *others])


def shown(value: Any) -> str:
    """A value as error messages name it: short, whatever a file holds."""
    return _SHORT.repr(value)


def to_number(value: Any) -> Any:
    """YAML takes 1e-3 for text; here it is the number that was meant. All else stays as it is."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def switch(name: str, value: Any) -> bool:
    """`True` or `False`.

    Raises:
        HyperparameterError: if it is neither.
    """
    if not isinstance(value, bool):
        raise refusal(name, value, "true or false")
    return value


def mapping(name: str, value: Any, checks: dict[str, Check]) -> dict[str, Any]:
    """A mapping whose values pass their checks.

    Raises:
        HyperparameterError: if it is none, has other keys, or a value does not pass.
    """
    if not isinstance(value, dict):
        raise refusal(name, value, "a mapping of settings")
    for key in value:
        if key not in checks:
            raise unknown(f"setting in {name}", key, checks)
    return {key: checks[key](key, item) for key, item in value.items()}


def refusal(name: str, value: Any, allowed: str) -> HyperparameterError:
    """The error for a value that is not allowed."""
    return HyperparameterError(f"{name} is {shown(value)}; it must be {allowed}")


def unknown(what: str, name: Any, known: Collection[str]) -> HyperparameterError:
    """The error for a name that does not exist."""
    close = difflib.get_close_matches(str(name)[:64], known, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return HyperparameterError(
        f"unknown {what} {shown(name)}; known are {', '.join(sorted(known))}{hint}"
    )
