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
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec
from msgspec.structs import replace

from torchlap.processes.failures import CellFailedError, how_it_ended
from torchlap.processes.start import LOOK_SECONDS
from torchlap.processes.system import descendants, kill_group, kill_process, out_of_memory_kills, tail
from torchlap.processes.torchrun import HERE, Agent, Hosts, cannot_meet, start_ranks
from torchlap.processes.worker import DOING, Worker
from torchlap.schema.messages import (
    JUDGE_ADDRESS,
    JUDGE_TOKEN,
    LONGEST_LINE,
    RANK_DEVICES,
    WHERE_SIGNAL,
    Join,
    decode_reply,
    encode,
)
from torchlap.schema.replies import Failed, Progress, RanksDescribed, Reply
from torchlap.schema.requests import Hello, Request

JOIN_SECONDS = 5.0
"""A connection that does not say who it is for so long is closed."""

ENDING_SECONDS = 5.0
"""The launcher notices a rank that was killed within 0.1 s, and then needs so long at most to report it."""

CAUSE_SECONDS = 1.0
"""Where a rank is killed, another one may report its broken connection before the end of the first is heard."""

STACK_SECONDS = 0.5
DETAIL_BYTES = 4000
"""Of each rank's errors."""

EXIT = re.compile(r"exitcode\s*:\s*(-?\d+)\)?.{0,40}?\(pid: (\d+)\)", re.DOTALL)
"""In the launcher's report: `failed (exitcode: -9) local_rank: 1 (pid: 4711)`."""


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
        self.start_up_seconds = 0.0
        """Not counted: several sizes start at the same time, and whoever starts them measures that."""

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
        logs = Path(tempfile.mkdtemp(prefix="torchlap-ranks-"))
        log = tempfile.TemporaryFile()  # noqa: SIM115  open as long as the ranks live
        variables = {JUDGE_ADDRESS: f"{host}:{port}", JUDGE_TOKEN: token, RANK_DEVICES: self._kind}
        process = start_ranks(self._ranks, self._hosts, variables, logs, log)
        world = World(process, listener, log=log, logs=logs, token=token, ranks=self._ranks * self._hosts.nodes)
        self._worlds.append(world)
        return world

    def renew(self) -> None:
        """End every rank; each start has new ones anyway."""
        self.close()

    def close(self) -> None:
        """End every rank."""
        for world in self._worlds:
            world.kill()


class World(Worker):
    """All ranks of a size: a request goes to each of them, and their answers become one."""

    def __init__(
        self, agent: Agent, listener: socket.socket, *, log: IO[bytes], logs: Path, token: str, ranks: int
    ) -> None:
        # not the base's own: there is a connection for each rank
        self._process, self._agent, self._listener, self._report, self._logs = agent, agent, listener, log, logs
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
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        """Let ranks join; anybody else is turned away."""
        self._listener.settimeout(LOOK_SECONDS)  # closing it does not wake a thread that waits for it
        with suppress(OSError):  # it was closed
            while self._alive and len(self._joins) < self._ranks:
                try:
                    connection, _ = self._listener.accept()
                except TimeoutError:
                    continue
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
        while len(self._replies) < self._ranks:
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
            end = time.monotonic() + limit_seconds
            reply = self._decoded(rank, line) if line else None
            if isinstance(reply, Progress | Failed):
                return self._named(rank, reply)
            if reply is not None:
                self._replies[rank] = reply
        return together([self._replies[number] for number in range(self._ranks)])

    def _named(self, rank: int, reply: Progress | Failed) -> Progress | Failed:
        """A failure that only this rank may have has its number; refusals are the same on all of them.

        Raises:
            CellFailedError: when it failed because another rank is gone, whose end may be heard later.
        """
        if not (isinstance(reply, Failed) and reply.detail and self._ranks > 1):
            return reply
        end = time.monotonic() + CAUSE_SECONDS
        while (left := end - time.monotonic()) > 0:
            try:
                other, line = self._heard.get(timeout=left)
            except queue.Empty:
                break
            if line is None and other != rank:
                raise self._death_of(other, self._doing)
        return replace(reply, reason=f"Rank {rank}: {reply.reason}")

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
        output, report = self._output([rank]), tail(self._report) if self._alive else ""
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
        report, output = tail(self._report), self._output(range(self._ranks))
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
            with self._report:
                output = tail(self._report)
            shutil.rmtree(self._logs, ignore_errors=True)
            return output


def together(replies: Sequence[Reply]) -> Reply:
    """The answers of all ranks, in their order, as one; each rank knows the times of all of them."""
    if isinstance(replies[0], RanksDescribed):
        described = [reply for reply in replies if isinstance(reply, RanksDescribed)]
        return RanksDescribed(tuple(rank for reply in described for rank in reply.ranks))
    return replies[0]
