"""`ser models`: what is bundled; one model's card and settings."""

from jobs.console import Console
from ser_core.models import Artifact, bundled_names, read_config


def run_models(model: str | None, console: Console) -> int:
    """List the bundled models, or show one."""
    if model is None:
        _list(console)
    else:
        _show(model, console)
    return 0


def _list(console: Console) -> None:
    configs = [read_config(name) for name in bundled_names()]
    lines = [
        f"{config.name}: {config.architecture}, {len(config.labels)} emotions, windows of {config.window_seconds:g} s, "
        f"licence of the weights: {config.licence or 'none stated'}"
        for config in configs
    ]
    console.result(lines, [config.to_dict() for config in configs])


def _show(model: str, console: Console) -> None:
    artifact = Artifact.load(model)
    config = artifact.config
    settings = [f"{name}: {value}" for name, value in config.to_dict().items() if name != "training"]
    parts = [artifact.card.strip().splitlines(), settings, artifact.licence_text.strip().splitlines()]
    # An empty line between them.
    lines = [line for part in parts if part for line in ("", *part)][1:]
    data = {
        "identity": artifact.identity,
        **config.to_dict(),
        "card": artifact.card,
        "licence_text": artifact.licence_text,
    }
    console.result(lines, data)
