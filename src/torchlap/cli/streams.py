"""The standard streams of a process. Needs only the standard library."""

import os
import sys


def open_closed_streams() -> None:
    """Give a closed standard stream the null device: otherwise its number would go to a socket of ours."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one


def drop_output() -> None:
    """Send the standard output, with what is still buffered, to the null device."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def try_write(text: str) -> OSError | None:
    """Write to the standard output, if it is open; the error, after which nothing more is written there."""
    if not sys.stdout:
        return None
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        drop_output()
        return error
    return None
