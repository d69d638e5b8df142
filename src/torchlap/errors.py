"""What can go wrong before or around a measurement; each message names its remedy.

    TorchlapError            exit code
    ├── UsageError           2    invalid arguments
    ├── InstallError         3    torch or torchvision is unusable
    └── RunFileError         4    a run file cannot be read or written

What goes wrong inside a cell is not an exception but a record, `torchlap.schema.events.Failure`. `CellFailedError`
carries it from the worker to the session, which writes it down.
"""

EXIT_FINE = 0
EXIT_SOME_CELLS_FAILED = 1
EXIT_WARNINGS = 1
EXIT_UNUSABLE = 2
"""Of `torchlap doctor`: usable, but something affects results; the accelerator or torch is unusable."""

EXIT_USAGE = 2
EXIT_INSTALL = 3
EXIT_RUN_FILE = 4
EXIT_NOTHING_AUDITED = 5
"""Of `torchlap audit`: no training step was watched, so nothing can be said."""

EXIT_INCONCLUSIVE = 6
"""Of `torchlap compare`: a cell may or may not be slower than allowed."""

EXIT_NOT_REACHED = 7
"""Of `torchlap train`: a training did not reach the accuracy, or there was no time for it."""

EXIT_INTERRUPTED = 130


class TorchlapError(Exception):
    """One clear sentence with its remedy, and the exit code for it."""

    exit_code = EXIT_SOME_CELLS_FAILED


class UsageError(TorchlapError):
    """An argument is invalid, or names a model, device or file that does not exist."""

    exit_code = EXIT_USAGE


class InstallError(TorchlapError):
    """Torch or torchvision is missing, mismatched, or crashes when imported."""

    exit_code = EXIT_INSTALL


class RunFileError(TorchlapError):
    """A run file cannot be written, or what it holds cannot be used."""

    exit_code = EXIT_RUN_FILE
