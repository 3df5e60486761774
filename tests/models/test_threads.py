import pytest
import torch

from ser_core.models.artifact import Artifact


def test_weights_are_looked_through_in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    before, seen = torch.get_num_threads(), []
    isfinite = torch.Tensor.isfinite

    def counted(tensor: torch.Tensor) -> torch.Tensor:
        seen.append(torch.get_num_threads())
        return isfinite(tensor)

    monkeypatch.setattr(torch.Tensor, "isfinite", counted)
    try:
        torch.set_num_threads(2)
        Artifact.load("compact").model()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {1}
