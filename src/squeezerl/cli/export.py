"""`squeezerl export`: a policy as a C program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from squeezerl.cli import console
from squeezerl.errors import InvalidArgumentError


@console.reports_errors
def export(
    policy: Annotated[
        str,
        typer.Argument(
            metavar="AGENT_OR_ARTIFACT",
            help="An artifact (a folder), or an agent, whose policy is exported in float32.",
        ),
    ],
    output: console.OutputOption,
    to: Annotated[str, typer.Option("--to", help="The language: c.")] = "c",
    target: Annotated[
        str,
        typer.Option(
            help="portable: C99 for any processor of 32 bits. native: for computers, with the "
            "vector instructions of x86-64 or ARM, chosen when it runs. x86-64-v3: for those with "
            "AVX2, and nothing is chosen. cortex-m4, cortex-m0plus: portable, and built and run "
            "in an emulator. wasm32: portable, and built for browsers."
        ),
    ] = "portable",
    name: Annotated[
        str, typer.Option(help="Begins the names of the files and of the functions.")
    ] = "policy",
    observations: Annotated[
        Path | None,
        typer.Option(
            metavar="LOG",
            help="For the self-test. [dim]default: recorded in the agent's environment[/dim]",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the program at DIR.")] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Write a policy as C source with a self-test, a build file, a sketch and a README.

    The program takes raw observations and gives the environment's actions. It allocates nothing and
    needs no library.

    Example: squeezerl export out --to c --name walker -o walker
    """
    from squeezerl.api import export_c

    if to != "c":
        raise InvalidArgumentError(f"--to is {to!r}; known is c")
    facts = export_c(
        policy,
        output,
        name=name,
        target=target,
        observations=observations,
        force=force,
    )
    if as_json:
        console.print_json(facts)
        return
    if "microcontroller" in facts:
        found = facts["microcontroller"]
        console.say(
            f"{target}, emulated: {found['flash_bytes']:,} bytes of flash, {found['ram_bytes']:,} "
            f"of RAM, {found['instructions']:,} instructions per decision (cycles differ); "
            f"{'all' if not found['wrong'] else 'NOT all'} actions of the self-test agree"
        )
    console.say(
        f"{output}: {name}.c and {name}.h, {facts['constant_bytes']:,} bytes of constants, about "
        f"{facts['stack_bytes']:,} bytes of stack\n"
        f"Test it: cmake -S {output} -B {output}/build && cmake --build {output}/build && "
        f"ctest --test-dir {output}/build"
    )
