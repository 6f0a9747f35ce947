"""A squeeze: its JSON, its document, and the files that it leaves behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from squeezerl.analysis.retention import fewest_to_keep
from squeezerl.artifacts.artifact import Artifact, is_artifact, read_artifact
from squeezerl.evaluation.referee import Judgement
from squeezerl.pipeline.replay import POSTER, VIDEO, Film
from squeezerl.records import Retention, to_json
from squeezerl.report.behaviour_report import behaviour_blocks, behaviour_json
from squeezerl.report.chart_picture import draw_chart
from squeezerl.report.deployment import deployment
from squeezerl.report.document import (
    Beside,
    Block,
    Code,
    Document,
    Figure,
    Folded,
    Heading,
    Number,
    Numbers,
    Paragraph,
    Table,
    Text,
    Video,
    charts,
)
from squeezerl.report.evaluation_report import drawn_note, evaluation_summary, retention_json
from squeezerl.report.profile_report import (
    measured_cells,
    measured_columns,
    profile_blocks,
    profile_json,
)
from squeezerl.report.renderers import render
from squeezerl.report.squeeze_charts import (
    deviation_chart,
    latency_chart,
    layers_chart,
    pareto_chart,
    returns_chart,
)
from squeezerl.report.text import (
    DASH,
    format_interval,
    format_return,
    format_si,
    more_needed,
)
from squeezerl.search.candidates import BASELINE
from squeezerl.search.result import LogSqueezeResult, SqueezeResult, Trial


def write_squeeze_report(result: SqueezeResult, folder: Path, film: Film | None = None) -> None:
    """Write report.md, report.html, results.json and the pictures; paths are relative to `folder`.

    Args:
        result: of the squeeze.
        folder: with the chosen artifact, and its C program if there is one.
        film: of the original and the chosen policy, whose files are there already.
    """
    text = json.dumps(squeeze_json(result, Path()), indent=1)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")
    document = squeeze_document(result, folder, film)
    for figure in charts(document.blocks):
        draw_chart(figure, folder / figure.path)
    for renderer, name in (("markdown", "report.md"), ("html", "report.html")):
        (folder / name).write_text(render(document, renderer, folder), encoding="utf-8")


def squeeze_json(result: SqueezeResult, root: Path) -> dict[str, Any]:
    """A squeeze; artifacts are given as paths below `root`.

    `profile` is the row of `profile_json` for ONNX Runtime and `native_profile` that for the native
    runtime, null for candidates that were not measured.
    """
    trials = {trial.candidate: trial for trial in result.trials}
    profile = measured_json(result)
    measured: _Measured = {}
    for row in profile["rows"] if profile else ():
        measured.setdefault(row["artifact"], {})[_PROFILES[row["runtime"]]] = row
    if result.chosen == BASELINE:
        chosen: dict[str, Any] = {
            "method": BASELINE.name,
            "ratio": None,
            "weight_bytes": result.baseline_size.weight_bytes,
            "file_bytes": result.baseline_size.file_bytes,
            "retention": None,
            **_profiles(measured, BASELINE.name),
        }
    else:
        # The confirmation is the honest figure: the choice was made among thirty by the other.
        assert result.confirmation is not None
        selection = _trial_json(trials[result.chosen], root, measured)
        chosen = selection | {
            "retention": retention_json(result.confirmation.retention),
            "selection_retention": selection["retention"],
            **evaluation_summary(result.confirmation.record),
        }
    return {
        "agent": result.source.to_json(),
        "env_id": result.environment.id,
        "env_kwargs": dict(result.environment.kwargs),
        "backend": result.environment.backend,
        "calibration": to_json(result.calibration),
        "retain": result.retain,
        "episodes": result.episodes,
        "max_episodes": result.max_episodes,
        "seed": result.seed,
        "noise_seed": result.baseline_record.noise_seed,
        "baseline": {
            "method": BASELINE.name,
            "weight_bytes": result.baseline_size.weight_bytes,
            "file_bytes": result.baseline_size.file_bytes,
            "artifact": str(root / "candidates" / BASELINE.name),
            **_profiles(measured, BASELINE.name),
            **evaluation_summary(result.baseline_record),
        },
        "random": evaluation_summary(result.random_record),
        "candidates": [_trial_json(trial, root, measured) for trial in result.trials],
        "chosen": chosen
        | {"artifact": str(root), "confirmation": _confirmation_json(result.confirmation)},
        "front": [candidate.name for candidate in result.front],
        "behaviour": {name: behaviour_json(found) for name, found in result.behaviour.items()}
        or None,
        "budget_s": result.budget_s,
        "max_bytes": result.max_bytes,
        "host": to_json(result.host),
        "energy_problem": profile["energy_problem"] if profile else None,
        "measurement_problem": result.measurement_problem,
    }


# A row of the profile's JSON, by the candidate and the key that it has in the squeeze's.
_Measured = dict[str, dict[str, Any]]
_PROFILES = {"ort": "profile", "native": "native_profile"}


def _profiles(measured: _Measured, name: str) -> dict[str, Any]:
    return {key: measured.get(name, {}).get(key) for key in _PROFILES.values()}


def _trial_json(trial: Trial, root: Path, measured: _Measured) -> dict[str, Any]:
    return {
        "recipe": trial.recipe.text,
        "attempt": trial.attempt,
        "method": trial.recipe.record.name,
        "ratio": trial.recipe.ratio,
        "weight_bytes": trial.size.weight_bytes if trial.size else None,
        "file_bytes": trial.size.file_bytes if trial.size else None,
        "retention": retention_json(trial.judgement.retention) if trial.judgement else None,
        "artifact": str(root / trial.artifact) if trial.artifact else None,
        **_profiles(measured, trial.name),
        "problem": trial.problem,
        **(evaluation_summary(trial.judgement.record) if trial.judgement else {}),
    }


def _confirmation_json(judgement: Judgement | None) -> dict[str, Any] | None:
    if judgement is None:
        return None
    return {
        "seed": judgement.record.seed,
        "retention": retention_json(judgement.retention),
        **evaluation_summary(judgement.record),
    }


def squeeze_document(result: SqueezeResult, folder: Path, film: Film | None = None) -> Document:
    """The whole report; paths in it are relative to the squeeze's folder.

    Args:
        result: of the squeeze.
        folder: with the chosen artifact and its C program, where they were written.
        film: of the original and the chosen policy, if any was asked for.
    """
    measured = measured_json(result)
    artifact = read_artifact(folder) if is_artifact(folder) else None
    chosen = result.confirmation is not None
    return Document(
        title=f"Squeezed: {result.source.label.upper()} on {result.environment.id}",
        blocks=(
            Paragraph(summary(result)),
            *([four_numbers(result, measured)] if chosen else ()),
            Beside((_pareto(result, measured), *_video(film))),
            *drawn_note(result.baseline_record),
            *(_layers(artifact, result) if artifact and chosen else ()),
            *_measurements(measured, result.measurement_problem),
            *_returns(result),
            *behaviour_blocks(result.behaviour),
            *_deviation(film, result),
            Heading("What was tried"),
            candidates_table(result, measured),
            Paragraph(
                "Retention is (R − R_random) / (R_baseline − R_random), ratio is R / R_baseline; "
                "both with a 95 % bootstrap interval over episodes paired by seed with the float "
                "policy's. Returns are over each row's own episodes. The verdict is for a "
                f"retention of {result.retain:.0%} and comes from a sequential test: over all "
                "looks together, a candidate that keeps less is said to keep in at most 2.5 % of "
                "cases, and one that keeps more to lose in at most as many. Keeping takes at least "
                f"{fewest_to_keep(result.retain)} episodes. "
                "The first line gives the chosen candidate's retention on other episodes than "
                "those of the table."
            ),
            *(deployment(artifact, has_c=(folder / "c").is_dir()) if artifact else ()),
            Heading("Host and versions"),
            _facts(result),
        ),
    )


def four_numbers(result: SqueezeResult, measured: dict[str, Any] | None) -> Numbers:
    """Times smaller, times as fast, the return that is kept, and joules."""
    assert result.confirmation is not None
    size = next(t.size for t in result.trials if t.candidate == result.chosen)
    assert size is not None
    before, after = result.baseline_size.weight_bytes, size.weight_bytes
    retention = result.confirmation.retention
    kept = retention.normalized
    speed, energy = _speed_and_energy(result, measured)
    interval = "" if kept is None else f"[{100 * kept.low:.1f}, {100 * kept.high:.1f}] "
    return Numbers(
        (
            Number(f"{before / after:,.1f}×", "smaller", f"{before:,} → {after:,} bytes"),
            speed,
            Number(
                DASH if kept is None else f"{kept.estimate:.1%}",
                "of the return kept",
                f"{interval}over {retention.episodes} fresh episodes",
            ),
            energy,
        )
    )


def _speed_and_energy(
    result: SqueezeResult, measured: dict[str, Any] | None
) -> tuple[Number, Number]:
    """Of the chosen policy in the runtime where it is fastest, beside the reference."""
    rows = [
        row
        for row in (measured["rows"] if measured else ())
        if row["latency_s"] and row["artifact"] == result.chosen.name
    ]
    if measured is None or not rows:
        return Number(DASH, "times as fast", "not measured"), Number(DASH, "joules", "not measured")
    best = min(rows, key=lambda row: row["latency_s"]["median"])
    reference = next(row for row in measured["rows"] if row["latency_s"])
    ratio = (best["reference_ratio"]["latency"] or {}).get("median")
    shaky = "" if best["latency_s"]["stable"] and reference["latency_s"]["stable"] else "; unstable"
    speed = Number(
        DASH if ratio is None else _times(ratio),
        "as fast",
        f"{format_si(best['latency_s']['median'], 's')} in {best['runtime']}; the original takes "
        f"{format_si(reference['latency_s']['median'], 's')} in {reference['runtime']}{shaky}",
    )
    energy = best["energy_j_per_decision"]
    if energy is None:
        note = "no sensor here; --watts-per-core gives an estimate"
        return speed, Number(DASH, "joules", note)
    less = (best["reference_ratio"]["energy"] or {}).get("median")
    note = "an estimate from CPU time" if best["energy_estimated"] else "measured"
    if less is not None:
        note += f"; the original needs {_times(less)} that"
    return speed, Number(format_si(energy["mean"], "J"), "for a decision", note)


def _times(ratio: float) -> str:
    return f"{ratio:.0f}×" if ratio >= 10 else f"{ratio:.2g}×"


def _pareto(result: SqueezeResult, measured: dict[str, Any] | None) -> Figure:
    chart = pareto_chart(result, measured)
    return Figure(
        title="Retention against bytes",
        path="pareto.png",
        alt=f"{len(chart.marks) - 1} candidates by bytes and by the share of the return that they "
        f"keep. {summary(result)}",
        caption="Up and to the left is better. Bars are 95 % intervals over episodes.",
        chart=chart,
    )


def _video(film: Film | None) -> tuple[Block, ...]:
    if film is None:
        return ()
    if film.problem is not None:
        return (Paragraph(("There is no video of the two policies: ", film.problem)),)
    (first, second), (one, other) = film.names, film.returns
    whole = max(film.lengths)
    return (
        Video(
            title="The same episode of both",
            path=VIDEO,
            poster=POSTER,
            caption=f"{film.env_id} in Gymnasium, seed {film.seed}; the first {film.seconds:.0f} s "
            f"in real time. The whole episode returns {one:,.1f} ({first}) and {other:,.1f} "
            f"({second}) over at most {whole:,} steps. One episode proves nothing: the figures are "
            "over all of them.",
        ),
    )


def _layers(artifact: Artifact, result: SqueezeResult) -> tuple[Block, ...]:
    manifest = artifact.manifest
    rows = [
        (when, layer.name, f"{layer.in_features} × {layer.out_features}", layer.weight_dtype,
         f"{layer.weight_bytes:,}", f"{layer.bias_bytes:,}", f"{layer.quantization_bytes:,}",
         f"{layer.total_bytes:,}")
        for when, layers in (("original", manifest.layers_before), ("squeezed", manifest.layers))
        for layer in layers
    ]  # fmt: skip
    header = ("", "layer", "inputs × outputs", "dtype", "weights", "biases", "scales", "bytes")
    return (
        Heading("Where the bytes went"),
        Figure(
            title="Bytes by layer",
            path="figures/layers.png",
            alt="Bytes of each layer before and after; the table below has the numbers.",
            chart=layers_chart(manifest, result),
        ),
        Folded("All layers", (Table(header=header, rows=tuple(rows), left=(0, 1, 2, 3)),)),
    )


def _returns(result: SqueezeResult) -> tuple[Block, ...]:
    original, confirmed = result.confirmation_baseline, result.confirmation
    if original is None or confirmed is None:
        return ()
    count = len(original.episodes)
    return (
        Heading("Returns, episode by episode"),
        Figure(
            title="Returns on the same seeds",
            path="figures/returns.png",
            alt=f"Returns of {count} episodes: original {format_return(original)}, squeezed "
            f"{format_return(confirmed.record)}.",
            caption=f"{count} fresh episodes, none of which played a part in the choice; a line "
            "joins the two episodes of a seed. Means have 95 % intervals.",
            chart=returns_chart(original, confirmed.record),
        ),
    )


def _deviation(film: Film | None, result: SqueezeResult) -> tuple[Block, ...]:
    if film is None or film.deviation is None:
        return ()
    discrete = result.environment.choices is not None
    return (
        Figure(
            title="How the actions differ over an episode",
            path="figures/deviation.png",
            alt="Deviation of the squeezed policy's actions from the original's in the same "
            "states, for each dimension over time.",
            caption="In the states that the squeezed policy visits in the episode of the video: "
            "the darker, the further its action is from the original's"
            + (" (share of other actions)." if discrete else " (in half ranges of the action)."),
            chart=deviation_chart(film, discrete=discrete),
        ),
    )


def squeeze_result(result: SqueezeResult) -> Document:
    """What the command line shows: the candidates, the choice, and what was not measured."""
    problem = result.measurement_problem
    blocks: list[Block] = [
        candidates_table(result, measured_json(result)),
        Paragraph(summary(result)),
    ]
    if problem is not None:
        blocks.append(Paragraph(_unmeasured(problem)))
    return Document(title="Squeezed", blocks=tuple(blocks))


def measured_json(result: SqueezeResult) -> dict[str, Any] | None:
    """The JSON of what was measured, `None` if nothing was."""
    return None if result.profile is None else profile_json(result.profile)


def candidates_table(result: SqueezeResult, measured: dict[str, Any] | None = None) -> Table:
    """All that was tried, by size, the float policy first.

    Args:
        result: of the squeeze.
        measured: what `measured_json` gives, for its columns.
    """
    columns = measured_columns(measured)
    cells = measured_cells(measured)
    none = (DASH,) * len(columns)
    header = ("candidate", "bytes", "times smaller", "file", "return [95 %]", "retention [95 %]",
              "ratio [95 %]", "episodes", *columns, "verdict")  # fmt: skip
    baseline = (
        BASELINE.name,
        f"{result.baseline_size.weight_bytes:,}",
        "1.0",
        f"{result.baseline_size.file_bytes:,}",
        format_return(result.baseline_record),
        "100 %",
        "100 %",
        str(len(result.baseline_record.episodes)),
        *cells.get(BASELINE.name, none),
        "baseline",
    )
    trials = sorted(result.trials, key=lambda t: -(t.size.weight_bytes if t.size else 0))
    rows = (_row(trial, result, cells.get(trial.name, none)) for trial in trials)
    return Table(header=header, rows=(baseline, *rows), left=(0, len(header) - 1))


def _row(trial: Trial, result: SqueezeResult, measured: tuple[str, ...]) -> tuple[str, ...]:
    if trial.judgement is None or trial.size is None:
        return (trial.name, *(DASH,) * 7, *measured, trial.problem or "failed")
    retention = trial.judgement.retention
    return (
        trial.name,
        f"{trial.size.weight_bytes:,}",
        f"{result.baseline_size.weight_bytes / trial.size.weight_bytes:,.1f}",
        f"{trial.size.file_bytes:,}",
        format_return(trial.judgement.record),
        format_interval(retention.normalized),
        format_interval(retention.ratio),
        str(retention.episodes),
        *measured,
        f"{retention.verdict}{more_needed(retention)}"
        + (", chosen" if trial.candidate == result.chosen else ""),
    )


def summary(result: SqueezeResult) -> str:
    """What was chosen and why, in a sentence or two."""
    if result.confirmation is None:
        return f"{_nothing(result)} The float policy is the artifact."
    return (
        f"{what_was_chosen(result)} On fresh seeds it keeps "
        f"{_confirmed(result.confirmation.retention)}."
    )


def what_was_chosen(result: SqueezeResult | LogSqueezeResult) -> str:
    """The name and the bytes of the candidate that was chosen, in a sentence."""
    trial = next(trial for trial in result.trials if trial.candidate == result.chosen)
    assert trial.size is not None
    size, before = trial.size.weight_bytes, result.baseline_size.weight_bytes
    return (
        f"Chosen: {result.chosen.name}, {size:,} bytes ({before / size:,.1f} times smaller than "
        f"the float policy's {before:,}; the file has {trial.size.file_bytes:,})."
    )


def _nothing(result: SqueezeResult) -> str:
    """That nothing meets the demand, and what comes nearest to it."""
    limit = "" if result.max_bytes is None else f" of at most {result.max_bytes:,} bytes"
    text = (
        f"Nothing smaller{limit} was confirmed to keep {result.retain:.0%} of the return within "
        f"{result.max_episodes} episodes."
    )
    near = [
        (kept.estimate, trial)
        for trial in result.trials
        if trial.size is not None
        and trial.judgement is not None
        and (kept := trial.judgement.retention.normalized) is not None
        and trial.size.weight_bytes <= (result.max_bytes or result.baseline_size.weight_bytes)
    ]
    if not near:
        return text
    _, best = max(near, key=lambda each: each[0])
    assert best.judgement is not None and best.size is not None  # noqa: PT018
    retention = best.judgement.retention
    return (
        f"{text} The best is {best.name} ({best.size.weight_bytes:,} bytes, in {best.artifact}): "
        f"{_confirmed(retention)}{more_needed(retention)}."
    )


def _confirmed(retention: Retention) -> str:
    return (
        f"{format_interval(retention.normalized)} of the return over {retention.episodes} episodes"
    )


def _unmeasured(problem: str) -> str:
    return f"Latency, memory and energy were not measured: {problem}"


def _measurements(measured: dict[str, Any] | None, problem: str | None) -> tuple[Block, ...]:
    if problem is not None:
        return (Paragraph(_unmeasured(problem)),)
    if measured is None:
        return ()
    chart = latency_chart(measured)
    figure = Figure(
        title="Latency by runtime",
        path="figures/latency.png",
        alt="Median latency of a decision for each policy in each runtime; the table has the "
        "numbers.",
        caption="Bars are 95 % intervals over processes. Left is better.",
        chart=chart,
    )
    return (
        Heading("Measured"),
        Paragraph(
            "One decision on this host, in ONNX Runtime (ort) and in SqueezeRL's own runtime "
            "(native), for the float policy, the chosen candidate and the smallest others that do "
            "not lose the return."
        ),
        *([figure] if chart else ()),
        *profile_blocks(measured),
    )


def _facts(result: SqueezeResult) -> Table:
    source, host, confirmation = result.source, result.host, result.confirmation
    trained_on = source.env_id or "unknown"
    fresh = DASH if confirmation is None else str(confirmation.record.seed)
    rows: dict[str, Text] = {
        "agent": (Code(source.path), f" ({source.algorithm}, trained on {trained_on})"),
        "sha256": Code(source.sha256),
        "return of the float policy": format_return(result.baseline_record),
        "return of a random policy": format_return(result.random_record),
        "environment": f"{result.environment.id}, run by {result.environment.backend}",
        "seeds": f"from {result.seed}; confirmation from {fresh}",
        "host": f"{host.cpu}, {host.cores} cores, {host.system}, Python {host.python}",
        "libraries": ", ".join(f"{name} {version}" for name, version in host.libraries.items()),
    }
    return Table(header=("", ""), rows=tuple(rows.items()), left=(0, 1))
