"""A fault is raised, and handed on as a value, between processes too."""

import pickle

import pytest

from ser_core.faults import Fault


def test_a_fault_is_the_same_after_a_journey_to_another_process() -> None:
    fault = Fault("changed", "the file changed")
    again = pickle.loads(pickle.dumps(fault))
    assert (again, again.reason, again.detail, again.retryable) == (fault, "changed", "the file changed", True)
    assert len({fault, again, Fault("changed", "another")}) == 2


def test_a_fault_is_raised_and_reads_as_reason_and_sentence() -> None:
    with pytest.raises(Fault, match=r"^empty \(the file has no bytes\)$") as caught:
        raise Fault("empty", "the file has no bytes")
    assert not caught.value.retryable
