"""The C code that everything written in C is made of."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

# Neither a fused multiplication and addition, nor anything that -ffast-math allows: the results
# would depend on the processor.
EXACT = """\
#if defined(__FAST_MATH__)
#error "Compile without -ffast-math: this arithmetic is exact to the bit."
#endif
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif
"""


def text(name: str) -> str:
    """A file of C that stands beside this module."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


KERNELS_FOR_VECTORS = "#define KERNEL static inline __attribute__((always_inline))"
# The processors with kernels of their own, by the file that holds them.
_PROCESSORS = {
    "x86.c": "#if defined(__x86_64__) && defined(__GNUC__)\n#define HAS_X86 1",
    "arm.c": "#if defined(__aarch64__) && defined(__GNUC__)\n#define HAS_ARM 1",
}


def _kernels(file: str) -> dict[str, tuple[tuple[str, ...], str]]:
    """Each kernel with the names of those that it calls, in an order that a compiler accepts."""
    parts = re.split(r"^/// (.+)$", text(file), flags=re.M)
    found = {}
    for head, code in zip(parts[1::2], parts[2::2], strict=True):
        name, _, needs = head.partition(":")
        found[name] = tuple(needs.split()), code.strip()
    return found


def kernel_names(file: str = "kernels.c") -> tuple[str, ...]:
    """The names of the kernels in a file."""
    return tuple(_kernels(file))


def kernels(names: Iterable[str], file: str = "kernels.c") -> str:
    """The code of some kernels and of those that they call."""
    kernels, wanted, open_names = _kernels(file), set(), list(names)
    while open_names:
        name = open_names.pop()
        if name not in wanted:
            wanted.add(name)
            open_names.extend(kernels[name][0])
    return "\n\n".join(code for name, (_, code) in kernels.items() if name in wanted)


def processor_kernels(names: Iterable[str]) -> str:
    """The same for x86-64 and ARM processors, where HAS_X86 or HAS_ARM is then defined."""
    wanted = set(names)
    return "\n\n".join(
        f"{condition}\n{kernels(wanted & set(_kernels(file)), file)}\n#endif"
        for file, condition in _PROCESSORS.items()
    )


def all_kernels() -> str:
    """The code of all kernels."""
    return "\n\n".join(
        (
            kernels(kernel_names()),
            kernels(kernel_names("host.c"), "host.c"),
            processor_kernels(name for file in _PROCESSORS for name in kernel_names(file)),
        )
    )
