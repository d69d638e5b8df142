"""PyTorch's launcher, `python -m torch.distributed.run`: how ranks are started, and why they cannot meet."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from msgspec import Struct

from torchlap.processes.start import LOOK_SECONDS, REAP_LIMIT_SECONDS
from torchlap.processes.system import descendants, kill_group, kill_process, tail
from torchlap.schema.messages import JUDGE_ADDRESS, JUDGE_TOKEN, RANK_DEVICES

CANNOT_MEET = (
    (("address already in use", "eaddrinuse"), "its port is already in use", "choose another port"),
    (
        ("rendezvoustimeouterror", "timed out", "timeout"),
        "not every host came in time",
        "start the same command on every host, and check the firewall",
    ),
    (
        ("rendezvousconnectionerror", "connection refused", "failed to connect"),
        "nobody answers there",
        "check --rdzv-endpoint, start the command on that host first, and check the firewall",
    ),
    (
        ("name or service not known", "could not resolve", "getaddrinfo", "gai error"),
        "the host's name is unknown",
        "check --rdzv-endpoint",
    ),
)
"""How a rendezvous fails: words in the launcher's log, what they mean, and what to do."""


class Hosts(Struct, frozen=True):
    """Where ranks run: on this host alone, or on several that meet at an endpoint, HOST:PORT.

    Attributes:
        identity: which of several runs at one endpoint; also what a rank of another host says to the judge first.
        wait_seconds: how long they wait for each other.
    """

    nodes: int = 1
    node_rank: int = 0
    endpoint: str = ""
    identity: str = "torchlap"
    wait_seconds: float = 120.0

    @property
    def judge(self) -> tuple[str, int]:
        """Where the judge listens for ranks of several hosts: the port after the endpoint's."""
        host, _, port = self.endpoint.rpartition(":")
        return host, int(port) + 1


HERE = Hosts()


class Agent:
    """The process of PyTorch's launcher, which is the parent of the ranks of this host."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen, self.pid = popen, popen.pid

    def has_ended(self, seconds: float = 0.0) -> bool:
        """Whether it has ended, after waiting for so long at most."""
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def reap(self) -> int:
        """Wait for the end; the exit status, negative for a signal."""
        try:
            return self._popen.wait(REAP_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            return self._popen.wait()


def start_ranks(ranks: int, hosts: Hosts, variables: Mapping[str, str], logs: Path, log: IO[bytes]) -> Agent:
    """Start PyTorch's launcher with the ranks of this host, in a session of its own.

    Args:
        ranks: on this host.
        hosts: which others there are.
        variables: by which the ranks know their judge.
        logs: a folder for the output of each rank.
        log: for the launcher's own output.
    """
    meeting = ["--standalone"]
    if hosts.nodes > 1:
        meeting = [f"--nnodes={hosts.nodes}", f"--node-rank={hosts.node_rank}", "--rdzv-backend=c10d"]
        meeting += [f"--rdzv-endpoint={hosts.endpoint}", f"--rdzv-id={hosts.identity}"]
        meeting += [f"--rdzv-conf=join_timeout={hosts.wait_seconds:.0f},timeout={hosts.wait_seconds:.0f}"]
    command = [sys.executable, "-P", "-m", "torch.distributed.run", *meeting, f"--nproc-per-node={ranks}"]
    command += ["--max-restarts=0", f"--log-dir={logs}", "--redirects=3", "-m", "torchlap.worker", "rank"]
    environment = os.environ | variables | {"PYTHONSAFEPATH": "1"}
    if "NCCL_DEBUG" not in os.environ:
        environment |= {"NCCL_DEBUG": "INFO", "NCCL_DEBUG_FILE": f"{logs}/nccl.%h.%p"}
    popen = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )
    return Agent(popen)


def follow(ranks: int, kind: str, hosts: Hosts) -> str:
    """Start the ranks of a host that is not the first, whose judge asks them, and wait for their end.

    Returns:
        Why they could not meet the others, in a sentence; empty if they did.
    """
    with tempfile.TemporaryDirectory(prefix="torchlap-ranks-") as folder, tempfile.TemporaryFile() as log:
        logs = Path(folder)
        judge = ":".join(map(str, hosts.judge))
        variables = {JUDGE_ADDRESS: judge, JUDGE_TOKEN: hosts.identity, RANK_DEVICES: kind}
        agent = start_ranks(ranks, hosts, variables, logs, log)
        try:
            while not agent.has_ended(LOOK_SECONDS):
                continue
            return "" if any(logs.glob("*/attempt_0/*/stderr.log")) else cannot_meet(tail(log))
        finally:
            for process in descendants(agent.pid):
                kill_process(process)
            kill_group(agent.pid)
            agent.reap()


def cannot_meet(report: str) -> str:
    """Why ranks could not meet, from the report of PyTorch's launcher, and what to do."""
    lowered = report.lower()
    for words, what, remedy in CANNOT_MEET:
        if any(word in lowered for word in words):
            return f"The ranks could not meet: {what}. To fix it, {remedy}."
    lines = [line.strip() for line in report.splitlines() if line.strip()]
    last = f" ({lines[-1][:300]})" if lines else ""
    return f"PyTorch's launcher ended before the ranks began{last}: run python -m torch.distributed.run by itself."
