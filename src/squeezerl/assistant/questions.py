"""Questions about figures, understood by their words: which cells, which quantity, what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable

from squeezerl.analysis.methods import BASELINE, PRUNING, QUANTIZATION
from squeezerl.analysis.published import ALGORITHMS, ENVIRONMENTS, NORMS, QUANTIZED
from squeezerl.analysis.retention import THRESHOLD
from squeezerl.assistant.figures import (
    MOST_ROWS,
    PRUNED,
    Cells,
    Figures,
    best_methods,
    compare_with_paper,
    count_trained,
    count_verdicts,
    paper_figures,
    query_results,
)
from squeezerl.assistant.passage import Kind
from squeezerl.assistant.results import Results
from squeezerl.methods.recipe import known_records
from squeezerl.records import MethodRecord

_PAPER = re.compile(r"\b(papers?|authors?|published|publication|lu et al|tables? [123])\b")
_OWN = re.compile(r"\b(my|mine|ours?|here|(these|those) (findings|results|figures|numbers))\b")
_PEOPLE = re.compile(r"\b(they|their|this study)\b")
_HOW = re.compile(
    r"\b(how (do|can|should) i|(can|do|should|where can|must) i|is it|does it|supported)\b"
)
_COMPARE = re.compile(
    r"\b(compar\w*|agree\w*|disagree\w*|differ\w*|same|beside|versus|vs|against|reproduc\w*|match\w*)\b"
)
_UNTRAINED = re.compile(r"\b(un)?trained\b")
_COUNTED = re.compile(r"\b(how many|which|list)\b")
_EXPLAIN = re.compile(r"^\s*(why|what (does|do) .* mean|what is (a |an |the )?\w+\?)")
_GENERAL = re.compile(
    r"\b(how|what) (did|does|do|is|are)\b.*\b(do|go|fare|perform\w*|get|result\w*)\b"
)
# Each quantity by the words that ask for it; the first that fits counts.
_QUANTITY_WORDS = (
    ("weight_times", r"times smaller|compression (ratio|factor)|how much smaller"),
    ("latency_times", r"times faster|speed-?up|how much faster"),
    ("energy_times", r"times less energy|how much energy .* save"),
    ("retention", r"keeps?|kept|keeping|retain\w*|retention|left|los(e|es|t|s)|surviv\w*|beats?|"
                  r"better|worse|preserv\w*"),
    ("latency_s", r"fast\w*|slow\w*|latency|speed|quick\w*|inference|decision time|microseconds?"),
    ("energy_j", r"energy|joules?|power|battery|frugal\w*"),
    ("memory_bytes", r"memory|ram"),
    ("file_bytes", r"file size|size of the file|bytes of the file|onnx file"),
    ("weight_bytes", r"bytes?|size|small\w*|big\w*|large\w*|kilobytes?|kb|compact"),
    ("mean_return", r"returns?|rewards?|scores?|points"),
    ("verdict", r"verdicts?"),
)  # fmt: skip
# Superlatives: the quantity that they are about, and whether less is meant.
_SUPERLATIVES = (
    (r"smallest|tiniest|fewest bytes|least bytes|most compact", "weight_bytes", True),
    (r"(largest|biggest)", "weight_bytes", False),
    (r"fastest|quickest|lowest latency|least time", "latency_s", True),
    (r"slowest", "latency_s", False),
    (
        r"least energy|most frugal|fewest joules|lowest energy|most energy efficient",
        "energy_j",
        True,
    ),
    (r"least memory|least ram|lowest memory", "memory_bytes", True),
    (r"highest (return|reward|score)|most (return|reward)", "mean_return", False),
    (r"best|keeps? (the )?most|highest retention|retains? (the )?most", "retention", False),
    (r"worst|keeps? (the )?least|lowest retention|los(es|t) (the )?most", "retention", True),
)
_GROUPS = {
    QUANTIZATION: r"quanti[sz]\w*|int8|8[- ]?bits?",
    PRUNING: r"prun\w*",
}
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*(?:%|percent|per cent)")
_THRESHOLD = re.compile(
    r"(?:at least|keep\w*|retain\w*|with|>=?|≥)\s*(?:at least\s*)?(\d+(?:\.\d+)?)\s*(?:%|percent)|"
    r"(\d+(?:\.\d+)?)\s*(?:%|percent)\s+(?:of (?:the|its|their) )?(?:return|reward|retention)"
)


def computed(question: str, results: Results | None) -> Figures | None:
    """The figures that a question asks for; `None` where it asks for none that are known."""
    text = question.lower()
    if _EXPLAIN.search(text):
        return None
    about_paper = bool(_PAPER.search(text))
    comparing = bool(_COMPARE.search(text)) or bool(_OWN.search(text))
    if about_paper and comparing and results is not None and len(results.comparison):
        return compare_with_paper(results, compared_cells(text, results))
    if about_paper or results is None:
        return _paper(text)
    return _own(text, results)


def _own(text: str, results: Results) -> Figures | None:
    cells = find_cells(text, results)
    threshold = find_threshold(text, results)
    if _COUNTED.search(text) and _UNTRAINED.search(text):
        return count_trained(results, Cells(environments=cells.environments,
                                            algorithms=cells.algorithms))  # fmt: skip
    for pattern, quantity, least in _SUPERLATIVES:
        if re.search(rf"\b(?:{pattern})\b", text):
            found = best_methods(results, cells, quantity, least=least, threshold=threshold)
            return found if len(found.frame) else None
    quantities = find_quantities(text)
    judged = threshold in (THRESHOLD, *results.cells["threshold"].unique())
    if "how many" in text and judged and "retention" in quantities:
        return count_verdicts(results, cells)
    named = cells.methods or cells.environments or cells.algorithms or cells.agents
    if not named or not (quantities or _GENERAL.search(text)):
        return None
    found = query_results(results, cells, quantities or ["retention", "mean_return"])
    # What needs more than a table can hold is a question for the findings.
    return found if 0 < len(found.frame) <= MOST_ROWS else None


def _paper(text: str) -> Figures | None:
    environments = find_environments(text, ENVIRONMENTS)
    algorithms = find_algorithms(text, ALGORITHMS)
    methods = find_methods(text, known_records(), (BASELINE, *QUANTIZED, PRUNED))
    asked = find_quantities(text) or _GENERAL.search(text)
    if not asked or not (environments or algorithms):
        return None
    if methods and BASELINE not in methods:
        methods = (BASELINE, *methods)
    figures = paper_figures(
        Cells(environments=environments, algorithms=algorithms, methods=methods)
    )
    return figures if len(figures.frame) else None


def likely_kinds(text: str, results: Results | None) -> tuple[Kind, ...]:
    """The kinds of passages that a question is about, by its wording; empty if it does not say."""
    if _OWN.search(text):
        return ("results", "yours")
    if _PAPER.search(text) or _PEOPLE.search(text):
        return ("paper",)
    if results is not None:
        cells = find_cells(text, results)
        if cells.methods and (cells.environments or cells.algorithms or cells.agents):
            return ("results",)
    return ("docs", "registry") if _HOW.search(text) else ()


def find_cells(text: str, results: Results) -> Cells:
    """The policies that a question names, among those of the results."""
    cells = results.cells
    methods = find_methods(text, known_records(), tuple(cells["method"].unique()))
    ratios = {round(float(ratio), 6) for ratio in cells["ratio"].dropna().unique()}
    threshold = find_threshold(text, results)
    return Cells(
        environments=find_environments(text, tuple(cells["env_id"].unique())),
        algorithms=find_algorithms(text, cells["algorithm"].str.lower().unique()),
        methods=methods,
        ratios=tuple(
            share
            for value in _PERCENT.findall(text)
            if (share := round(float(value) / 100, 6)) in ratios and share != threshold
        ),
        agents=tuple(
            agent
            for agent in cells["agent"].unique()
            if re.search(rf"(?<![\w-]){re.escape(agent.lower())}(?![\w-])", text)
        ),
    )


def find_threshold(text: str, results: Results) -> float | None:
    """The share of the return that must be kept, where a question names one."""
    for match in _THRESHOLD.finditer(text):
        return float(match[1] or match[2]) / 100
    ratios = {round(float(ratio), 6) for ratio in results.cells["ratio"].dropna().unique()}
    shares = [round(float(value) / 100, 6) for value in _PERCENT.findall(text)]
    return next((share for share in shares if share not in ratios and share > 0.5), None)


def find_quantities(text: str) -> list[str]:
    """The quantities that a question asks for."""
    found = [name for name, pattern in _QUANTITY_WORDS if re.search(rf"\b(?:{pattern})\b", text)]
    if "retention" in found and "mean_return" in found:
        found.remove("mean_return")  # "how much of the reward is left"
    for times, plain_one in (("weight_times", "weight_bytes"), ("latency_times", "latency_s"),
                             ("energy_times", "energy_j")):  # fmt: skip
        if times in found and plain_one in found:
            found.remove(plain_one)
    return found[:1] if found and found[0] in ("weight_times", "latency_times") else found


def find_environments(text: str, known: Iterable[str]) -> tuple[str, ...]:
    """The environments that a text names, with or without their version."""
    names: dict[str, list[str]] = {}
    for env_id in known:
        base = re.sub(r"-v\d+.*$", "", env_id.rpartition("/")[2].rpartition(":")[2])
        spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "[ -]?", base).lower()
        names.setdefault(spaced, []).append(env_id)
    found: list[str] = []
    # Longest first, so that Humanoid is not found in HumanoidStandup.
    for pattern in sorted(names, key=len, reverse=True):
        spots = list(re.finditer(rf"(?<![a-z]){pattern}(?:-v\d+)?(?![a-z])", text))
        for spot in spots:
            exact = [env_id for env_id in names[pattern] if env_id.lower() == spot[0]]
            found += (exact if "-v" in spot[0] else []) or names[pattern]
            text = text.replace(spot[0], " ")
    return tuple(dict.fromkeys(found))


def find_methods(
    text: str, records: Iterable[MethodRecord], known: tuple[str, ...]
) -> tuple[str, ...]:
    """The methods that a text names, by name, label or group; only those that are known."""
    by_name = {record.name: record for record in records}
    words = {name: name.lower() for name in known if name not in (BASELINE, PRUNED)}
    patterns: dict[str, str] = {}
    for name, lower in words.items():
        # Behind a name its share may stand: "l2-30".
        patterns[name] = rf"(?<![\w-]){re.escape(lower)}(?![\w+]|-(?!\d))"
        record = by_name.get(name)
        if record is not None and "naive" not in name:
            for label in _labels(record):
                patterns[name] += rf"|(?<![\w-]){label}(?![\w-])"
    patterns[BASELINE] = r"\b(baselines?|uncompressed|float|without compression|original)\b"
    found = [name for name in known if name in patterns and re.search(patterns[name], text)]
    groups = [group for group, pattern in _GROUPS.items() if re.search(rf"\b(?:{pattern})\b", text)]
    for group in groups:
        members = [
            n for n in known if n in by_name and by_name[n].group == group and "naive" not in n
        ]
        if group == PRUNING and PRUNED in known:
            members.append(PRUNED)
        if not any(name in members for name in found):
            found += members
    if PRUNED in known and any(re.search(rf"\b{norm}\b", text) for norm in NORMS):
        found.append(PRUNED)
    return tuple(dict.fromkeys(found))


def _labels(record: MethodRecord) -> list[str]:
    """How people call a method: what its label says in brackets, whole and by its first word."""
    inside = re.search(r"\((.+?)\)", record.label.lower())
    if inside is None:
        return [re.escape(record.label.lower()).replace(r"\ ", "[ -]?")]
    adjective = inside[1].split()[0]
    names = [re.escape(record.label.lower().partition(" (")[0])]
    if adjective != "int8":
        names += [re.escape(inside[1]), adjective]
    if record.name == QUANTIZED[2]:
        names.append("quanti[sz]ation[- ]aware( training)?")
    return names


def compared_cells(text: str, results: Results) -> Cells:
    """The rows of the comparison that a text names, by their names or by the paper's tables."""
    frame = results.comparison
    methods = find_methods(text, known_records(), (*QUANTIZED, PRUNED))
    tables = set(re.findall(r"tables? ([123])", text))
    if not methods and tables:
        methods = (
            *(QUANTIZED if "1" in tables else ()),
            *((PRUNED,) if tables & {"2", "3"} else ()),
        )
    return Cells(
        environments=find_environments(text, tuple(frame["env_id"].unique())),
        algorithms=find_algorithms(text, frame["algorithm"].str.lower().unique()),
        methods=methods,
    )


def find_algorithms(text: str, known: Iterable[str]) -> tuple[str, ...]:
    """The algorithms that a text names, as they are known."""
    return tuple(
        name
        for name in known
        if re.search(rf"(?<![a-z0-9]){re.escape(name.lower())}(?![a-z0-9])", text)
    )
