import pytest

from cluster.limits import check_failure_rate
from ser_core.errors import FailureRateError


@pytest.mark.parametrize(("num_failed", "num_files", "limit"), [(0, 1, 0.0), (1, 4, 0.25), (4, 4, 1.0)])
def test_as_many_failures_as_are_allowed_pass(num_failed: int, num_files: int, limit: float) -> None:
    assert check_failure_rate(num_failed, num_files, limit) is None  # type: ignore[func-returns-value]


def test_more_are_one_line_with_the_numbers_and_what_to_do() -> None:
    with pytest.raises(FailureRateError) as stopped:
        check_failure_rate(2, 7, 0.25)
    assert str(stopped.value) == (
        "2 of 7 files failed (28.6%), more than --max-failure-rate 0.25; files/status=failed says why; "
        "run again to go on"
    )
    assert stopped.value.exit_code == 1
