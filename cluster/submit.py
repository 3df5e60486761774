"""A command line run on a cluster through Ray's Jobs API, and its log followed from here."""

import asyncio
import logging
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ser_core.errors import SerError, one_line

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

_POLL_SECONDS = 0.5
#: The job's connection may fail this long, or its log say nothing this long, before that counts as a fault.
_PATIENCE_SECONDS = 60.0


def submit(dashboard: str, entrypoint: str) -> tuple["JobSubmissionClient", str]:
    """Start a command line on the cluster; the client that knows the job, and the job's id.

    Raises:
        SerError: nothing answers at the address, or the token is missing or wrong.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        # Ray would let them override --address.
        os.environ.pop(name, None)
    from ray.exceptions import AuthenticationError, RayError
    from ray.job_submission import JobSubmissionClient

    for name in ("ray", JobSubmissionClient.__module__):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        client = JobSubmissionClient(dashboard)
        return client, client.submit_job(entrypoint=entrypoint)
    except AuthenticationError as error:
        what_to_do = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
        raise SerError(f"--address {dashboard}: {one_line(error)}; {what_to_do}") from error
    except (OSError, RuntimeError, ValueError, KeyError, RayError) as error:
        raise SerError(f"--address {dashboard}: no Ray dashboard answers there ({one_line(error)})") from error


def follow(
    client: "JobSubmissionClient", job_id: str, dashboard: str, patience_seconds: float = _PATIENCE_SECONDS
) -> int:
    """Print the log until the job has ended, over dropped connections too; returns the driver's exit code.

    Raises:
        SerError: the dashboard did not answer for `patience_seconds`.
    """
    from aiohttp import ClientError
    from ray.exceptions import RayError

    log = _Log(client, job_id, patience_seconds)
    failing_since: float | None = None
    while True:
        try:
            ended = client.get_job_status(job_id).is_terminal()
            if not ended:
                failing_since = None
            asyncio.run(log.print_more())
            if ended:
                code = client.get_job_info(job_id).driver_exit_code
                return 1 if code is None else code
        except (OSError, RuntimeError, ClientError, RayError) as error:
            now = time.monotonic()
            failing_since = failing_since or now
            if now - failing_since > patience_seconds:
                raise SerError(
                    f"the connection to {dashboard} is lost ({one_line(error)}); "
                    f"follow the job with 'ray job logs --address {dashboard} --follow {job_id}'"
                ) from error
        time.sleep(_POLL_SECONDS)


@dataclass
class _Log:
    """A job's log, printed once however often it is read from its beginning."""

    client: "JobSubmissionClient"
    job_id: str
    #: A connection that is silent for longer is taken to be dead.
    silence_seconds: float
    num_printed: int = 0

    async def print_more(self) -> None:
        """Print what the log has beyond what was printed, until the job or the connection ends."""
        num_seen = 0
        texts = aiter(self.client.tail_job_logs(self.job_id))
        while text := await asyncio.wait_for(anext(texts, ""), self.silence_seconds):
            num_seen += len(text)
            num_new = max(0, min(len(text), num_seen - self.num_printed))
            print(text[len(text) - num_new :], end="", flush=True)
            self.num_printed += num_new
