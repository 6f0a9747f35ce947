"""What tables and figures need to know of methods: the references, and how to show unknown ones.

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


def _reference(
    name: str, label: str, short: str, color: str, marker: str, dash: str
) -> MethodRecord:
    return MethodRecord(
        name=name,
        label=label,
        short=short,
        group=REFERENCE,
        color=color,
        marker=marker,
        dash=dash,
    )


# What every study has. Results bring the records of the methods that were run.
REFERENCES: Mapping[str, MethodRecord] = MappingProxyType(
    {
        BASELINE: _reference(BASELINE, "float", "float", "#000000", "*", "-"),
        RANDOM: _reference(RANDOM, "random policy", "random", "#8a8a8a", "x", ":"),
        CONSTANT: _reference(CONSTANT, "best constant action", "constant", "#8a8a8a", "_", "-."),
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
    if name in REFERENCES:
        return REFERENCES[name]
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
    complete = {name: REFERENCES[name] for name in REFERENCES if name in found}
    complete |= given
    for number, name in enumerate(sorted(found - set(complete))):
        group = PRUNING if name in pruning else QUANTIZATION
        complete[name] = method_record(name, number, group=group)
    return complete
