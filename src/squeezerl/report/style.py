"""How methods look in every picture: the colour-blind-safe palette of Okabe and Ito (2008)."""

from __future__ import annotations

from typing import NamedTuple


class Style(NamedTuple):
    """Label, colour, marker and dash of a method or figure."""

    label: str
    color: str
    marker: str
    dash: str = "-"


METHODS = {
    "float": Style("float", "#000000", "*"),
    "ptdq": Style("PTDQ (dynamic int8)", "#0072B2", "s"),
    "ptsq": Style("PTSQ (static int8)", "#009E73", "D"),
    "qat": Style("QAT (int8)", "#D55E00", "v"),
    "l1": Style("L1 pruning", "#E69F00", "^"),
    "l2": Style("L2 pruning", "#CC79A7", "o"),
    "ticket-l1": Style("ticket by L1", "#E69F00", "<", "--"),
    "ticket-l2": Style("ticket by L2", "#CC79A7", ">", "--"),
    "ticket-random": Style("random ticket", "#56B4E9", "P", "--"),
}
QUANTITIES = {
    "time": Style("inference time", "#0072B2", "o"),
    "energy": Style("energy", "#D55E00", "s"),
    "memory": Style("memory", "#009E73", "^"),
}
_OTHERS = ("#56B4E9", "#F0E442", "#999999", "#000000")
_MARKERS = "XhdpH8"


def method_style(method: str, number: int = 0) -> Style:
    """The style of a method; one that is not the library's own gets one by its number."""
    own = Style(method, _OTHERS[number % len(_OTHERS)], _MARKERS[number % len(_MARKERS)], ":")
    return METHODS.get(method, own)


def short_label(method: str) -> str:
    """Of a method in a table or a crowded picture."""
    name = METHODS[method].label.partition(" (")[0] if method in METHODS else method
    return name.removesuffix(" pruning")


def algorithm_label(algorithm: str) -> str:
    """For example "PPO"."""
    return algorithm.upper()
