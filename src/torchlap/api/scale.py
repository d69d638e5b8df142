"""Measure one device and several in turns, and write a run file."""

import time
from collections.abc import Callable, Mapping

from torchlap.api.run import Listener, Record, check_path, header_of
from torchlap.api.workbench import check_models, workbench
from torchlap.errors import UsageError
from torchlap.machine.facts import cpu_threads
from torchlap.measuring.plan import Options
from torchlap.measuring.scale import ScaleSession, Sizes, check_options, device_name, plan_scale
from torchlap.processes import torchrun
from torchlap.processes.ranks import RankLauncher
from torchlap.processes.start import Launcher
from torchlap.processes.torchrun import HERE, Hosts
from torchlap.runs.find import default_path
from torchlap.schema.events import Run
from torchlap.schema.workload import Plan

LOWEST_PORT, HIGHEST_PORT = 1, 65_534
"""The judge takes the port after the endpoint's."""


def scale(options: Options, sizes: Sizes, hosts: Hosts = HERE, listener: Listener | None = None) -> Run:
    """Measure how training scales over devices, and write a run file.

    Args:
        options: one model, and at most one batch size and one recipe; `devices` is a kind, such as `cuda`.
        sizes: the numbers of ranks.
        hosts: where the ranks run; this process is on the first of them.
        listener: callbacks during the run.

    Raises:
        UsageError: for a model, device, recipe or number of ranks that cannot be had here.
        InstallError: when torch or torchvision cannot be used.
        RunFileError: when the run file cannot be written.
        KeyboardInterrupt: when interrupted; what was measured up to then is in the file.
    """
    listener = listener or Listener()
    check_options(options, sizes)
    path = options.out or default_path()
    check_path(options, path)
    with workbench() as bench:
        plan = plan_scale(options, sizes, bench.description)
        plan = check_models(bench, plan, options.hang_seconds, strict=options.batches is not None)
        launchers = _launchers(plan, hosts)
        with Record(Run(header_of(bench.machine, plan)), path, listener, resumed=False) as record:
            ScaleSession(
                plan,
                launchers,
                threads=_threads_of(hosts.nodes),
                emit=record.add,
                watch=listener.status,
                clock=time.monotonic,
                started=bench.started,
                hang_seconds=options.hang_seconds,
                devices=bench.machine.devices,
            ).measure()
        return record.run


def _launchers(plan: Plan, hosts: Hosts) -> Mapping[str, Launcher]:
    """What starts the ranks of each group, by the name of their devices; that of one device is under ""."""
    kind = plan.groups[0].cells[0].device.partition(":")[0]
    launchers: dict[str, Launcher] = {"": RankLauncher(1, kind)}
    for ranks in plan.scaling.ranks if plan.scaling else ():
        launchers[device_name(kind, ranks)] = RankLauncher(ranks // hosts.nodes, kind, hosts)
    return launchers


def _threads_of(nodes: int) -> Callable[[int], tuple[int, str]]:
    """How many threads a rank has where that many ranks share the cores of this host; the one device has as many."""

    def threads(ranks: int) -> tuple[int, str]:
        count, why = cpu_threads()
        if why.endswith("is set"):
            return count, why
        here = max(1, ranks // nodes)
        return max(1, count // here), f"{why}, divided by {here} ranks"

    return threads


def hosts_of(nodes: int, node_rank: int, endpoint: str, identity: str, wait_seconds: float) -> Hosts:
    """Where ranks run, from the words of the command line.

    Raises:
        UsageError: for an endpoint or a number that is not one.
    """
    if nodes == 1:
        if endpoint or node_rank:
            raise UsageError("--rdzv-endpoint and --node-rank are for several hosts: add --nodes.")
        return HERE
    host, _, port = endpoint.rpartition(":")
    if not (host and port.isdecimal() and LOWEST_PORT <= int(port) <= HIGHEST_PORT):
        raise UsageError(
            f"Invalid rendezvous endpoint {endpoint!r}: with --nodes, give the first host's name and a free port, like "
            "--rdzv-endpoint node0:29400, on every host."
        )
    if not node_rank < nodes:
        raise UsageError(f"--node-rank {node_rank} of {nodes} hosts: number them from 0 to {nodes - 1}.")
    return Hosts(nodes, node_rank, endpoint, identity, wait_seconds)


def follow(ranks: int, kind: str, hosts: Hosts) -> None:
    """Start the ranks of a host that is not the first, whose judge asks them, and wait for their end.

    Args:
        ranks: of this host.
        kind: of their devices, such as cuda.
        hosts: where the others are.

    Raises:
        UsageError: when they could not meet the others.
    """
    if reason := torchrun.follow(ranks, kind, hosts):
        raise UsageError(reason)
