import itertools

import pytest

from cluster.resources import Hardware, Resources, choose_engine, fit_batches, plan_resources
from ser_core.errors import UsageError
from ser_core.score_config import ScoreConfig


def plan(cpus: float, gpus: float = 0, /, **config: object) -> Resources:
    return plan_resources(ScoreConfig.from_dict(dict(config)), Hardware(cpus=cpus, gpus=gpus))


def engine(
    cpus: float, gpus: float = 0, /, num_files: int = 10, num_bytes: float = 1e6, address: str | None = None,
    **config: object,
) -> tuple[str, str]:  # fmt: skip
    settings = ScoreConfig.from_dict(dict(config))
    return choose_engine(settings, address, plan(cpus, gpus, **config), num_files, num_bytes)


def claimed_cpus(resources: Resources) -> float:
    """What all actors together book."""
    return resources.num_loaders * resources.cpus_per_loader + resources.num_predictors * resources.cpus_per_predictor


@pytest.mark.parametrize(("cpus", "num_loaders", "num_predictors"), [(1, 1, 1), (2, 1, 2), (4, 1, 4), (64, 16, 64)])
def test_in_one_process_each_predictor_has_a_loader(cpus: int, num_loaders: int, num_predictors: int) -> None:
    resources = plan(cpus, 0)
    assert resources.for_engine("local").num_loaders == num_predictors
    assert resources.for_engine("ray").num_loaders == num_loaders


@pytest.mark.parametrize(("cpus", "num_loaders", "num_predictors"), [(1, 1, 1), (2, 1, 2), (4, 1, 4), (64, 16, 64)])
def test_without_a_gpu_every_core_predicts(cpus: int, num_loaders: int, num_predictors: int) -> None:
    resources = plan(cpus)
    assert (resources.device, resources.gpus_per_predictor) == ("cpu", 0.0)
    assert (resources.num_loaders, resources.num_predictors) == (num_loaders, num_predictors)
    assert resources.threads_per_predictor == 1


def test_each_gpu_has_one_predictor_and_the_cores_load() -> None:
    resources = plan(16, 2)
    assert (resources.device, resources.num_predictors, resources.gpus_per_predictor) == ("cuda", 2, 1.0)
    assert resources.num_loaders > 16
    assert resources.batch_size > plan(16).batch_size


@pytest.mark.parametrize(("cpus", "gpus"), itertools.product([1, 1.5, 2, 3, 4, 8, 96, 1000], [0, 1, 2, 4, 7, 8]))
def test_the_actors_never_book_every_core(cpus: float, gpus: int) -> None:
    resources = plan(cpus, gpus)
    assert resources.num_loaders >= 1
    assert resources.num_predictors >= 1
    assert claimed_cpus(resources) <= 0.95 * cpus


def test_the_actors_of_a_small_node_fit_on_it_together() -> None:
    """A core of every node may hold a loader beside its predictor."""
    resources = plan(1)
    assert resources.cpus_per_loader + resources.cpus_per_predictor < 1


@pytest.mark.parametrize(("asked", "used"), [(None, 8), (1, 1), (3, 3), (8, 8), (64, 8)])
def test_cpus_is_a_cap_and_never_more_than_there_are(asked: int | None, used: int) -> None:
    assert plan(8, cpus=asked) == plan(used)


def test_a_cluster_that_names_no_cpu_still_gets_its_actors() -> None:
    resources = plan(0)
    assert (resources.num_loaders, resources.num_predictors) == (1, 1)


@pytest.mark.parametrize(("asked", "used"), [(None, 4), (2, 2), (4, 4), (9, 4)])
def test_gpus_is_a_cap_and_never_more_than_there_are(asked: int | None, used: int) -> None:
    assert plan(32, 4, gpus=asked) == plan(32, used)


@pytest.mark.parametrize("config", [{"gpus": 0}, {"device": "cpu"}])
def test_gpus_can_be_left_alone(config: dict[str, object]) -> None:
    assert plan(8, 2, **config) == plan(8)


@pytest.mark.parametrize(("gpus", "asked"), [(0, None), (2, 0)])
def test_cuda_without_a_gpu_is_one_clear_line(gpus: int, asked: int | None) -> None:
    with pytest.raises(UsageError, match="--device cuda: there is no GPU here"):
        plan(8, gpus, device="cuda", gpus=asked)


@pytest.mark.parametrize("gpus", [0, 1])
def test_the_batch_size_that_is_asked_for_is_used(gpus: int) -> None:
    assert plan(4, gpus, batch_size=7).batch_size == 7


@pytest.mark.parametrize(("num_files", "files_per_block"), [(1, 1), (8, 1), (100, 13), (512, 64), (10**7, 64)])
def test_few_files_are_spread_and_many_travel_together(num_files: int, files_per_block: int) -> None:
    assert plan(2).files_per_block(num_files) == files_per_block


def test_the_description_tells_actors_device_and_batches() -> None:
    assert plan(8).describe() == "2 loader(s) and 8 predictor(s) on cpu, batches of 16"


MANY = {"num_files": 10**6}
LARGE = {"num_bytes": 1e12}


@pytest.mark.parametrize(
    ("cpus", "gpus", "pending"), [(1, 0, {}), (2, 0, MANY), (8, 0, LARGE), (64, 0, {}), (8, 1, {}), (1, 1, {})]
)
def test_this_process_scores_where_ray_would_only_have_to_start(cpus: int, gpus: int, pending: dict[str, int]) -> None:
    name, why = engine(cpus, gpus, **pending)
    assert (name, why[:19]) == ("local", "no cluster is named")


@pytest.mark.parametrize(
    ("cpus", "gpus", "pending", "words"),
    [
        (64, 0, MANY, "1000000 files (0.0 GB) are pending, more than one process feeds to 64 core(s)"),
        (64, 0, LARGE, "10 files (1000.0 GB) are pending"),
        (16, 1, MANY, "to 1 GPU(s)"),
        (16, 2, {}, "there are 2 GPU(s)"),
        (2, 0, {"address": "10.0.0.1:6379"}, "the cluster at 10.0.0.1:6379 is named"),
    ],
)
def test_ray_scores_where_one_process_is_too_little(
    cpus: int, gpus: int, pending: dict[str, object], words: str
) -> None:
    name, why = engine(cpus, gpus, **pending)
    assert name == "ray"
    assert words in why


@pytest.mark.parametrize("asked", ["ray", "local"])
def test_the_engine_that_is_asked_for_is_taken(asked: str) -> None:
    assert engine(64, 2, **MANY, engine=asked) == (asked, "it is asked for")
    assert engine(1, 0, engine=asked) == (asked, "it is asked for")


@pytest.mark.parametrize(
    ("gpus", "window_seconds", "expected"), [(0, 3.0, 16), (0, 600.0, 1), (0, 120.0, 5), (1, 5.0, 256), (1, 600.0, 6)]
)
def test_batches_of_long_windows_are_small(gpus: int, window_seconds: float, expected: int) -> None:
    config = ScoreConfig()
    assert (
        fit_batches(plan_resources(config, Hardware(cpus=4, gpus=gpus)), config, window_seconds).batch_size == expected
    )


def test_a_batch_that_no_memory_takes_is_refused_with_the_bound() -> None:
    config = ScoreConfig(batch_size=7)
    resources = plan_resources(config, Hardware(cpus=2, gpus=0))
    assert fit_batches(resources, config, 500.0) is resources
    message = "--batch-size 7 of windows of 600 s: at most 3600 s of audio at a time on cpu, so 6 windows"
    with pytest.raises(UsageError, match=message):
        fit_batches(resources, config, 600.0)
