"""Findings 3, 4 and 6: which norm and which quantization keeps most of the return; tickets.

Finding 6 is the lottery ticket hypothesis, by one-shot pruning as the paper tests it and as it is
stated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from squeezerl.analysis.finding import (
    FEWEST_CELLS,
    REFUTED,
    SUPPORTED,
    UNDECIDED,
    Finding,
    clipped,
    figure,
    inside,
    over_cells,
    percent,
    share_interval,
    too_few,
    verdict_at,
)
from squeezerl.analysis.hierarchy import AgentDraws, Key
from squeezerl.analysis.published import (
    DYNAMIC,
    L1,
    L2,
    NORMS,
    QUANTIZED,
    RANDOM_TICKET,
    STATIC,
    TICKETS,
    published_cell,
)
from squeezerl.analysis.retention import THRESHOLD
from squeezerl.analysis.tables import best_methods, clearly_higher, difference
from squeezerl.records import Interval

_EXCEPTION = ("PPO", "HalfCheetah")
_TEN_PERCENT: Key = (L2, 0.1)
# A ticket whose retention is higher than a random one's by less than this is hardly better.
_TICKET_MARGIN = 0.05
# "About 40 %" counts as at least 30 %.
_ABOUT = 0.1


def l2_beats_l1(agents: Sequence[AgentDraws]) -> Finding:
    """Finding 3a."""
    ahead, gains = [], []
    for agent in agents:
        ratios = [r for m, r in agent.methods if m == L1 and (L2, r) in agent.methods]
        pairs = [(agent.methods[L2, r], agent.methods[L1, r]) for r in ratios]
        pairs = [(l2, l1) for l2, l1 in pairs if l2.trained and l1.trained]
        if not pairs:
            continue
        # The share of resamples in which it is ahead, equal ones by half: near 1/2 where the two
        # cannot be told apart, so that noise counts neither way.
        ahead.append(np.mean([(1 + np.sign(difference(*pair)[1:]).mean()) / 2 for pair in pairs]))
        gains.append(np.mean([a.kept - b.kept for a, b in pairs]))
    improvement = clipped(over_cells(ahead), 0.0, 1.0)
    return Finding(
        number=3,
        part="a",
        claim="L2 pruning beats L1.",
        hypothesis="At the same ratio L2 is more likely to have the higher mean return than L1: "
        "supported if the interval of the probability is above 1/2, refuted if below.",
        statistic="probability that L2's mean return is higher, over ratios, mean over cells",
        estimate=improvement,
        # Nothing but ties is an interval of 1/2 alone, and no support.
        verdict=inside(improvement, np.nextafter(0.5, 1.0), 1.0)
        if len(ahead) >= FEWEST_CELLS and improvement and improvement.high != 0.5
        else UNDECIDED,
        evidence=f"L2 is ahead with probability {figure(improvement)}; its retention is higher by "
        f"{figure(over_cells(gains), 3)}."
        if improvement
        else too_few("pruned by L1 and L2", len(ahead)),
        cells=len(ahead),
    )


def ten_percent_keeps(agents: Sequence[AgentDraws]) -> Finding:
    """Finding 3b."""
    cells = [agent for agent in agents if agent.is_trained(_TEN_PERCENT)]
    cells = [agent for agent in cells if _cell(agent) != _EXCEPTION]
    verdicts = {agent.agent: verdict_at(agent, _TEN_PERCENT) for agent in cells}
    kept = sum(verdict == "keeps" for verdict in verdicts.values())
    lost = sum(verdict == "loses" for verdict in verdicts.values())
    # One loser refutes, so that the error must be shared between all that could be one.
    certain = [
        agent.agent for agent in cells if verdict_at(agent, _TEN_PERCENT, len(cells)) == "loses"
    ]
    verdict = UNDECIDED
    if certain:
        verdict = REFUTED
    elif len(cells) >= FEWEST_CELLS and kept == len(cells):
        verdict = SUPPORTED
    return Finding(
        number=3,
        part="b",
        claim="About 10 % L2 pruning is beneficial, except for PPO on HalfCheetah.",
        hypothesis="L2 pruning of 10 % keeps 90 % of the normalised return in every other cell: "
        "supported if all keep, refuted if one clearly loses (by Bonferroni over cells).",
        statistic="share of cells that keep 90 %",
        estimate=share_interval(kept, len(cells) - lost, len(cells)) if cells else None,
        verdict=verdict,
        evidence=f"Of {len(cells)} cells {kept} keep 90 %, {lost} lose"
        + (f" (beyond doubt {', '.join(sorted(certain))})" if certain else "")
        + f", {len(cells) - kept - lost} undecided."
        if cells
        else too_few("pruned to 10 % by L2", 0),
        cells=len(cells),
    )


def ppo_halfcheetah_is_the_exception(agents: Sequence[AgentDraws]) -> Finding:
    """Finding 3c."""
    cells = [a for a in agents if _cell(a) == _EXCEPTION and a.is_trained(_TEN_PERCENT)]
    verdicts = {agent.agent: verdict_at(agent, _TEN_PERCENT) for agent in cells}
    retention = None
    if len(cells) == 1:
        draws = cells[0].methods[_TEN_PERCENT]
        assert draws.retention is not None
        retention = draws.interval(draws.retention)
    verdict = UNDECIDED
    if "keeps" in verdicts.values():
        verdict = REFUTED
    elif verdicts and set(verdicts.values()) == {"loses"}:
        verdict = SUPPORTED
    said = ", ".join(f"{name} {outcome}" for name, outcome in sorted(verdicts.items()))
    once = cells and all(agent.methods[_TEN_PERCENT].train_seeds == 1 for agent in cells)
    return Finding(
        number=3,
        part="c",
        claim="About 10 % L2 pruning is beneficial, except for PPO on HalfCheetah.",
        hypothesis="L2 pruning of 10 % loses the 90 % with PPO on HalfCheetah: supported if the "
        "verdict is that it loses, refuted if it keeps.",
        statistic="normalised retention",
        estimate=retention,
        verdict=verdict,
        evidence=f"At 10 % L2: {said}; retention {figure(retention)}."
        + (" One training says nothing about others." if once else "")
        if said
        else too_few("of PPO on HalfCheetah pruned to 10 % by L2", 0),
        cells=len(cells),
    )


def ptdq_is_best(agents: Sequence[AgentDraws]) -> Finding:
    """Finding 4a."""
    return _extreme(
        agents,
        method=DYNAMIC,
        sign=1,
        part="a",
        claim="PTDQ is the best quantization (in 40 % of models; QAT 36 %, PTSQ 24 %).",
    )


def ptsq_is_worst(agents: Sequence[AgentDraws]) -> Finding:
    """Finding 4b."""
    return _extreme(
        agents,
        method=STATIC,
        sign=-1,
        part="b",
        claim="PTSQ is the worst quantization.",
    )


def shift_explains_ptsq() -> Finding:
    """Finding 4c."""
    return Finding(
        number=4,
        part="c",
        claim="PTSQ is the worst for the shift between calibration data and deployment.",
        hypothesis="PTSQ keeps more the closer its calibration data are to what it meets deployed.",
        statistic="retention of PTSQ against the calibration data it was given",
        estimate=None,
        verdict=UNDECIDED,
        evidence="Takes PTSQ with several calibration data of known distance from deployment, "
        "which no study holds; that PTSQ is worse would not show why.",
        cells=0,
    )


def few_survive_more_than_5_percent(agents: Sequence[AgentDraws]) -> Finding:
    """Finding 6a."""
    return _survival(
        agents,
        part="a",
        what="more than 5 % pruning",
        beyond=lambda ratio: ratio > 0.05,
        nearest=0.1,
        published=0.4,
    )


def few_survive_50_percent(agents: Sequence[AgentDraws]) -> Finding:
    """Finding 6b."""
    return _survival(
        agents,
        part="b",
        what="50 % pruning",
        beyond=lambda ratio: ratio >= 0.5,
        nearest=0.5,
        published=0.8,
    )


def tickets_do_not_win(agents: Sequence[AgentDraws]) -> Finding:
    """Finding 6c."""
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
        f"its retention is below {THRESHOLD:g}, or less than {_TICKET_MARGIN:g} above the random "
        f"ticket's and not clearly above it, by the intervals; refuted if it is at least "
        f"{THRESHOLD:g} and clearly above the random ticket's.",
        statistic="retention of the ticket less that of a random ticket, mean over cells",
        estimate=gain,
        verdict=_ticket_verdict(retention, gain, len(kept)),
        evidence=f"With {_percentages(ratios)} removed, tickets keep {figure(retention)}; their "
        f"retention is higher than that of random tickets by {figure(gain)}."
        if gain
        else too_few("with tickets and random tickets, pruned, rewound and retrained", len(kept)),
        cells=len(kept),
    )


def _extreme(
    agents: Sequence[AgentDraws],
    *,
    method: str,
    sign: int,
    part: str,
    claim: str,
) -> Finding:
    """Whether a quantization is better (sign 1) or worse (-1) than each of the others."""
    others = [other for other in QUANTIZED if other != method]
    outcomes = {other: _outcomes(agents, method, other) for other in others}
    # To support takes all of them, each at its own level; to refute, one of them.
    each = {other: _share_of_clear(values, sign) for other, values in outcomes.items()}
    strict = [_share_of_clear(values, sign, len(others)) for values in outcomes.values()]
    verdict = UNDECIDED
    if any(share and share.high < 0.5 for share in strict):
        verdict = REFUTED
    elif all(share and share.low > 0.5 for share in each.values()):
        verdict = SUPPORTED
    # Nearest to refuting it.
    least = min((i for i in each.values() if i), key=lambda i: i.estimate, default=None)
    better = "better" if sign > 0 else "worse"
    against = [
        f"{other}: better in {sum(v > 0 for v in values)}, worse in {sum(v < 0 for v in values)}, "
        f"tied in {sum(v == 0 for v in values)} of {len(values)}"
        for other, values in outcomes.items()
    ]
    compared = min((len(values) for values in outcomes.values() if values), default=0)
    return Finding(
        number=4,
        part=part,
        claim=claim,
        hypothesis=f"Against each other quantization, {method} is clearly {better} in more cells "
        "than it is clearly the contrary; differences whose interval holds 0 are ties and left "
        "out. Supported if the interval of the share is above 1/2 against each, refuted if it is "
        "below against one (exact binomial intervals).",
        statistic=f"share of the cells without a tie where {method} is {better}, against the "
        "quantization against which it is the least",
        estimate=least,
        verdict=verdict,
        evidence=f"{method} against {'; '.join(against)} cells. {_best_shares(agents)}",
        cells=compared,
    )


def _share_of_clear(outcomes: Sequence[int], sign: int, comparisons: int = 1) -> Interval | None:
    """The share of outcomes with this sign among those that are not ties."""
    hits = sum(outcome == sign for outcome in outcomes)
    clear = sum(outcome != 0 for outcome in outcomes)
    if len(outcomes) < FEWEST_CELLS or not clear:
        return None
    return share_interval(hits, hits, clear, comparisons)


def _outcomes(agents: Sequence[AgentDraws], method: str, other: str) -> list[int]:
    """1 where the method's return is clearly higher, -1 where it is clearly lower, else 0."""
    found = []
    for agent in agents:
        one, two = (agent.methods.get((name, None)) for name in (method, other))
        if one is None or two is None or not (one.trained and two.trained):
            continue
        found.append(int(clearly_higher(one, two)) - int(clearly_higher(two, one)))
    return found


def _best_shares(agents: Sequence[AgentDraws]) -> str:
    every = [best for agent in agents if (best := best_methods(agent, QUANTIZED))]
    clear = [next(iter(best)) for best in every if "best" in best.values()]
    counts = ", ".join(f"{method} {clear.count(method)}" for method in QUANTIZED)
    return f"Clearly the best: {counts}; tied in {len(every) - len(clear)} of {len(every)} cells."


def _cell(agent: AgentDraws) -> tuple[str, str]:
    return published_cell(agent.algorithm, agent.env_id)


def _ticket_verdict(retention: Interval | None, gain: Interval | None, cells: int) -> str:
    if retention is None or gain is None or cells < FEWEST_CELLS:
        return UNDECIDED
    if retention.low >= THRESHOLD and gain.low > 0:
        return REFUTED
    no_better = gain.high < _TICKET_MARGIN and gain.low <= 0
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
    """Whether about the published share of cells keeps less than 90 % at all of these ratios."""
    cells = survived = fallen = 0
    for agent in agents:
        keys = [
            key
            for key in agent.methods
            if key[0] in NORMS and key[1] is not None and beyond(key[1]) and agent.is_trained(key)
        ]
        # What a cell survives is not known if it was only pruned further than that.
        if not keys or min(ratio for _, ratio in keys if ratio is not None) > nearest:
            continue
        cells += 1
        # One ratio that keeps is enough to survive, but by luck each could be that one.
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
        cells=cells,
    )
