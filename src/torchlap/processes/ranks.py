"""Start ranks that train together, by PyTorch's own launcher, and talk to all of them as to one worker.

`python -m torch.distributed.run` starts a process for each rank. Each of them connects to the judge, is asked the same
at the same time, and answers by itself, so that the judge knows which rank was killed, hangs or is slow. What this does
not cover: ranks on other hosts are ended by their own launcher, when their connection to the judge ends.
"""

import os
import queue
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from torchlap.processes.failures import CellFailedError, how_it_ended
from torchlap.processes.start import LOOK_SECONDS, REAP_LIMIT_SECONDS
from torchlap.processes.system import descendants, kill_group, kill_process, out_of_memory_kills, tail
from torchlap.processes.worker import DOING, Worker
from torchlap.schema.messages import (
    JUDGE_ADDRESS,
    JUDGE_TOKEN,
    LONGEST_LINE,
    RANK_DEVICES,
    WHERE_SIGNAL,
    Failed,
    Hello,
    Join,
    Progress,
    RanksDescribed,
    Reply,
    Request,
    decode_reply,
    encode,
)

JOIN_SECONDS = 5.0
"""A connection that does not say who it is for so long is closed."""

ENDING_SECONDS = 5.0
"""The launcher notices a rank that was killed within 0.1 s, and then needs so long at most to report it."""

STACK_SECONDS = 0.5
DETAIL_BYTES = 4000
"""Of each rank's errors."""

EXIT = re.compile(r"exitcode\s*:\s*(-?\d+)\)?.{0,40}?\(pid: (\d+)\)", re.DOTALL)
"""In the launcher's report: `failed (exitcode: -9) local_rank: 1 (pid: 4711)`."""

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


class RankLauncher:
    """Starts the ranks of a size; each `start` starts all of them anew.

    Args:
        ranks: on each host.
        kind: of their devices, such as cuda.
        hosts: where else.
    """

    def __init__(self, ranks: int, kind: str, hosts: Hosts = HERE) -> None:
        self._ranks, self._kind, self._hosts = ranks, kind, hosts
        self._worlds: list[World] = []

    @property
    def start_up_seconds(self) -> float:
        """What starting ranks took."""
        return sum(world.start_up_seconds for world in self._worlds)

    def start(self) -> "World":
        """Start the ranks, and return without waiting for them.

        Raises:
            CellFailedError: when the judge cannot listen for them.
        """
        several = self._hosts.nodes > 1
        try:
            place = ("", self._hosts.judge[1]) if several else ("127.0.0.1", 0)
            listener = socket.create_server(place, backlog=self._ranks * self._hosts.nodes)
        except OSError as error:
            where = f"port {self._hosts.judge[1]}" if several else "this host"
            raise CellFailedError(
                "error", f"The judge cannot listen on {where} ({error.strerror}): choose another --rdzv-endpoint."
            ) from None
        token = self._hosts.identity if several else secrets.token_hex(16)
        host, port = self._hosts.judge if several else listener.getsockname()[:2]
        logs, log = Path(tempfile.mkdtemp(prefix="torchlap-ranks-")), tempfile.TemporaryFile()
        variables = {JUDGE_ADDRESS: f"{host}:{port}", JUDGE_TOKEN: token, RANK_DEVICES: self._kind}
        process = start_ranks(self._ranks, self._hosts, variables, logs, log)
        world = World(process, listener, log, logs, token, self._ranks * self._hosts.nodes)
        self._worlds.append(world)
        return world

    def close(self) -> None:
        """End every rank."""
        for world in self._worlds:
            world.kill()


class _Agent:
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


def start_ranks(ranks: int, hosts: Hosts, variables: Mapping[str, str], logs: Path, log: IO[bytes]) -> _Agent:
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
    return _Agent(popen)


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


class World(Worker):
    """All ranks of a size: a request goes to each of them, and their answers become one."""

    def __init__(
        self, agent: _Agent, listener: socket.socket, log: IO[bytes], logs: Path, token: str, ranks: int
    ) -> None:
        # not the base's own: there is a connection for each rank
        self._process, self._agent, self._listener, self._log, self._logs = agent, agent, listener, log, logs
        self._token, self._ranks = token, ranks
        self._heard: queue.Queue[tuple[int, bytes | None]] = queue.Queue()
        self._connections: dict[int, socket.socket] = {}
        self._joins: dict[int, Join] = {}
        self._joining = threading.Lock()
        self._line = b""
        """The last request, for ranks that join after it was sent."""
        self._replies: dict[int, Reply] = {}
        self._alive = True
        self._ended = 0, ""
        self._ending = threading.Lock()
        self._doing = DOING[Hello]
        self._kills_before = out_of_memory_kills()
        self._begun = time.monotonic()
        self.start_up_seconds = 0.0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        """Let ranks join; anybody else is turned away."""
        with suppress(OSError):  # the listener was closed
            while len(self._joins) < self._ranks:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._welcome, args=(connection,), daemon=True).start()

    def _welcome(self, connection: socket.socket) -> None:
        connection.settimeout(JOIN_SECONDS)
        stream = connection.makefile("rb")
        try:
            join = msgspec.json.decode(stream.readline(LONGEST_LINE), type=Join)
            known = secrets.compare_digest(join.token.encode(), self._token.encode())
        except (OSError, msgspec.DecodeError):
            known = False
        if not known or join.rank >= self._ranks or join.rank in self._joins:
            connection.close()
            return
        connection.settimeout(None)
        with self._joining:
            self._connections[join.rank], self._joins[join.rank] = connection, join
            if self._line:
                with suppress(OSError):  # its end is heard below
                    connection.sendall(self._line)
        self._heard.put((join.rank, b""))
        with suppress(OSError):
            while line := stream.readline(LONGEST_LINE):
                self._heard.put((join.rank, line))
        self._heard.put((join.rank, None))

    def tell(self, request: Request) -> None:
        """Send a request to every rank, without waiting for the answers; only one at a time.

        Raises:
            CellFailedError: when a rank is gone.
        """
        self._doing, self._replies = DOING[type(request)], {}
        with self._joining:
            self._line = encode(request) + b"\n"
            for rank, connection in self._connections.items():
                try:
                    connection.sendall(self._line)
                except OSError:
                    raise self._death_of(rank, self._doing) from None

    def _next(self, doing: str, limit_seconds: float) -> Reply:
        """A sign of life of any rank, or the answer of all together."""
        end = time.monotonic() + limit_seconds
        while True:
            try:
                rank, line = self._heard.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                if self._agent.has_ended() and self._heard.empty():
                    raise self._end_of_all(doing) from None
                if time.monotonic() >= end:
                    raise self._hang(doing, limit_seconds) from None
                continue
            if line is None:
                raise self._death_of(rank, doing)
            if not line:
                self._note_joined()
                end = time.monotonic() + limit_seconds
                continue
            reply = self._decoded(rank, line)
            match reply:
                case Progress():
                    return reply
                case Failed(detail=detail) if detail and self._ranks > 1:
                    return replace(reply, reason=f"Rank {rank}: {reply.reason}")
                case Failed():
                    return reply
                case _:
                    self._replies[rank] = reply
            if len(self._replies) == self._ranks:
                return together([self._replies[number] for number in range(self._ranks)])

    def _note_joined(self) -> None:
        if len(self._joins) == self._ranks and not self.start_up_seconds:
            self.start_up_seconds = time.monotonic() - self._begun

    def _decoded(self, rank: int, line: bytes) -> Reply:
        try:
            return decode_reply(line)
        except msgspec.DecodeError as error:
            raise CellFailedError("error", f"Rank {rank}'s answer is invalid ({error}).", self.kill()) from None

    def _hang(self, doing: str, limit_seconds: float) -> CellFailedError:
        """Some ranks give no sign of life: their stacks are the detail."""
        absent = [rank for rank in range(self._ranks) if rank not in self._joins]
        silent = absent or [rank for rank in range(self._ranks) if rank not in self._replies]
        what = "did not start" if absent else "gave no answer"
        remedy = ""
        if absent:
            remedy = " Start the command on every host with its --node-rank, check the firewall, or raise --hang-limit."
        for rank in silent:
            if rank in self._joins and self._joins[rank].host == socket.gethostname():
                with suppress(OSError):
                    os.kill(self._joins[rank].pid, WHERE_SIGNAL)
        time.sleep(STACK_SECONDS)
        output = self._output(silent)
        self.kill()
        who = f"Rank {silent[0]}" if len(silent) == 1 else f"Ranks {', '.join(map(str, silent))}"
        return CellFailedError("hang", f"{who} {what} for {limit_seconds:.0f} s ({doing}).{remedy}", output)

    def _death_of(self, rank: int, doing: str) -> CellFailedError:
        """How a rank ended, which the launcher reports soon afterwards."""
        self._agent.has_ended(ENDING_SECONDS)
        output, report = self._output([rank]), tail(self._log) if self._alive else ""
        killed = out_of_memory_kills() > self._kills_before
        pid = self._joins[rank].pid
        status = {int(number): int(code) for code, number in EXIT.findall(report)}.get(pid)
        self.kill()
        if status == -signal.SIGKILL and killed:
            return CellFailedError("out_of_memory", f"The kernel killed rank {rank} to free memory ({doing}).", output)
        if status is None:
            return CellFailedError("crash", f"The connection to rank {rank} ended ({doing}).", output)
        return CellFailedError("crash", how_it_ended(status, doing).replace("The worker", f"Rank {rank}"), output)

    def _end_of_all(self, doing: str) -> CellFailedError:
        """The launcher ended before its ranks did: they could not meet, or never started."""
        report, output = tail(self._log), self._output(range(self._ranks))
        self.kill()
        if not output and len(self._joins) < self._ranks:
            return CellFailedError("error", cannot_meet(report), report)
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        last = f" ({lines[-1][:300]})" if lines else ""
        return CellFailedError("crash", f"The ranks ended while {doing}{last}.", output or report)

    def _output(self, ranks: Sequence[int]) -> str:
        """The end of what each of these ranks printed as errors, as far as they run on this host."""
        parts = []
        for rank in ranks:
            for path in sorted(self._logs.glob(f"*/attempt_0/{rank}/stderr.log")):
                with path.open("rb") as file:
                    text = tail(file)[-DETAIL_BYTES:].strip()
                if text:
                    parts.append(f"rank {rank}:\n{text}")
        return "\n".join(parts)

    def kill(self) -> str:
        """End all ranks, and the launcher."""
        with self._ending:
            if not self._alive:
                return ""
            self._alive = False
            ranks = descendants(self._agent.pid)
            for process in ranks:
                kill_process(process)
            kill_group(self._agent.pid)
            self._agent.reap()
            self._listener.close()
            for connection in list(self._connections.values()):
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                connection.close()
            with self._log:
                output = tail(self._log)
            shutil.rmtree(self._logs, ignore_errors=True)
            return output


def together(replies: Sequence[Reply]) -> Reply:
    """The answers of all ranks, in their order, as one: each knows the times of all, so that rank 0's are all ranks'."""
    if isinstance(replies[0], RanksDescribed):
        described = [reply for reply in replies if isinstance(reply, RanksDescribed)]
        return RanksDescribed(tuple(rank for reply in described for rank in reply.ranks))
    return replies[0]
