"""Finding 6: the lottery ticket hypothesis, by one-shot pruning and as it is stated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from squeezerl.analysis.finding import (
    FEWEST_CELLS,
    REFUTED,
    SUPPORTED,
    UNDECIDED,
    Finding,
    figure,
    over_cells,
    percent,
    share_interval,
    too_few,
    verdict_at,
)
from squeezerl.analysis.hierarchy import AgentDraws
from squeezerl.analysis.rule import THRESHOLD
from squeezerl.analysis.tables import NORMS
from squeezerl.records import Interval

TICKETS = tuple(f"ticket-{norm}" for norm in NORMS)
RANDOM_TICKET = "ticket-random"
# A ticket whose retention is higher than a random one's by less than this is no better to speak of.
_MARGIN = 0.05
# "About 40 %" counts as at least 30 %.
_ABOUT = 0.1


def few_survive_more_than_5_percent(agents: Sequence[AgentDraws]) -> Finding:
    """6a."""
    return _survival(
        agents,
        part="a",
        what="more than 5 % pruning",
        beyond=lambda ratio: ratio > 0.05,
        nearest=0.1,
        published=0.4,
    )


def few_survive_50_percent(agents: Sequence[AgentDraws]) -> Finding:
    """6b."""
    return _survival(
        agents,
        part="b",
        what="50 % pruning",
        beyond=lambda ratio: ratio >= 0.5,
        nearest=0.5,
        published=0.8,
    )


def tickets_do_not_win(agents: Sequence[AgentDraws]) -> Finding:
    """6c."""
    kept, gained, ratios = [], [], set()
    for agent in agents:
        tickets = [
            key
            for key in agent.methods
            if key[0] in TICKETS
            and agent.is_trained(key)
            and agent.is_trained((RANDOM_TICKET, key[1]))
        ]
        if tickets:
            ratios |= {ratio for _, ratio in tickets if ratio is not None}
            random = [agent.methods[RANDOM_TICKET, ratio].kept for _, ratio in tickets]
            ours = [agent.methods[key].kept for key in tickets]
            kept.append(float(np.mean(ours)))
            gained.append(float(np.mean(ours) - np.mean(random)))
    retention, gain = over_cells(kept), over_cells(gained)
    return Finding(
        number=6,
        part="c",
        claim="The lottery ticket hypothesis does not hold.",
        hypothesis="Pruned, rewound to its initial weights and trained again, a policy does not "
        "reach its baseline, or does no better than a random ticket of the same size. Supported if "
        f"its retention is below {THRESHOLD:g}, or less than {_MARGIN:g} above the random ticket's "
        f"and not clearly above it, by the intervals; refuted if it is at least {THRESHOLD:g} and "
        "clearly above the random ticket's.",
        statistic="retention of the ticket less that of a random ticket, mean over cells",
        estimate=gain,
        verdict=_ticket_verdict(retention, gain, len(kept)),
        evidence=f"With {_percentages(ratios)} removed, tickets keep {figure(retention)}; their "
        f"retention is higher than that of random tickets by {figure(gain)}."
        if gain
        else too_few("with tickets and random tickets, pruned, rewound and retrained", len(kept)),
        samples=len(kept),
    )


def _ticket_verdict(retention: Interval | None, gain: Interval | None, cells: int) -> str:
    if retention is None or gain is None or cells < FEWEST_CELLS:
        return UNDECIDED
    if retention.low >= THRESHOLD and gain.low > 0:
        return REFUTED
    no_better = gain.high < _MARGIN and gain.low <= 0
    return SUPPORTED if retention.high < THRESHOLD or no_better else UNDECIDED


def _percentages(ratios: Iterable[float]) -> str:
    return ", ".join(f"{100 * ratio:g}" for ratio in sorted(ratios)) + " %"


def _survival(
    agents: Sequence[AgentDraws],
    *,
    part: str,
    what: str,
    beyond: Callable[[float], bool],
    nearest: float,
    published: float,
) -> Finding:
    """Whether about as many cells as published lose 90 % of their return at all such ratios."""
    cells = survived = fallen = 0
    for agent in agents:
        keys = [
            key
            for key in agent.methods
            if key[0] in NORMS and key[1] is not None and beyond(key[1]) and agent.is_trained(key)
        ]
        # Of a cell that was only pruned further it is not known what it survives.
        if not keys or min(ratio for _, ratio in keys if ratio is not None) > nearest:
            continue
        cells += 1
        # One that keeps is enough to survive, and each could be that one by luck; all must lose.
        survived += any(verdict_at(agent, key, len(keys)) == "keeps" for key in keys)
        fallen += all(verdict_at(agent, key) == "loses" for key in keys)
    share = share_interval(fallen, cells - survived, cells) if cells else None
    bound = published - _ABOUT
    verdict = UNDECIDED
    if share is not None and cells >= FEWEST_CELLS:
        verdict = SUPPORTED if share.low >= bound else REFUTED if share.high < bound else UNDECIDED
    return Finding(
        number=6,
        part=part,
        claim=f"About {100 * published:.0f} % of models do not survive {what}.",
        hypothesis=f"At least {100 * bound:.0f} % of models keep less than 90 % of their "
        f"normalised return with {what} in either norm: supported if the interval of the share is "
        "at least that, refuted if below.",
        statistic="share of cells that do not survive, undecided ones counted both ways",
        estimate=share,
        verdict=verdict,
        evidence=f"Of {cells} cells {survived} survive {what}, {fallen} do not, "
        f"{cells - survived - fallen} undecided: {percent(share)} do not."
        if cells
        else too_few(f"with {what} in L1 or L2", cells),
        samples=cells,
    )
