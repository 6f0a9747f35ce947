"""How near a policy's actions are to the original's, as JSON and as a document."""

from __future__ import annotations

from typing import Any

from squeezerl.evaluation.actions import ActionRetention, Decision
from squeezerl.records import to_json
from squeezerl.report.document import Block, Document, Heading, Paragraph, Table
from squeezerl.report.text import DASH

NO_RETURN = (
    "This is no guarantee on the return: it says how often actions are near the original's in the "
    "states of the log. A policy strays to other states, and a small deviation in the wrong moment "
    "can cost everything. Play it in an environment, or watch it on the robot, before you trust it."
)
_SHOWN = 10  # dimensions of an action, and features


def action_json(found: ActionRetention) -> dict[str, Any]:
    """The keys that `--json` promises; `recorded` is null where the log holds no actions."""
    data: dict[str, Any] = to_json(found)
    share = data.pop("share")
    return data | {
        "demand": found.demand.text,
        "share": share["estimate"],
        "share_bounds": [share["low"], share["high"]],
        "confidence": 1 - 2 * found.error,
    }


def verdict_text(found: ActionRetention) -> str:
    """For example "99.61 % of decisions [99.40, 99.76] are within 2 % of the range: keeps 99 %"."""
    said = {"keeps": "keeps", "loses": "does not keep", "undecided": "undecided whether it keeps"}
    more = ""
    if found.verdict == "undecided":
        more = (
            "; a longer log would not decide it"
            if found.more_decisions is None
            else f"; about {found.more_decisions:,} more rows to judge on would decide it"
        )
    return f"{said[found.verdict]} {100 * found.demand.share:g} % of decisions{more}"


def format_share(found: ActionRetention) -> str:
    """For example "99.61 % [99.40, 99.76]"."""
    share = found.share
    return f"{100 * share.estimate:.2f} % [{100 * share.low:.2f}, {100 * share.high:.2f}]"


def demand_text(found: ActionRetention) -> str:
    """What a decision has to be to count, for example "within 2 % of the action's range"."""
    if not found.dimensions:
        return "the same as the original's"
    demand = found.demand
    if demand.in_units:
        each = ", ".join(f"{tolerance:g}" for tolerance in demand.tolerance)
        return f"within {each} of the original's, in the action's units"
    each = ", ".join(f"{100 * tolerance:g}" for tolerance in demand.tolerance)
    return f"within {each} % of the action's range of the original's"


def action_blocks(found: ActionRetention) -> tuple[Block, ...]:
    """The share, what it is worth, each dimension, the worst decisions, and the features."""
    blocks: list[Block] = [
        Paragraph(
            f"{found.kept:,} of {found.decisions:,} decisions are {demand_text(found)}"
            f"{' in every dimension' if len(found.dimensions) > 1 else ''}: {format_share(found)}, "
            f"exact bounds, each wrong in at most {100 * found.error:g} % of cases."
        ),
        Paragraph(verdict_text(found)),
    ]
    if found.correlation_time > 1:
        blocks.append(
            Paragraph(
                "Decisions that deviate come in a row: successive ones resemble each other, and "
                f"{found.correlation_time:.1f} of them say as much as an independent one. Over so "
                f"many fewer the share is at least {100 * found.cautious_low:.2f} %, and the "
                "verdict takes that."
            )
        )
    blocks.append(Paragraph(NO_RETURN))
    if found.recorded is not None:
        blocks.append(
            Paragraph(
                f"Of the actions that the log holds, the policy's are near enough to "
                f"{100 * found.recorded:.2f} %."
            )
        )
    if found.dimensions:
        blocks += [Heading("Each dimension of the action", 3), _dimensions_table(found)]
    if found.worst:
        blocks += [Heading("The worst decisions", 3), _worst_table(found)]
    return (*blocks, *_outside_blocks(found))


def action_document(found: ActionRetention) -> Document:
    """A policy against the original, on a log."""
    return Document(title="Actions against the original's", blocks=action_blocks(found))


def _dimensions_table(found: ActionRetention) -> Table:
    return Table(
        header=("dimension", "tolerance", "within", "mean deviation", "99 % below", "largest"),
        rows=tuple(
            (
                str(number),
                f"{each.tolerance:.4g}",
                f"{100 * each.within:.2f} %",
                f"{each.mean:.3g}",
                f"{each.p99:.3g}",
                f"{each.largest:.3g}",
            )
            for number, each in enumerate(found.dimensions)
        ),
    )


def _worst_table(found: ActionRetention) -> Table:
    return Table(
        header=("row", "times the tolerance", "original", "policy", "features outside"),
        rows=tuple(
            (
                f"{decision.row:,}",
                DASH if not found.dimensions else f"{decision.times:.1f}",
                _action(decision.wanted),
                _action(decision.done),
                _features(decision),
            )
            for decision in found.worst
        ),
        left=(2, 3, 4),
    )


def _action(values: tuple[float, ...]) -> str:
    more = ", …" if len(values) > _SHOWN else ""
    return ", ".join(f"{value:.3g}" for value in values[:_SHOWN]) + more


def _features(decision: Decision) -> str:
    more = ", …" if len(decision.outside) > _SHOWN else ""
    return ", ".join(map(str, decision.outside[:_SHOWN])) + more or DASH


def _outside_blocks(found: ActionRetention) -> tuple[Block, ...]:
    """Which features were outside of what policies were fitted to, the most often ones first."""
    if found.outside is None:
        return ()
    shares = sorted(enumerate(found.outside), key=lambda pair: -pair[1])
    seen = [(number, share) for number, share in shares if share > 0]
    if not seen:
        return (
            Paragraph("Every feature stayed within its range in the rows that were fitted to."),
        )
    more = f", and {len(seen) - _SHOWN} more" if len(seen) > _SHOWN else ""
    listed = ", ".join(f"feature {n} in {100 * share:.2g} %" for n, share in seen[:_SHOWN])
    return (
        Paragraph(
            "Outside of their range in the rows that were fitted to, by the share of rows: "
            f"{listed}{more}. Policies were not fitted to what happens there."
        ),
    )
