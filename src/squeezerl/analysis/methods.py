"""What tables and figures need to know of the methods: the one place in analysis that lists them.

The colours are the palette of Okabe and Ito (2008), which colour-blind readers can tell apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from squeezerl.records import MethodRecord

BASELINE = "float"
RANDOM = "random"
CONSTANT = "constant"

QUANTIZATION = "quantization"
PRUNING = "pruning"
TRAINING = "training"
REFERENCE = "reference"

# (name, label, short label, group, colour, marker, dash)
_TABLE = (
    (BASELINE, "float", "float", REFERENCE, "#000000", "*", "-"),
    (RANDOM, "random policy", "random", REFERENCE, "#8a8a8a", "x", ":"),
    (CONSTANT, "best constant action", "constant", REFERENCE, "#8a8a8a", "_", "-."),
    ("ptdq", "PTDQ (dynamic int8)", "PTDQ", QUANTIZATION, "#0072B2", "s", "-"),
    ("ptsq", "PTSQ (static int8)", "PTSQ", QUANTIZATION, "#009E73", "D", "-"),
    ("qat", "QAT (int8)", "QAT", QUANTIZATION, "#D55E00", "v", "-"),
    ("l1", "L1 pruning", "L1", PRUNING, "#E69F00", "^", "-"),
    ("l2", "L2 pruning", "L2", PRUNING, "#CC79A7", "o", "-"),
    ("ticket-l1", "ticket by L1", "ticket by L1", TRAINING, "#E69F00", "<", "--"),
    ("ticket-l2", "ticket by L2", "ticket by L2", TRAINING, "#CC79A7", ">", "--"),
    ("ticket-random", "random ticket", "random ticket", TRAINING, "#56B4E9", "P", "--"),
)
KNOWN_METHODS: Mapping[str, MethodRecord] = MappingProxyType(
    {
        name: MethodRecord(
            name=name, label=label, short=short, group=group, color=color, marker=marker, dash=dash
        )
        for name, label, short, group, color, marker, dash in _TABLE
    }
)
_OTHER_COLORS = ("#56B4E9", "#F0E442", "#999999", "#000000")
_OTHER_MARKERS = "XhdpH8"


def method_record(name: str, number: int = 0, *, group: str = QUANTIZATION) -> MethodRecord:
    """The record of a method; one that is not known gets a style of its own by its number.

    Args:
        name: as in the `method` column of results.
        number: its place among the methods that are not known.
        group: that a method which is not known belongs to.
    """
    if name in KNOWN_METHODS:
        return KNOWN_METHODS[name]
    return MethodRecord(
        name=name,
        label=name,
        short=name,
        group=group,
        color=_OTHER_COLORS[number % len(_OTHER_COLORS)],
        marker=_OTHER_MARKERS[number % len(_OTHER_MARKERS)],
        dash=":",
    )


def complete_methods(
    given: Mapping[str, MethodRecord], names: Iterable[str], with_ratio: Iterable[str] = ()
) -> dict[str, MethodRecord]:
    """A record for each of these names: those known, those given, then the rest by name.

    Args:
        given: records that go before those known here.
        names: of the methods that were run.
        with_ratio: those among them that were run at a ratio; if nothing else is known of such a
            method, it counts as pruning.
    """
    found, pruning = set(names), set(with_ratio)
    complete = {name: KNOWN_METHODS[name] for name in KNOWN_METHODS if name in found}
    complete |= given
    for number, name in enumerate(sorted(found - set(complete))):
        group = PRUNING if name in pruning else QUANTIZATION
        complete[name] = method_record(name, number, group=group)
    return complete
