"""What scoring an archive costs, from rates that were measured: core hours, nodes, requests, bytes and money.

    python -m benchmarks.cost [--hours 1000000] [--file-seconds 300] [--speech-share 0.6] [--nights 1]
        [--cores-per-node 32] [--rate whisper-bilstm=20.6:5 ...] [--core-hour-price 0.0225 ...]

Every figure of it is an input: rates as `NAME=WINDOWS:SECONDS`, windows a second and core (clips a second of
`benchmarks.score`, where a clip is a window, by its cores) and how long a window is; prices in dollars. It adds up; it
measures nothing.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass

_SECONDS_PER_HOUR = 3600
#: Keys that one listing request gives.
_KEYS_PER_LIST = 1000
#: Larger objects are read in pieces of so many bytes.
_PIECE_BYTES = 8 * 2**20
#: Of one commit: two tables' parts and log entries written, and as many looked at.
_PUTS_PER_COMMIT, _GETS_PER_COMMIT = 6, 6
_NIGHT_HOURS = 10


@dataclass(frozen=True)
class Rate:
    """What one core does with a model."""

    model: str
    windows_per_second: float
    window_seconds: float

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """`NAME=WINDOWS:SECONDS`."""
        model, _, numbers = text.partition("=")
        windows, _, seconds = numbers.partition(":")
        return cls(model, float(windows), float(seconds))


@dataclass(frozen=True)
class Archive:
    """What is scored, and in how much time."""

    hours: float
    file_seconds: float
    bytes_per_second: float
    speech_share: float
    nights: float

    @property
    def num_files(self) -> int:
        return math.ceil(self.hours * _SECONDS_PER_HOUR / self.file_seconds)

    @property
    def num_gets(self) -> int:
        """Requests for audio."""
        return self.num_files * max(1, math.ceil(self.file_seconds * self.bytes_per_second / _PIECE_BYTES))


@dataclass(frozen=True)
class Prices:
    """In dollars."""

    core_hour: float
    thousand_puts: float
    thousand_gets: float


def row(
    rate: Rate, archive: Archive, prices: Prices, cores_per_node: int, silent_cost: float, commit_seconds: float
) -> str:
    """One line of the table: what one model costs."""
    num_windows = archive.hours * _SECONDS_PER_HOUR / rate.window_seconds
    judged = archive.speech_share + (1 - archive.speech_share) * silent_cost
    core_hours = num_windows * judged / rate.windows_per_second / _SECONDS_PER_HOUR
    run_hours = archive.nights * _NIGHT_HOURS
    nodes = math.ceil(core_hours / run_hours / cores_per_node)
    num_commits = run_hours * _SECONDS_PER_HOUR / commit_seconds
    num_puts = math.ceil(archive.num_files / _KEYS_PER_LIST) + num_commits * _PUTS_PER_COMMIT
    num_gets = archive.num_gets + num_commits * _GETS_PER_COMMIT
    s3_price = num_puts / 1000 * prices.thousand_puts + num_gets / 1000 * prices.thousand_gets
    terabytes = archive.hours * _SECONDS_PER_HOUR * archive.bytes_per_second / 1e12
    return (
        f"| {rate.model} | {num_windows:,.0f} | {core_hours:,.0f} | {nodes:,} | "
        f"{archive.num_files / run_hours / _SECONDS_PER_HOUR:,.0f} | {num_gets:,.0f} | {terabytes:,.0f} | "
        f"{core_hours * prices.core_hour:,.0f} | {s3_price:,.0f} |"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=1_000_000)
    parser.add_argument("--file-seconds", type=float, default=300)
    parser.add_argument("--bytes-per-second", type=float, default=32_000, help="16 bits at 16 kHz")
    parser.add_argument("--speech-share", type=float, default=0.6, help="windows that have speech enough")
    parser.add_argument(
        "--silent-cost", type=float, default=0.15, help="of a window that is left out, of one that is judged"
    )
    parser.add_argument("--nights", type=float, default=1, help=f"of {_NIGHT_HOURS} hours")
    parser.add_argument("--cores-per-node", type=int, default=32)
    parser.add_argument("--commit-seconds", type=float, default=30)
    parser.add_argument(
        "--rate", type=Rate.parse, nargs="+", default=[Rate("whisper-bilstm", 20.6, 5), Rate("compact", 91.5, 5)]
    )
    parser.add_argument("--core-hour-price", type=float, default=0.0225)
    parser.add_argument("--thousand-puts-price", type=float, default=0.005, help="and listings")
    parser.add_argument("--thousand-gets-price", type=float, default=0.0004)
    options = parser.parse_args(arguments)
    archive = Archive(
        options.hours, options.file_seconds, options.bytes_per_second, options.speech_share, options.nights
    )
    prices = Prices(options.core_hour_price, options.thousand_puts_price, options.thousand_gets_price)
    print("| model | windows | core hours | nodes | files/s | GETs | TB read | cores, $ | S3, $ |")
    print("|---|---|---|---|---|---|---|---|---|")
    for rate in options.rate:
        print(row(rate, archive, prices, options.cores_per_node, options.silent_cost, options.commit_seconds))


if __name__ == "__main__":
    main()
