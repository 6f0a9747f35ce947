"""How policies behave beyond their return, as JSON and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from squeezerl.evaluation.behaviour import Behaviour
from squeezerl.report.document import Block, Heading, Paragraph, Table
from squeezerl.report.evaluation_report import evaluation_summary
from squeezerl.report.text import DASH, format_return


def behaviour_json(found: Behaviour) -> dict[str, Any]:
    """Null is what does not apply."""
    return {
        "deviation": found.deviation,
        "jerk": found.jerk,
        "mean_length": found.mean_length,
        "ended_early": found.ended_early,
        **evaluation_summary(found.record),
        "disturbed": {name: evaluation_summary(r) for name, r in found.disturbed.items()},
    }


def behaviour_blocks(found: Mapping[str, Behaviour]) -> tuple[Block, ...]:
    """A row for each measure, a column for each policy."""
    if not found:
        return ()
    policies = list(found.values())
    rows = [
        ("deviation from the float policy", *(f"{p.deviation:.3f}" for p in policies)),
        ("jerk", *(DASH if p.jerk is None else f"{p.jerk:.3f}" for p in policies)),
        ("steps of an episode", *(f"{p.mean_length:,.0f}" for p in policies)),
        (
            "episodes that ended early",
            *(DASH if p.ended_early is None else f"{p.ended_early:.0%}" for p in policies),
        ),
        ("return [95 %]", *(format_return(p.record) for p in policies)),
        *(
            (f"return, {name}", *(format_return(p.disturbed[name]) for p in policies))
            for name in policies[0].disturbed
        ),
    ]
    return (
        Heading("Behaviour beyond return"),
        Paragraph(
            f"Over {len(policies[0].record.episodes)} episodes under each condition. Deviation is "
            "the root mean square of the difference between the policy's and the float policy's "
            "actions in the states that the policy visits, and jerk that of the second difference "
            "of successive actions, both in half ranges of the action; for discrete actions, "
            "deviation is the share of states with another action. Observation noise is in "
            "standard deviations of each feature. Changed physics runs in Gymnasium."
        ),
        Table(header=("", *found), rows=tuple(rows), left=(0,)),
    )
