"""Waiting for a recovery with a progress bar, in a notebook or a terminal."""

from __future__ import annotations

from tqdm.auto import tqdm

from explorer.recovery.job import RecoveryJob

POLL_SECONDS = 0.1


def watch(job: RecoveryJob, progress: bool = True) -> RecoveryJob:
    """Wait until the job is done, showing how far it is; Ctrl+C (or the notebook's stop) keeps the best so far.

    Raises `ExplorerError` where the training failed.
    """
    with tqdm(total=1.0, desc=job.step.label.lower(), disable=None if progress else True, leave=False, **LOOK) as bar:
        done = False
        while not done:
            try:
                done = job.wait(POLL_SECONDS)
                bar.n = round(job.share, 3)
                bar.set_postfix_str(_words(job))
            except KeyboardInterrupt:
                job.stop()
    if job.error is not None:
        raise job.error
    return job


LOOK = {"bar_format": "{desc} {percentage:3.0f} %|{bar}| {elapsed} of about {remaining} more {postfix}"}


def _words(job: RecoveryJob) -> str:
    if job.waiting:
        return "waits for another recovery"
    measured = [look.quality for look in job.looks if look.quality is not None]
    return f"{measured[-1].primary} {measured[-1].value:.4f}" if measured else ""
