from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_programs import CompiledProgram, compile_program, run_test
from hypothesis import given, settings
from hypothesis import strategies as st

from random_networks import drawn_networks, integer_networks, networks
from small_policies import (
    QUANTIZATIONS,
    compress,
    demo_network,
    demo_observations,
    make_network,
    random_observations,
)
from squeezerl.errors import InvalidArgumentError
from squeezerl.formats.c.program import SOURCE_TARGETS, Target, c_program
from squeezerl.host.compiler import zig
from squeezerl.network.network import Network, as_float
from squeezerl.runtimes.native import NativeActor, levels

# Those that run here.
TARGETS = [each for each in SOURCE_TARGETS if each != "x86-64-v3" or "avx2" in levels()]
SANITIZERS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover")
HEADS: dict[str, dict[str, Any]] = {
    "clip": {"bounds": ([-2, 0, -1], [3, 0.5, np.inf])},
    "tanh": {"bounds": (-2, 1), "clip_mean": 2.0},
    "argmax": {},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "target"),
    [
        *((recipe, "portable") for recipe in ("float", "int8:static", "int8:dynamic")),
        ("int8:dynamic", "native"),
        ("int8:dynamic", "x86-64-v3"),
    ],
)
def test_the_self_test_passes_with_sanitizers_and_without_a_warning(
    recipe: str, target: Target, tmp_path: Path
) -> None:
    network = compress(make_network(7, 20, 5, activation="Tanh", head="tanh"), recipe)
    program = c_program(network, "walker", random_observations(network, 500), target=target)
    line = run_test(compile_program(program, tmp_path, *SANITIZERS, output="test"))
    assert line.startswith("walker: 32 of 32 actions agree, checksum ")
    assert line == run_test(compile_program(program, tmp_path, "-O3", output="test"))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["portable", "native"])
@settings(max_examples=3, deadline=None)
@given(network=drawn_networks(wild=False))
def test_actions_are_drawn_with_noise_that_the_caller_gives(
    target: Target, tmp_path_factory: pytest.TempPathFactory, network: Network
) -> None:
    program = c_program(network, "p", random_observations(network, 50), target=target)
    executable = compile_program(program, tmp_path_factory.mktemp("p"), output="test")
    assert run_test(executable).startswith("p: 32 of 32 actions agree")
    assert f"P_NOISE {network.noise_width}" in program.files["p.h"]


def test_a_wrong_program_fails_its_self_test(tmp_path: Path) -> None:
    network = make_network(3, 4, 2)
    program = c_program(network, "walker", random_observations(network, 50))
    executable = compile_program(program, tmp_path, output="test")
    source = (tmp_path / "walker.c").read_text(encoding="utf-8")
    wrong = re.sub(r"(layer0_weight\[12\] = \{\n +)", r"\g<1>9.0f + ", source)
    assert wrong != source
    (tmp_path / "walker.c").write_text(wrong, encoding="utf-8")
    files = [str(tmp_path / name) for name in ("walker.c", "walker_test.c")]
    subprocess.run(["cc", *files, "-o", str(executable)], check=True)
    assert subprocess.run([executable], capture_output=True).returncode == 1


@pytest.mark.slow
@pytest.mark.parametrize("target", ["portable", "native"])
@pytest.mark.parametrize(
    ("recipe", "head"),
    [("float", "clip"), ("ptdq", "tanh"), ("ptsq", "argmax"), ("ptsq-naive", "clip")],
)
def test_a_program_acts_to_the_bit_as_the_native_runtime(
    target: Target, recipe: str, head: Any, tmp_path: Path
) -> None:
    network = make_network(17, 33, 7, 3, head=head, activation="SiLU", **HEADS[head])
    network = compress(network, QUANTIZATIONS.get(recipe, recipe))
    observations = random_observations(network, 50)
    program = c_program(network, "p", observations, target=target)
    compiled = CompiledProgram(program, network, tmp_path, "-O1")
    np.testing.assert_array_equal(
        compiled.act(observations), NativeActor(network).act(observations)
    )


@pytest.mark.skipif("x86-64-v3" not in TARGETS, reason="needs a processor with AVX2")
@pytest.mark.parametrize("recipe", ["float", "int8:static"])
def test_a_program_for_avx2_acts_to_the_bit_where_the_compiler_may_fuse(
    recipe: str, tmp_path: Path
) -> None:
    network = compress(make_network(17, 33, 7, 3, activation="SiLU"), recipe)
    observations = random_observations(network, 50)
    program = c_program(network, "p", observations, target="x86-64-v3")
    assert not {"cpuid", "avx512"} & set(re.findall(r"[a-z0-9]+", program.files["p.c"]))
    compiled = CompiledProgram(program, network, tmp_path, "-O2", "-march=haswell")
    np.testing.assert_array_equal(
        compiled.act(observations), NativeActor(network, level="portable").act(observations)
    )


@pytest.mark.parametrize("bits", [7, 6, 5, 4, 3, 2, 1.6])
def test_packed_weights_act_to_the_bit_as_unpacked_ones_in_fewer_bytes(
    bits: float, tmp_path: Path
) -> None:
    widths = (17, 33, 7, 3)
    recipe = "bits:ternary" if bits == 1.6 else f"bits:{bits}"
    network = compress(make_network(*widths, normalized=False), recipe)
    observations = random_observations(network, 50)
    program = c_program(network, "p", observations)
    compiled = CompiledProgram(
        program, network, tmp_path, "-O1", "-fsanitize=undefined", "-fno-sanitize-recover"
    )
    np.testing.assert_array_equal(
        compiled.act(observations), NativeActor(network).act(observations)
    )
    layers = list(pairwise(widths))
    weights = sum(-(-before * bits // 8) * after for before, after in layers)
    # An offset and a step of four bytes for each output, and what scales the observation.
    others = sum(8 * after for _, after in layers) + 2 * 4 * 17
    assert weights < program.facts["constant_bytes"] <= weights + others


@pytest.mark.slow
@settings(max_examples=6)
@given(network=st.one_of(networks(), integer_networks()), target=st.sampled_from(TARGETS))
def test_any_network_becomes_a_program(
    tmp_path_factory: pytest.TempPathFactory, network: Network, target: Target
) -> None:
    observations = random_observations(network, 20)
    program = c_program(network, "p", observations, target=target)
    compiled = CompiledProgram(program, network, tmp_path_factory.mktemp("program"))
    np.testing.assert_array_equal(
        compiled.act(observations), NativeActor(network).act(observations)
    )


def test_two_programs_link_into_one(tmp_path: Path) -> None:
    networks = [compress(make_network(3, 5, 2, seed=s), "int8:static") for s in (0, 1)]
    files: list[str] = []
    for name, network in zip(("left", "right"), networks, strict=True):
        c_program(network, name, random_observations(network, 50)).write(tmp_path)
        files += [str(tmp_path / f"{name}.c"), str(tmp_path / f"{name}_test.c")]
    main = tmp_path / "main.c"
    main.write_text(
        "#include <stdint.h>\nint left_test(uint32_t *); int right_test(uint32_t *);\n"
        "int main(void) { uint32_t a, b; return left_test(&a) + right_test(&b) + (a == b); }\n",
        encoding="utf-8",
    )
    flags = ["-DLEFT_NO_MAIN", "-DRIGHT_NO_MAIN"]
    executable = str(tmp_path / "both")
    subprocess.run(["cc", *flags, *files, str(main), "-o", executable], check=True)
    assert subprocess.run([executable]).returncode == 0


@pytest.mark.parametrize("name", ["", "1st", "a-b", "a b", "a;b", "x" * 41, "../x", "é", "string"])
def test_names_that_are_none_are_refused(name: str) -> None:
    network = make_network(3, 2)
    with pytest.raises(InvalidArgumentError, match="begin with a letter"):
        c_program(network, name, random_observations(network, 5))


def test_a_hostile_title_cannot_leave_its_comment() -> None:
    network = make_network(3, 2)
    title = 'x */ int evil(void); /* \\\n#include "/etc/passwd"'
    program = c_program(network, "p", random_observations(network, 5), title=title)
    for name, content in program.files.items():
        assert '#include "/etc' not in content
        if name.endswith((".c", ".h", ".ino")):
            assert "evil" not in re.sub(r"/\*.*?\*/|//[^\n]*", "", content, flags=re.DOTALL)


@pytest.mark.slow
def test_an_arm_processor_gives_the_bits_of_this_computer(tmp_path: Path) -> None:
    pytest.importorskip("ziglang")
    qemu = shutil.which("qemu-aarch64")
    if qemu is None:
        pytest.skip("needs qemu-aarch64 (package qemu-user)")
    network = compress(make_network(17, 33, 20, 3), "int8:static")
    program = c_program(network, "walker", random_observations(network, 200), target="native")
    here = run_test(compile_program(program, tmp_path, output="here"))
    target = ("-target", "aarch64-linux-musl")
    there = compile_program(program, tmp_path, *target, output="there", compiler=zig())
    for processor in ("cortex-a53", "max"):  # without and with dot products
        run = subprocess.run([qemu, "-cpu", processor, there], capture_output=True, text=True)
        assert run.stdout == here


@pytest.mark.slow
def test_zig_compiles_it_without_a_warning_to_the_same_bits(tmp_path: Path) -> None:
    pytest.importorskip("ziglang")
    for target in TARGETS:
        network = compress(demo_network(), "int8:dynamic", demo_observations())
        program = c_program(network, "demo", demo_observations(), target=target)
        lines = {
            run_test(compile_program(program, tmp_path, flag, output="test", compiler=compiler))
            for flag in ("-Os", "-O3")
            for compiler in ((), zig())
        }
        assert len(lines) == 1


@pytest.mark.slow
def test_cppcheck_finds_nothing(tmp_path: Path) -> None:
    if shutil.which("cppcheck") is None:
        pytest.skip("cppcheck is not installed")
    network = compress(make_network(5, 8, 3, activation="SiLU", head="tanh"), "int8:dynamic")
    for target in TARGETS:
        program = c_program(network, "p", random_observations(network, 50), target=target)
        program.write(tmp_path)
        run = subprocess.run(
            [
                *("cppcheck", "--enable=warning,style,performance,portability", "--std=c99", "-q"),
                *("--error-exitcode=1", str(tmp_path / "p.c"), str(tmp_path / "p_test.c")),
            ],
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stderr


def test_the_self_test_of_a_policy_without_bounds_allows_for_the_size_of_its_actions(
    tmp_path: Path,
) -> None:
    network = make_network(3, 64, 2, activation="ELU", bounds=(-np.inf, np.inf))
    *first, last = network.layers
    loud = dataclasses.replace(last, weight=np.float32(1e4) * as_float(last.weight))
    network = network.replace(layers=(*first, loud))
    program = c_program(network, "loud", random_observations(network, 50))
    assert run_test(compile_program(program, tmp_path, output="test")).startswith("loud: 32 of 32")
