from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from small_policies import compress, make_network, random_observations
from squeezerl.errors import MeasurementError
from squeezerl.formats.c.program import c_program
from squeezerl.host.compiler import find_compiler, run_compiler
from squeezerl.measurement.microcontroller import (
    PROCESSORS,
    build_wasm,
    measure_microcontroller,
)
from squeezerl.runtimes.native import NativeActor

NODE = """
const bytes = require("fs").readFileSync(process.argv[2]);
const observations = JSON.parse(require("fs").readFileSync(0));
WebAssembly.instantiate(bytes, {}).then(({ instance }) => {
  const { memory, walker_act, __heap_base } = instance.exports;
  const start = (__heap_base.value + 63) & ~63, size = observations[0].length;
  const actions = observations.map((observation) => {
    new Float32Array(memory.buffer, start, size).set(observation);
    walker_act(start, start + 4 * size);
    return Array.from(new Float32Array(memory.buffer, start + 4 * size, 3));
  });
  console.log(JSON.stringify(actions));
});
"""


@pytest.mark.slow
@pytest.mark.parametrize("processor", PROCESSORS)
def test_a_microcontroller_makes_several_choices_at_once(processor: str) -> None:
    pytest.importorskip("ziglang")
    pytest.importorskip("unicorn")
    network = make_network(7, 16, 12, 9, head="argmax", groups=(4, 2, 3))
    network = compress(network, "int8:static", random_observations(network, 200))
    program = c_program(network, "walker", random_observations(network, 200))
    assert measure_microcontroller(program, processor).wrong == 0


@pytest.mark.slow
@pytest.mark.parametrize("processor", PROCESSORS)
def test_a_microcontroller_gives_the_bits_of_this_computer(processor: str, tmp_path: Path) -> None:
    pytest.importorskip("ziglang")
    pytest.importorskip("unicorn")
    network = compress(
        make_network(7, 16, 12, 3, head="tanh", activation="Tanh", bounds=(-2, 1)), "int8:dynamic"
    )
    program = c_program(network, "walker", random_observations(network, 200))
    program.write(tmp_path)
    files = [str(tmp_path / name) for name in ("walker.c", "walker_test.c")]
    run_compiler([*find_compiler(), *files, "-o", str(tmp_path / "test")])
    here = subprocess.run([tmp_path / "test"], capture_output=True, text=True, check=True).stdout
    record = measure_microcontroller(program, processor)
    assert record.wrong == 0
    assert here.endswith(f"checksum {record.checksum:08x}\n")
    products = 7 * 16 + 16 * 12 + 12 * 3
    assert products < record.instructions < 1000 * products
    assert products < record.flash_bytes < 20_000
    assert 4 * (7 + 3 + 16) < record.ram_bytes < 2000


@pytest.mark.slow
def test_actions_without_bounds_need_no_library_of_the_processor() -> None:
    pytest.importorskip("ziglang")
    pytest.importorskip("unicorn")
    network = make_network(7, 8, 3, bounds=(-np.inf, np.inf))
    program = c_program(network, "walker", random_observations(network, 20))
    assert measure_microcontroller(program, "cortex-m4").wrong == 0


@pytest.mark.slow
def test_webassembly_gives_the_actions_of_this_computer(tmp_path: Path) -> None:
    pytest.importorskip("ziglang")
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed")
    network = compress(make_network(7, 16, 3, head="tanh", activation="ELU"), "int8:static")
    observations = random_observations(network, 20)
    program = c_program(network, "walker", observations)
    (tmp_path / "walker.wasm").write_bytes(build_wasm(program))
    run = subprocess.run(
        [node, "-e", NODE, "-", str(tmp_path / "walker.wasm")],
        input=str(observations.tolist()),
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr

    actions = np.array(json.loads(run.stdout), np.float32)
    np.testing.assert_array_equal(actions, NativeActor(network).act(observations))


def test_without_the_emulator_the_way_to_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    network = make_network(3, 2)
    program = c_program(network, "walker", random_observations(network, 5))
    with pytest.raises(MeasurementError, match=r"squeezerl\[microcontrollers\]"):
        measure_microcontroller(program, "cortex-m4")
