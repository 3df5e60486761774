"""What the tests of training share: clips that a tiny model learns in seconds, and a cache of their features."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.support.training import write_corpus


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small batches gain nothing from more, and lose much on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("clips")
    return [str(write_corpus(folder)), str(write_corpus(folder, "hum", num_speakers=4, emotions=("happy", "angry")))]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")
