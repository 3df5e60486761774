"""The console script: from its first moment on a signal ends the command in one line; all else is loaded after."""

from jobs.signals import end_on_signals


def main() -> None:
    """Run the command that was typed."""
    end_on_signals()
    from jobs.cli import main as run

    run()
