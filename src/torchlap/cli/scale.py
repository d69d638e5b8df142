"""`torchlap scale`."""

import signal
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchlap.cli import options as given
from torchlap.cli.console import color, errors_in_one_sentence, interrupt_on, say, spinner, width, write_out
from torchlap.errors import (
    EXIT_FINE,
    EXIT_INTERRUPTED,
    EXIT_RUN_FILE,
    EXIT_SOME_CELLS_FAILED,
    TorchlapError,
    UsageError,
)

if TYPE_CHECKING:
    from torchlap.api.run import Listener
    from torchlap.measuring.context import Status
    from torchlap.measuring.plan import Options
    from torchlap.measuring.scale import Sizes
    from torchlap.processes.torchrun import Hosts
    from torchlap.schema.events import Event, Header, Run

EPILOG = (
    "Exit codes: 0 every size has a result; 1 a size failed, or its results are wrong; 2 invalid arguments; 3 torch or "
    "torchvision is unusable; 4 the run file cannot be written; 130 interrupted."
)


class ScaleFormat(StrEnum):
    """How the report is written."""

    table = "table"
    markdown = "markdown"
    json = "json"


Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="A torchvision model, timm:NAME, hf:NAME, or path/to/file.py:function.")
]
Kind = Annotated[
    str, typer.Option("--devices", help="The kind of device: cuda, xpu or cpu. all means the accelerator.")
]
Ranks = Annotated[
    str | None,
    typer.Option(metavar="LIST", help="Numbers of ranks, like 2,4. [default: 2, 4, 8 ... all devices; 2 on the CPU]"),
]
Batch = Annotated[str | None, typer.Option(help="Batch size of each device (weak scaling). [default: 32]")]
TotalBatch = Annotated[
    int | None, typer.Option(min=1, help="Batch size of all devices together (strong scaling), instead of --batch.")
]
Recipe = Annotated[
    str,
    typer.Option(
        "--recipe",
        help="Terms of torchlap run, and shard (FSDP2 instead of DDP), accumulate:N, bucket:MB, static_graph, joined "
        "by +.",
    ),
]
Shard = Annotated[bool, typer.Option("--shard", help="The same as the recipe term shard.")]
Nodes = Annotated[int, typer.Option(min=1, max=1024, help="Number of hosts; start the command on each of them.")]
NodeRank = Annotated[int, typer.Option(min=0, help="The number of this host, from 0; 0 prints the report.")]
Endpoint = Annotated[
    str, typer.Option("--rdzv-endpoint", metavar="HOST:PORT", help="Where the hosts meet; the next port is used, too.")
]
Identity = Annotated[
    str, typer.Option("--rdzv-id", help="Any word, the same on each host: only ranks that know it are let in.")
]


def scale(
    model: Model,
    devices: Kind = "all",
    ranks: Ranks = None,
    batch: Batch = None,
    total_batch: TotalBatch = None,
    seq: given.Seq = None,
    recipe: Recipe = "fp32",
    shard: Shard = False,
    nodes: Nodes = 1,
    node_rank: NodeRank = 0,
    rdzv_endpoint: Endpoint = "",
    rdzv_id: Identity = "torchlap",
    data: given.DataOption = given.Data.mnist_1k,
    weights: given.WeightsOption = given.Weights.random,
    precision_target: given.Target = "2%",
    budget: Annotated[
        str | None, typer.Option(help="Time to measure, beside starting processes: 90s, 5m, 1h. [default: 60s a size]")
    ] = None,
    hang_limit: given.HangLimit = "120s",
    no_verify: Annotated[bool, typer.Option("--no-verify", help="Skip checking the ranks' results.")] = False,
    out: given.Out = None,
    output: Annotated[ScaleFormat, typer.Option("--format", help="Output format.")] = ScaleFormat.table,
) -> None:
    """Measure how training scales over devices: one alone and several, in turns."""
    from msgspec.structs import replace

    from torchlap.api.scale import hosts_of
    from torchlap.cli.words import split_words
    from torchlap.measuring.scale import Sizes
    from torchlap.schema.recipe import parse_recipe

    with errors_in_one_sentence():
        if len(split_words(recipe)) != 1:
            raise UsageError("torchlap scale measures one recipe at a time: give one.")
        options = given.workload_options(
            models=[model],
            devices=devices,
            batch=batch,
            seq=seq,
            phase=None,
            recipe="fp32",
            budget=budget,
            hang_limit=hang_limit,
            data=data,
            weights=weights,
            precision_target=precision_target,
        )
        chosen = parse_recipe(recipe.strip(), of_ranks=True)
        options = replace(
            options, recipes=(replace(chosen, shard=chosen.shard or shard),), verify=not no_verify, out=out
        )
        sizes = Sizes(ranks=_ranks(ranks), total_batch=total_batch, nodes=nodes)
        hosts = hosts_of(nodes, node_rank, rdzv_endpoint, rdzv_id, options.hang_seconds)
        interrupt_on(signal.SIGTERM, signal.SIGHUP)
        if hosts.node_rank:
            _follow(sizes.ranks, devices, hosts)
        raise typer.Exit(_measured(options, sizes, hosts, output))


def _ranks(text: str | None) -> tuple[int, ...] | None:
    """Numbers of ranks such as `2,4`.

    Raises:
        UsageError: for anything else.
    """
    from torchlap.cli.words import split_words
    from torchlap.schema.ranks import MOST_RANKS

    if text is None:
        return None
    words = split_words(text)
    bad = [word for word in words if not (word.isdecimal() and word.isascii() and 1 <= int(word) <= MOST_RANKS)]
    if bad or not words:
        raise UsageError(f"Invalid number of ranks {(bad or [text])[0]!r}: use whole numbers from 2, like 2,4.")
    return tuple(int(word) for word in words)


def _follow(ranks: tuple[int, ...] | None, kind: str, hosts: "Hosts") -> None:
    """Be a host that is not the first: start its ranks, and wait until the first host is done."""
    from torchlap.api.scale import follow

    if ranks is None or len(ranks) != 1:
        raise UsageError("With --nodes, give --ranks one number on every host: the ranks of each.")
    if kind == "all":
        raise UsageError("With --nodes, name the kind of device on every host, like --devices cuda.")
    say("Waiting for the first host, which measures and reports.")
    try:
        follow(ranks[0], kind, hosts)
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
    raise typer.Exit(EXIT_FINE)


def _measured(options: "Options", sizes: "Sizes", hosts: "Hosts", output: ScaleFormat) -> int:
    """Measure, and print the report; the exit code."""
    from torchlap.api.scale import scale as measure

    display = _Display()
    with spinner() as report:
        display.report = report
        try:
            measure(options, sizes, hosts, display.listener())
        except KeyboardInterrupt:
            _print(display, output)
            say(f"Interrupted: results up to that point are in {display.path}.")
            return EXIT_INTERRUPTED
        except TorchlapError:
            _print(display, output)
            raise
    return _exit_code(display.run) if _print(display, output) else EXIT_RUN_FILE


class _Display:
    """What is known of a run while it is measured."""

    def __init__(self) -> None:
        self._header: Header | None = None
        self._events: list[Event] = []
        self.path: Path | None = None
        self.report: Callable[[str], object] = say

    def listener(self) -> "Listener":
        """The callbacks."""
        from torchlap.api.progress import status_line
        from torchlap.api.run import Listener

        def status(what: "Status") -> None:
            self.report(status_line(what))

        return Listener(opened=self._opened, event=self._events.append, status=status)

    def _opened(self, header: "Header", path: Path) -> None:
        self._header, self.path = header, path

    @property
    def run(self) -> "Run | None":
        """The run so far."""
        from torchlap.schema.events import Run

        return Run(self._header, tuple(self._events)) if self._header else None


def _print(display: _Display, output: ScaleFormat) -> bool:
    """Print the report; whether the standard output took it."""
    if display.run is None:
        return True
    return write_out(formatted(display.run, output, display.path))


def formatted(run: "Run", output: ScaleFormat, path: Path | None = None) -> str:
    """The report in a format."""
    from torchlap.reports import scale as reports

    match output:
        case ScaleFormat.table:
            return reports.as_text(run, path, width(), color=color())
        case ScaleFormat.markdown:
            return reports.as_markdown(run)
        case ScaleFormat.json:
            return reports.as_json(run, path)


def _exit_code(run: "Run | None") -> int:
    from torchlap.judge.scaling import findings
    from torchlap.runs.scaling import sizes

    if run is None:
        return EXIT_FINE
    failed = any(size.efficiency is None for size in sizes(run))
    wrong = any(finding.severity == "error" for finding in findings(run))
    return EXIT_SOME_CELLS_FAILED if failed or wrong else EXIT_FINE
