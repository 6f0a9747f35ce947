from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from squeezerl.errors import ExecutionError
from squeezerl.jobs.presence import HostLock, lock_folder


def test_it_is_shared_or_for_one(tmp_path: Path) -> None:
    first, second = HostLock(tmp_path), HostLock(tmp_path)
    for ours, theirs, both in ((False, False, True), (False, True, False), (True, False, False)):
        with first.held(exclusive=ours) as held:
            assert held
            with second.held(exclusive=theirs) as also:
                assert also == both
        with second.held(exclusive=True) as held:
            assert held
    first.close()
    second.close()


def test_the_kernel_frees_it_when_its_process_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from squeezerl.jobs.presence import HostLock\n"
        "lock = HostLock(Path(sys.argv[1]))\n"
        "with lock.held(exclusive=True) as held:\n    print(held, flush=True)\n    time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    lock = HostLock(tmp_path)
    with lock.held(exclusive=False) as held:
        assert not held
    process.kill()
    process.communicate()
    with lock.held(exclusive=True) as held:
        assert held
    lock.close()


def test_the_last_to_close_it_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    first, second = HostLock(), HostLock()
    with second.held(exclusive=False):
        first.close()
        third = HostLock()
        with third.held(exclusive=True) as held:
            assert not held
    second.close()
    assert list(tmp_path.iterdir()) == []
    fourth = HostLock()
    # The file that the third one has open is not there any more; both lock the new one.
    with third.held(exclusive=True) as held:
        assert held
        with fourth.held(exclusive=True) as also:
            assert not also
    third.close()
    fourth.close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_others_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = lock_folder()
    assert folder.stat().st_mode & 0o077 == 0
    folder.chmod(0o777)
    with pytest.raises(ExecutionError, match="does not belong to this user alone"):
        HostLock()
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(ExecutionError, match="does not belong to this user alone"):
        HostLock()
