"""The console script: from its first moment on a signal ends the command in one line; all else is loaded after."""

from jobs.signals import end_on_signals


def main() -> None:
    """Run the command that was typed."""
    end_on_signals()
    from ser_core.working_folder import keep_out

    keep_out()
    import gc

    from ser_core.garbage import loading

    with loading():
        from jobs.cli import main as run
    try:
        run()
    finally:
        # Python would look through all that there is, several times, before it lets go of it.
        gc.freeze()
