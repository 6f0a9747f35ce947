"""Jobs that are done, but what they left is not where the others will look for it."""

from __future__ import annotations

from squeezerl.errors import StudyError
from squeezerl.store.store import Store
from squeezerl.studies.location import Location


def find_missing(store: Store, study: str, location: Location) -> list[str]:
    """Finished jobs that others, which are to be done, need, but whose artifact is gone.

    Args:
        store: that the study was put in.
        study: name.
        location: where its jobs fetch what they need.
    """
    artifacts = {
        job_id: content["artifact"]
        for job_id, content in store.still_needed(study).items()
        if "artifact" in content
    }
    lacking = location.lacks(artifacts.values())
    return [job_id for job_id, name in artifacts.items() if name in lacking]


def known_folders(store: Store) -> set[str]:
    """Where the studies of a store have their artifacts."""
    return {store.study(name).spec.get("artifacts", "") for name in store.study_names()} - {""}


def complain(missing: list[str], location: Location, known: set[str]) -> StudyError:
    """What to say of jobs whose artifacts are gone."""
    others = " or ".join(sorted(known - {location.url}))
    where = f" (so far it was {others})" if others else ""
    jobs = "job" if len(missing) == 1 else "jobs"
    return StudyError(
        f"{location.url}: lacks what {len(missing):,} finished {jobs} left; name the folder that "
        f"has it with --artifacts{where}, or do them again, and all that was made of it, with "
        "--redo-missing"
    )
