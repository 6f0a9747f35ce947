"""Jobs that are done, but what they left is not where the others will look for it."""

from __future__ import annotations

from squeezerl.errors import StudyError
from squeezerl.store.store import Store
from squeezerl.studies.location import Location


def find_missing(store: Store, study: str, location: Location, *, redo: bool = False) -> int:
    """Look whether all is there that the rest of a study needs.

    Args:
        store: that the study was put in.
        study: name.
        location: where its jobs fetch what they need.
        redo: let jobs be done again whose artifact is gone.

    Returns:
        How many are to be done again.

    Raises:
        StudyError: if something is missing, and not to be done again.
    """
    redone = 0
    # What is done again needs others in turn.
    while missing := _missing(store, study, location):
        if not redo:
            raise StudyError(
                f"{location.url}: lacks what {len(missing):,} finished "
                f"{'job' if len(missing) == 1 else 'jobs'} left; name the folder that the studies "
                "of this store shared so far with --artifacts, or do them again with --redo-missing"
            )
        store.reopen(missing)
        redone += len(missing)
    return redone


def _missing(store: Store, study: str, location: Location) -> list[str]:
    artifacts = {
        job_id: content["artifact"]
        for job_id, content in store.still_needed(study).items()
        if "artifact" in content
    }
    lacking = location.lacks(artifacts.values())
    return [job_id for job_id, name in artifacts.items() if name in lacking]
