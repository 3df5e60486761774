"""`ser submit`: the same command line, run on a cluster through Ray's Jobs API."""

import asyncio
import logging
import os
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cluster.session import first_line
from jobs.console import Console
from ser_core.errors import InterruptedRunError, SerError, UsageError
from ser_core.models import bundled_names
from ser_core.storage import Location

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_POLL_SECONDS = 0.5
#: The job's connection may fail this long, or its log say nothing this long, before that counts as a fault.
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class VerbArguments:
    """A verb's command line, parsed: its name, its parameters as typer has them, their values by name."""

    verb: str
    parameters: Sequence[Any]
    values: dict[str, Any]


def run_submit(address: str, arguments: VerbArguments, console: Console) -> int:
    """Submit a verb, print the job's id, follow its log, return its exit code.

    Raises:
        UsageError: the address is none, or a local path is given for a cluster on other machines.
        SerError: nothing answers at the address, the token is missing or wrong, or the connection is lost for long.
        InterruptedRunError: Ctrl-C; the job goes on.
    """
    dashboard = _dashboard(address)
    client, job_id = _submit(dashboard, shlex.join(_command_line(dashboard, arguments)))
    console.result(job_id, {"job": job_id})
    try:
        return follow(client, job_id, dashboard)
    except KeyboardInterrupt as error:
        end = f"ray job stop --address {dashboard} {job_id}"
        raise InterruptedRunError(f"interrupted; the job goes on, '{end}' ends it") from error


def _dashboard(address: str) -> str:
    url = address if "://" in address else f"http://{address}"
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise UsageError(f"--address {address}: give the cluster's dashboard, such as http://127.0.0.1:8265")
    return url


def _command_line(dashboard: str, arguments: VerbArguments) -> list[str]:
    """What the cluster runs. A job has a working folder of its own, so this machine's paths are made absolute."""
    values = arguments.values | {name: _place(arguments.values[name], dashboard) for name in ("source", "output")}
    if values["model"] not in bundled_names():
        values["model"] = _place(values["model"], dashboard)
    if values["config"] is not None:
        values["config"] = _place(str(values["config"]), dashboard)
    words = ["ser", arguments.verb]
    for parameter in arguments.parameters:
        value = values[parameter.name]
        if parameter.param_type_name == "argument":
            words.append(value)
        elif isinstance(value, bool) and value != parameter.default:
            words.append(parameter.opts[0] if value else parameter.secondary_opts[0])
        elif value != parameter.default:
            words.append(f"{parameter.opts[0]}={value}")
    return words


def _place(text: str, dashboard: str) -> str:
    location = Location.parse(text)
    if not location.is_s3 and urlsplit(dashboard).hostname not in _LOOPBACK:
        raise UsageError(
            f"{text} is a path of this machine, which the cluster at {dashboard} does not see; "
            "give s3://bucket/prefix, a bundled model, and settings as options"
        )
    return location.url


def _submit(dashboard: str, entrypoint: str) -> tuple["JobSubmissionClient", str]:
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
        raise SerError(f"--address {dashboard}: {first_line(error)}; {what_to_do}") from error
    except (OSError, RuntimeError, ValueError, KeyError, RayError) as error:
        raise SerError(f"--address {dashboard}: no Ray dashboard answers there ({first_line(error)})") from error


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
                    f"the connection to {dashboard} is lost ({first_line(error)}); "
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
