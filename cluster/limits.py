"""When a run must stop or commit."""

from dataclasses import dataclass

from ser_core.errors import FailureRateError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of one run."""

    #: Longest that scored rows wait to be committed.
    commit_seconds: float
    #: Share of files that may fail.
    max_failure_rate: float


def check_failure_rate(num_failed: int, num_files: int, max_failure_rate: float) -> None:
    """Stop a run that is mostly failing.

    Raises:
        FailureRateError: more than `max_failure_rate` of `num_files` failed.
    """
    rate = num_failed / num_files
    if rate > max_failure_rate:
        raise FailureRateError(
            f"{num_failed} of {num_files} files failed ({rate:.1%}), more than --max-failure-rate "
            f"{max_failure_rate:g}; files/status=failed says why; run again to go on"
        )
