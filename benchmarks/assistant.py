"""How well the assistant finds what answers a question, and whether its figures are exact.

Prints JSON:

    python benchmarks/assistant.py                     # the default embeddings
    python benchmarks/assistant.py --embeddings none   # BM25 alone
    python benchmarks/assistant.py --failures          # also what was missed
    python benchmarks/assistant.py --llm ollama:llama3.1 --judge openai:gpt-4o-mini --limit 10

The questions and what answers them are in `assistant_questions.yaml`. `recall_at_5` is the share of
questions with an answering passage among the first five, `mrr` the mean reciprocal rank of the
first one among ten, over the questions that passages answer. Figures are compared with those that
this file takes from the raw results itself; one wrong figure makes a question wrong. `held_out`
are questions that the search was never tuned on. With `--llm` a language model also answers, and
`--judge` names the judge of its answers' faithfulness and relevancy (DeepEval).
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from squeezerl.analysis.frames import StudyData, plain
from squeezerl.analysis.published import published_best, published_quantized
from squeezerl.assistant.answer import NOT_THERE, Answer, Assistant
from squeezerl.assistant.passage import Passage
from squeezerl.assistant.results import results_of
from squeezerl.host.facts import host_facts
from squeezerl.records import to_json

QUESTIONS = Path(__file__).with_name("assistant_questions.yaml")
DEPTH = 10
HELD_OUT = "held_out"  # counted apart: the search was tuned on the others


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--embeddings")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--llm", help="PROVIDER:MODEL that writes answers")
    parser.add_argument("--judge", help="PROVIDER:MODEL that judges them")
    parser.add_argument("--limit", type=int, help="of the questions that are written and judged")
    parser.add_argument("--failures", action="store_true", help="also list what was missed")
    arguments = parser.parse_args()
    found = measure(arguments) | {"host": to_json(host_facts())}
    print(json.dumps(found, indent=1))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    data = made_study()
    asked = yaml.safe_load(QUESTIONS.read_text(encoding="utf-8"))
    started, cpu = time.perf_counter(), time.process_time()
    assistant = Assistant(
        results=results_of(data, "the made study"),
        embeddings=arguments.embeddings,
        cache=arguments.cache,
    )
    index_s, index_cpu_s = time.perf_counter() - started, time.process_time() - cpu
    report: dict[str, Any] = {
        "questions": sum(len(questions) for questions in asked.values()),
        "passages": len(assistant.index.passages),
        "embeddings": assistant.index.name,
        "index_s": index_s,
        "index_cpu_s": index_cpu_s,
    }
    ranks: list[float] = []
    held: list[float] = []
    exact: list[bool] = []
    held_exact: list[bool] = []
    seconds: list[float] = []
    missed: list[dict[str, Any]] = []
    for topic, questions in asked.items():
        own: list[float] = []
        for question in questions:
            started = time.perf_counter()
            answer = assistant.ask(question["ask"], count=DEPTH)
            seconds.append(time.perf_counter() - started)
            if "answers" in question:
                rank = rank_of(question["answers"], answer.passages, assistant.index.passages)
                (own if topic != HELD_OUT else held).append(rank)
                if rank > 5:
                    missed.append(
                        {"ask": question["ask"], "found": [p.id for p in answer.passages[:5]]}
                    )
            if "figures" in question:
                wrong = [
                    expected
                    for expected in question["figures"]
                    if not is_exact(expected, answer, data, assistant)
                ]
                (exact if topic != HELD_OUT else held_exact).append(not wrong)
                if wrong:
                    missed.append({"ask": question["ask"], "wrong": wrong})
        if topic != HELD_OUT:
            ranks += own
            report[topic] = {"questions": len(questions), **retrieval(own)}
    report |= {
        "all": retrieval(ranks),
        "figures": {"questions": len(exact), "exact": float(np.mean(exact))},
        HELD_OUT: {
            **retrieval(held),
            "figures": {"questions": len(held_exact), "exact": float(np.mean(held_exact))},
        },
        "answer_s": {"median": float(np.median(seconds)), "max": max(seconds)},
    }
    if arguments.llm:
        everything = [one["ask"] for questions in asked.values() for one in questions]
        report["written"] = written(assistant, everything[: arguments.limit], arguments)
    if arguments.failures:
        report["missed"] = missed
    return report


def written(
    assistant: Assistant, questions: Sequence[str], arguments: argparse.Namespace
) -> dict[str, Any]:
    """What a language model makes of the questions, and what a judge thinks of it."""
    from squeezerl.assistant.writing import Writer, find_model

    writer = Writer(assistant, find_model(arguments.llm), arguments.llm)
    answers = [writer.ask(question) for question in questions]
    report: dict[str, Any] = {
        "llm": arguments.llm,
        "answered": sum(answer.text != NOT_THERE for answer in answers),
        "taken_out": sum(len(answer.problems) for answer in answers),
    }
    if arguments.judge:
        from squeezerl.assistant.judging import judge

        model = find_model(arguments.judge)
        judged = [judge(a, model, arguments.judge) for a in answers if a.text != NOT_THERE]
        report["judge"] = arguments.judge
        for name in judged[0] if judged else ():
            report[name] = float(np.mean([one[name]["score"] for one in judged]))
    return report


def retrieval(ranks: Sequence[float]) -> dict[str, float]:
    return {
        "answered_by_passages": len(ranks),
        "recall_at_5": float(np.mean([rank <= 5 for rank in ranks])),
        "mrr": float(np.mean([1 / rank for rank in ranks])),
    }


def rank_of(
    answers: Sequence[Mapping[str, str]], found: Sequence[Passage], everything: Sequence[Passage]
) -> float:
    """The place of the first passage that answers, from 1; infinite if none does."""
    ids = set()
    for answer in answers:
        fitting = [passage.id for passage in everything if fits(answer, passage)]
        if not fitting:
            sys.exit(f"no passage is what should answer: {dict(answer)}")
        ids.update(fitting)
    return next((place for place, p in enumerate(found, 1) if p.id in ids), math.inf)


def fits(answer: Mapping[str, str], passage: Passage) -> bool:
    if "id" in answer:
        return passage.id == answer["id"]
    words = " ".join(passage.text.split())
    return passage.id.startswith(f"{answer['page']}#") and answer["says"] in words


def is_exact(
    expected: Mapping[str, Any], answer: Answer, data: StudyData, assistant: Assistant
) -> bool:
    """Whether the answer's table has exactly the expected figures, computed here in another way."""
    if not answer.figures:
        return False
    frame = answer.figures[0].frame
    assert assistant.results is not None
    cells = assistant.results.cells
    if "rows" in expected:
        wanted = expected["rows"]
        values = list(expected_figures(wanted, expected["column"], data, cells))
        mine = frame
        for name, value in wanted.items():
            name = "env_id" if name == "environment" else name
            mine = (
                mine[np.isclose(mine[name], value)]
                if name == "ratio"
                else mine[mine[name] == value]
            )
        return same(mine[expected["column"]], values)
    if "best" in expected:
        return same_best(expected, frame, data, cells)
    if "comparison" in expected:
        method = expected["comparison"]
        mine = frame[frame["method"] == method]
        if expected["column"] == "published_change":
            table = published_quantized().set_index(["algorithm", "environment"])
            values = [
                table.loc[(row.algorithm.upper(), row.environment), method]
                / table.loc[(row.algorithm.upper(), row.environment), "baseline"] - 1
                for row in mine.itertuples()
            ]  # fmt: skip
            return len(mine) == 4 and same(mine["published_change"], values)
        if expected["column"] == "change":
            values = [
                returns(data, row.agent, method).mean() / returns(data, row.agent, "float").mean()
                - 1
                for row in mine.itertuples()
            ]
            return len(mine) == 4 and same(mine["change"], values)
        best = published_best().set_index(["algorithm", "environment"])
        named = [best.loc[(r.algorithm.upper(), r.environment), "norm"] for r in mine.itertuples()]
        return len(mine) == 4 and list(mine["norm"]) == named
    if expected["count"] == "untrained":
        return len(frame) == 4 and list(frame["trained"]) == ["yes"] * 4
    ours = cells[cells["method"] == expected["method"]]
    count = int((ours["verdict"] == expected["count"]).sum())
    return f"{count} {expected['count']}" in answer.figures[0].title and len(frame) == len(ours)


def same_best(
    expected: Mapping[str, Any], frame: pd.DataFrame, data: StudyData, cells: pd.DataFrame
) -> bool:
    quantity = expected["best"]
    source = data.costs if quantity in data.costs else cells
    keep = cells[cells["retention_low"] >= expected.get("threshold", -math.inf)]
    allowed = {(row.agent, row.method, round(row.ratio, 6) if row.ratio == row.ratio else None)
               for row in keep.itertuples()}  # fmt: skip
    best: dict[str, float] = {}
    agents = 4 if "env_id" not in expected else 2
    for row in source.to_dict("records"):
        ratio = None if row["ratio"] is None or pd.isna(row["ratio"]) else round(row["ratio"], 6)
        if row["env_id"] != expected.get("env_id", row["env_id"]):
            continue
        if row["method"] == "float" or (row["agent"], row["method"], ratio) not in allowed:
            continue
        best[row["agent"]] = min(best.get(row["agent"], math.inf), row[quantity])
    mine = {row["agent"]: plain(row[quantity]) for row in frame.to_dict("records")}
    return mine == {agent: best.get(agent) for agent in mine} and len(mine) == agents


def expected_figures(
    wanted: Mapping[str, Any], column: str, data: StudyData, cells: pd.DataFrame
) -> Iterator[float]:
    """The figures of a policy, from raw returns and sizes where these decide them."""
    if "environment" in wanted:
        table = published_quantized()
        row = table[(table["algorithm"] == wanted["algorithm"])
                    & (table["environment"] == wanted["environment"])]  # fmt: skip
        yield float(row[wanted["method"]].iloc[0])
        return
    agent = f"{wanted['algorithm']}-{wanted['env_id']}"
    ratio = wanted.get("ratio")
    if column == "mean_return":
        yield returns(data, agent, wanted["method"], ratio).mean()
    elif column == "retention":
        random = np.concatenate(
            list(data.returns[(data.returns["method"] == "random")
                              & (data.returns["env_id"] == wanted["env_id"])]["returns"])
        ).mean()  # fmt: skip
        base = returns(data, agent, "float").mean()
        yield (returns(data, agent, wanted["method"], ratio).mean() - random) / (base - random)
    elif column == "weight_bytes":
        yield policies(data.returns, agent, wanted["method"], ratio)["weight_bytes"].mean()
    elif column == "weight_times":
        ours = policies(data.returns, agent, wanted["method"], ratio)["weight_bytes"].mean()
        yield policies(data.returns, agent, "float", None)["weight_bytes"].mean() / ours
    else:
        yield from policies(data.costs, agent, wanted["method"], ratio)[column]


def returns(data: StudyData, agent: str, method: str, ratio: float | None = None) -> Any:
    return np.concatenate(list(policies(data.returns, agent, method, ratio)["returns"]))


def policies(frame: pd.DataFrame, agent: str, method: str, ratio: float | None) -> pd.DataFrame:
    rows = frame[(frame["agent"] == agent) & (frame["method"] == method)]
    return rows if ratio is None else rows[np.isclose(rows["ratio"].astype(float), ratio)]


def same(mine: pd.Series[Any], values: Sequence[float]) -> bool:
    return len(mine) == len(values) > 0 and np.allclose(sorted(mine), sorted(values), rtol=1e-9)


def made_study() -> StudyData:
    """The study of the tests whose truth is known."""
    sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
    made: Any = importlib.import_module("made_study")
    study: StudyData = made.made_study()
    return study


if __name__ == "__main__":
    main()
