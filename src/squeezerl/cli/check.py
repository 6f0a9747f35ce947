"""`squeezerl check`: recorded actions beside those that a policy gives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from squeezerl.cli import console


@console.reports_errors
def check(
    policy: Annotated[
        Path, typer.Argument(metavar="POLICY", help="An artifact, its policy.onnx, or an agent.")
    ],
    observations: Annotated[
        Path,
        typer.Option(
            metavar="LOG", help="Raw observations and recorded actions: .npz, .csv, .parquet."
        ),
    ],
    tolerance: Annotated[
        float, typer.Option(help="Largest deviation that agrees, as a share of the range.")
    ] = 0.01,
    activation: console.ActivationOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """Compare the actions that a device recorded with those that the policy gives.

    Where they differ, it is tried whether the normaliser was left out or applied twice, whether
    actions were scaled again, moved to another order, not clipped, or came a step late. Exits with
    3 if they do not agree.

    Example: squeezerl check out --observations walk.npz
    """
    from squeezerl.api import read_network
    from squeezerl.evaluation.log import find_log
    from squeezerl.evaluation.recorded import check_recorded
    from squeezerl.records import to_json

    network = read_network(policy, activation=activation)
    found = check_recorded(network, find_log(observations), tolerance=tolerance)
    if as_json:
        console.print_json(to_json(found) | {"agrees": found.agrees})
    else:
        console.say(
            f"{found.share:.1%} of {found.rows:,} recorded decisions are those of the policy "
            f"(within {found.tolerance:g} of the range in every dimension)"
        )
        if not found.agrees:
            deviations = ", ".join(f"{number:.3g}" for number in found.deviations)
            console.say(f"largest deviation by dimension: {deviations}")
            console.say(
                f"What explains it: {found.explanation}"
                if found.explanation
                else "Nothing that was tried explains it: normaliser, scale, order, clip, delay. "
                "Is it the same policy, and are the observations those that it was given?"
            )
    if not found.agrees:
        raise typer.Exit(console.NOTHING_KEEPS)
