"""A GPU driver's library, with the calls and errors of pynvml."""

from __future__ import annotations

from types import SimpleNamespace


class FakeNvml:
    class NVMLError(Exception):
        pass

    def __init__(self, energies_mj: list[int] | None = None, gpus: int = 1) -> None:
        self.energies_mj = [1_000] if energies_mj is None else energies_mj
        self.gpus = gpus
        self.driver = True
        self.counts_energy = True
        self.tells_processes = True
        self.processes: list[SimpleNamespace] = []
        self.opened = 0

    def nvmlInit(self) -> None:  # noqa: N802
        if not self.driver:
            raise self.NVMLError("Driver Not Loaded")
        self.opened += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        if self.opened == 0:
            raise self.NVMLError("Uninitialized")
        self.opened -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return self.gpus

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:  # noqa: N802
        return f"NVIDIA Fake {handle}"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:  # noqa: N802
        if self.opened == 0:
            raise self.NVMLError("Uninitialized")
        if not self.counts_energy:
            raise self.NVMLError("Not Supported")
        # The last one stays.
        return self.energies_mj.pop(0) if len(self.energies_mj) > 1 else self.energies_mj[0]

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[SimpleNamespace]:  # noqa: N802
        if not self.tells_processes:
            raise self.NVMLError("Not Supported")
        return self.processes
