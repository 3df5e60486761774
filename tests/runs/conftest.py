"""Archives and clips of whole runs, and what unbroken runs leave of them."""

from pathlib import Path

import pyarrow as pa
import pytest

from tests.support.archive import write_archive
from tests.support.cli import WITH_DETECTION, predictions, ser_here
from tests.support.ray_cluster import RayCluster
from tests.support.train_command import EPOCHS, words, write_data


@pytest.fixture(scope="module")
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of NUM_FILES of the test's module."""
    folder = tmp_path_factory.mktemp("archive") / "in"
    write_archive(folder, request.module.NUM_FILES)
    return folder


@pytest.fixture(scope="module")
def unbroken(source: Path, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """The predictions of a run that nothing disturbed; half of the voices are heard as speech."""
    output = tmp_path_factory.mktemp("unbroken") / "out"
    answer = ser_here("score", source, output, *WITH_DETECTION)
    assert answer.code == 0, answer.err
    return predictions(output)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds tone.parquet, hum.parquet and train.yaml."""
    folder = tmp_path_factory.mktemp("clips")
    write_data(folder)
    return folder


@pytest.fixture(scope="session")
def whole(cluster: RayCluster, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an unbroken training leaves."""
    model = tmp_path_factory.mktemp("whole") / "model"
    answer = cluster.ser(*words(data, model))
    assert answer.code == 0, answer.err
    assert f"epoch {EPOCHS}/{EPOCHS}: loss" in answer.err
    assert "left" in answer.err
    return model
