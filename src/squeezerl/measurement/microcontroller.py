"""A C program on a microcontroller without a board: built by zig, run in the emulator Unicorn."""

from __future__ import annotations

import importlib.util
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from squeezerl.errors import MeasurementError
from squeezerl.formats.c.program import Program
from squeezerl.host.compiler import run_compiler, zig
from squeezerl.measurement.result import MicrocontrollerRecord

_FLASH, _RAM = 0x0000_0000, 0x2000_0000
_FLASH_BYTES, _RAM_BYTES = 64 << 20, 16 << 20
_DECIDING, _DONE = 1, 3
_SECONDS = 300
_FLAGS = (
    *("-O2", "-std=c99", "-fno-builtin", "-fno-stack-protector", "-ffp-contract=off"),
    *("-ffunction-sections", "-fdata-sections", "-nostdlib", "-Wl,--gc-sections"),
)


@dataclass(frozen=True)
class Processor:
    """How zig and Unicorn call a processor, and whether it computes floats itself."""

    triple: str
    cpu: str
    model: str
    has_floats: bool


PROCESSORS = {
    # zig's cortex_m4 alone has no floating point unit.
    "cortex-m4": Processor(
        "thumb-freestanding-eabihf",
        "cortex_m4+vfp4d16sp",
        "UC_CPU_ARM_CORTEX_M4",
        has_floats=True,
    ),
    "cortex-m0plus": Processor(
        "thumb-freestanding-eabi", "cortex_m0plus", "UC_CPU_ARM_CORTEX_M0", has_floats=False
    ),
}


def measure_microcontroller(program: Program, processor: str) -> MicrocontrollerRecord:
    """Build a portable program for a processor, and run one decision and its self-test.

    Raises:
        CompilerError: if zig is not installed, or fails.
        MeasurementError: if Unicorn is not installed, or the program does not end.
    """
    if importlib.util.find_spec("unicorn") is None:
        raise MeasurementError(
            "the emulator Unicorn is not installed: pip install 'squeezerl[microcontrollers]'"
        )
    with _written(program) as folder:
        alone = _Image(_build(program, PROCESSORS[processor], folder, "-DWITHOUT_TEST"))
        emulated = _emulate(_Image(_build(program, PROCESSORS[processor], folder)), processor)
    return MicrocontrollerRecord(
        processor=processor,
        flash_bytes=alone.flash_bytes,
        ram_bytes=alone.ram_bytes + emulated["stack"],
        instructions=emulated["instructions"],
        wrong=emulated["wrong"],
        checksum=emulated["checksum"],
    )


def build_wasm(program: Program) -> bytes:
    """A portable program as a WebAssembly module without imports, which exports `NAME_act`.

    Its memory is exported, too; an observation and an action can stand behind `__heap_base`.

    Raises:
        CompilerError: if zig is not installed, or fails.
    """
    with _written(program) as folder:
        policy, target = program.facts["name"], folder / "policy.wasm"
        exports = [f"-Wl,--export={symbol}" for symbol in (f"{policy}_act", "__heap_base")]
        flags = ["-O2", "-std=c99", "-ffp-contract=off", "-nostdlib", "-Wl,--no-entry", "-s"]
        run_compiler(
            [
                *zig(),
                *("-target", "wasm32-freestanding", *flags, *exports, f"-I{folder}"),
                *(str(folder / f"{policy}.c"), "-o", str(target)),
            ]
        )
        return target.read_bytes()


@contextmanager
def _written(program: Program) -> Iterator[Path]:
    """A temporary folder with the program and what it needs without an operating system."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program.write(folder)
        for file, content in program.bare_files().items():
            (folder / file).write_text(content, encoding="utf-8")
        yield folder


def _build(program: Program, processor: Processor, folder: Path, *flags: str) -> bytes:
    name, target = program.facts["name"], folder / "image.elf"
    sources = [str(folder / file) for file in (f"{name}.c", f"{name}_test.c", "start.c")]
    run_compiler(
        [
            *zig(),
            *("-target", processor.triple, f"-mcpu={processor.cpu}", *_FLAGS, *flags),
            *(f"-D{name.upper()}_NO_MAIN", f"-I{folder}", f"-Wl,-T,{folder / 'bare.ld'}"),
            *(*sources, "-o", str(target)),
        ]
    )
    return target.read_bytes()


class _Image:
    """The loadable parts of a 32-bit ELF file."""

    def __init__(self, content: bytes) -> None:
        self.entry, first = struct.unpack_from("<II", content, 24)
        (count,) = struct.unpack_from("<H", content, 44)
        self.parts: list[tuple[int, bytes, int]] = []
        for index in range(count):
            kind, offset, address, _, size, memory_size = struct.unpack_from(
                "<6I", content, first + 32 * index
            )
            if kind == 1:
                self.parts.append((address, content[offset : offset + size], memory_size))

    @property
    def flash_bytes(self) -> int:
        """Of code and constants."""
        return sum(len(data) for _, data, _ in self.parts)

    @property
    def ram_bytes(self) -> int:
        """Of variables."""
        return sum(size for address, _, size in self.parts if address >= _RAM)


def _emulate(image: _Image, processor: str) -> dict[str, int]:
    import unicorn
    from unicorn import arm_const

    machine: Any = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
    machine.ctl_set_cpu_model(getattr(arm_const, PROCESSORS[processor].model))
    machine.mem_map(_FLASH, _FLASH_BYTES)
    machine.mem_map(_RAM, _RAM_BYTES)
    for address, data, _ in image.parts:
        machine.mem_write(address, data)
    top = _RAM + _RAM_BYTES - 64
    machine.reg_write(arm_const.UC_ARM_REG_SP, top)
    if PROCESSORS[processor].has_floats:
        machine.reg_write(arm_const.UC_ARM_REG_C1_C0_2, 0xF << 20)
        machine.reg_write(arm_const.UC_ARM_REG_FPEXC, 1 << 30)
    counter = _Counter(machine, arm_const.UC_ARM_REG_SP, top)
    reached = [0]

    def on_state(_: Any, access: int, address: int, size: int, state: int, data: Any) -> None:
        if state != reached[-1]:  # where it stopped, the same write can come again
            reached.append(state)
            machine.emu_stop()

    # The report stands at the beginning of the memory.
    machine.hook_add(unicorn.UC_HOOK_MEM_WRITE, on_state, begin=_RAM, end=_RAM + 3)
    place, hooks = image.entry, list[Any]()
    try:
        # Hooks are added and removed between two runs, since Unicorn sometimes crashes within one.
        while reached[-1] != _DONE:
            stops = len(reached)
            machine.emu_start(place | 1, 0xFFFF_FFFF, timeout=_SECONDS * 1_000_000)
            if len(reached) == stops:
                raise MeasurementError(f"the program did not end on an emulated {processor}")
            if reached[-1] == _DECIDING:
                hooks.append(machine.hook_add(unicorn.UC_HOOK_BLOCK, counter.block))
            elif hooks:
                machine.hook_del(hooks.pop())
            place = machine.reg_read(arm_const.UC_ARM_REG_PC)
    except unicorn.UcError as error:
        raise MeasurementError(
            f"the program failed on an emulated {processor} ({error})"
        ) from error
    wrong, checksum = struct.unpack("<2I", machine.mem_read(_RAM + 4, 8))
    return {
        "instructions": counter.instructions,
        "stack": top - counter.lowest,
        "wrong": wrong,
        "checksum": checksum,
    }


class _Counter:
    """Counts instructions, block by block, and notes the lowest address of the stack."""

    def __init__(self, machine: Any, stack_pointer: int, top: int) -> None:
        self._machine, self._stack_pointer = machine, stack_pointer
        self._known: dict[int, int] = {}
        self._has_begun = False
        self.instructions, self.lowest = 0, top

    def block(self, machine: Any, address: int, size: int, data: Any) -> None:
        """Called before a block of instructions without a jump."""
        if not self._has_begun:  # what is left of the block before the call of the policy
            self._has_begun = True
            return
        if address not in self._known:
            code, count, place = machine.mem_read(address, size), 0, 0
            while place < size:
                # Thumb: 32 bits if the first five bits are 11101, 11110 or 11111, else 16.
                place += 4 if code[place + 1] >> 3 in (0b11101, 0b11110, 0b11111) else 2
                count += 1
            self._known[address] = count
        self.instructions += self._known[address]
        self.lowest = min(self.lowest, machine.reg_read(self._stack_pointer))
