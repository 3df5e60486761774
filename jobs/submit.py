"""`ser submit`: the same command line, run on a cluster through Ray's Jobs API."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from jobs.console import Console
from jobs.interrupts import Interrupts
from ser_core.errors import InterruptedRunError, UsageError
from ser_core.models import bundled_names
from ser_core.settings import is_http_url
from ser_core.storage import Location

_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


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
        InterruptedRunError: a signal; the job goes on.
    """
    from cluster.submit import follow, submit

    dashboard = _dashboard(address)
    client, job_id = submit(dashboard, shlex.join(_command_line(dashboard, arguments)))
    console.result(job_id, {"job": job_id})
    try:
        with Interrupts():
            return follow(client, job_id, dashboard)
    except InterruptedRunError as error:
        end = f"ray job stop --address {dashboard} {job_id}"
        raise InterruptedRunError(f"interrupted; the job goes on, '{end}' ends it") from error


def _dashboard(address: str) -> str:
    url = address if "://" in address else f"http://{address}"
    if not is_http_url(url):
        raise UsageError(f"--address {address}: give the cluster's dashboard, such as http://127.0.0.1:8265")
    return url


def _command_line(dashboard: str, arguments: VerbArguments) -> list[str]:
    """What the cluster runs. A job has a working folder of its own, so this machine's paths are made absolute."""
    values = arguments.values | {name: _place(arguments.values[name], dashboard) for name in ("source", "output")}
    if values["model"] not in bundled_names():
        values["model"] = _place(values["model"], dashboard)
    for name in ("config", "architecture"):
        if values[name] is not None:
            values[name] = _place(str(values[name]), dashboard)
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
