import pytest
import torch
from safetensors.torch import save

from ser_core.errors import ArtifactError
from ser_core.training.learner import State


def test_tensors_and_facts_come_back_to_the_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 3, 4, 5, generator=generator).to(memory_format=torch.channels_last)
    shared = torch.arange(3)
    facts = {"rate": 0.1 + 0.2, "history": [{"loss": 1e-300}], "nothing": None}
    found = State.from_bytes(State({"a.image": image, "a.b": shared, "c": shared}, facts).to_bytes(), "here")
    assert found.facts == facts
    assert torch.equal(found.part("a.")["image"], image)
    assert found.part("a.").keys() == {"image", "b"}
    assert torch.equal(found.tensors["c"], shared)


@pytest.mark.parametrize("data", [b"", b"no tensors", save({"a": torch.zeros(2)})])
def test_another_file_is_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"here: is no checkpoint .*--restart"):
        State.from_bytes(data, "here")
