"""A rank's process: join the other ranks, then the judge, and answer requests until the judge hangs up."""

import os
import socket
from typing import NoReturn

import torch
from torch import distributed

from torchlap.schema.messages import JUDGE_ADDRESS, JUDGE_TOKEN, RANK_DEVICES, Join, encode
from torchlap.schema.replies import Failed
from torchlap.worker.errors import failure, first_line
from torchlap.worker.process import answer_from
from torchlap.worker.ranks.serve import RankServer

RANK, LOCAL_RANK, WORLD_SIZE = "RANK", "LOCAL_RANK", "WORLD_SIZE"
"""The variables by which torch.distributed.run tells a process its place (PyTorch's documentation of torchrun)."""

GIVE_UP_SECONDS = 60.0


def join() -> NoReturn:
    """Be one of several ranks."""
    rank, world_size = int(os.environ[RANK]), int(os.environ[WORLD_SIZE])
    host, _, port = os.environ[JUDGE_ADDRESS].rpartition(":")
    connection = socket.create_connection((host, int(port)), GIVE_UP_SECONDS)
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    hello = Join(
        token=os.environ[JUDGE_TOKEN], rank=rank, world_size=world_size, pid=os.getpid(), host=socket.gethostname()
    )
    connection.sendall(encode(hello) + b"\n")
    if world_size > 1:
        try:
            _meet(os.environ[RANK_DEVICES])
        except Exception as error:
            connection.sendall(encode(_cannot_meet(error)) + b"\n")
            raise
    answer_from(connection, lambda stream: RankServer(stream, rank, world_size, int(os.environ[LOCAL_RANK])))


def _meet(kind: str) -> None:
    """Make the process group of all ranks: gloo for the CPU, and the accelerator's own backend beside it."""
    if kind == "cpu":
        distributed.init_process_group("gloo")
        return
    torch.accelerator.set_device_index(int(os.environ[LOCAL_RANK]))
    distributed.init_process_group(f"cpu:gloo,{kind}:{distributed.get_default_backend_for_device(kind)}")


def _cannot_meet(error: Exception) -> Failed:
    """Why the ranks could not make a process group, and what to do."""
    reason = first_line(error).rstrip(".")
    remedy = "check the firewall, and name the network card with GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME"
    told = failure(error)
    return Failed("error", f"The ranks cannot make a process group ({reason}): {remedy}.", told.detail)
