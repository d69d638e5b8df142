"""Run scripts under the tracer, each in a fork of this process, because importing torch takes seconds.

Reads lines of `TRACE SCRIPT DEVICE` from its standard input, separated by tabs, and prints the exit code of each.
"""

import os
import sys

import torch
from torch import nn

from torchlap.worker.tracing import script


def warm_up() -> None:
    """Make the first optimizers of the process, which import a lot."""
    model = nn.Linear(2, 2)
    torch.optim.Adam(model.parameters()).step()
    torch.optim.SGD(model.parameters()).step()


def main() -> None:
    warm_up()
    for line in sys.stdin:
        words = line.rstrip("\n").split("\t")
        child = os.fork()
        if child == 0:
            os.close(0)
            os.dup2(2, 1)
            sys.argv = [sys.argv[0], *words]
            script.main()
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
