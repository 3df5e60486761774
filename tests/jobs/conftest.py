"""What several tests of commands begin with."""

import pytest

from tests.support.models import adaptable_artifact


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a model that can be adapted."""
    folder = str(tmp_path_factory.mktemp("model") / "model")
    adaptable_artifact().save(folder)
    return folder
