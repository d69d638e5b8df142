"""`torchlap.measure`, with the names of the command line."""

from collections.abc import Sequence
from typing import Any

from torchlap.api import result, run
from torchlap.api.carried import carried
from torchlap.api.given import checked, options_of
from torchlap.api.progress import shown
from torchlap.api.run import Listener
from torchlap.errors import UsageError
from torchlap.measuring.plan import Options


def measure(
    model: "str | Sequence[str] | Options | object | None" = None,
    batch: object = None,
    *others: object,
    listener: Listener | None = None,
    progress: bool = True,
    **options: Any,  # noqa: ANN401  each is checked by its name
) -> result.Run:
    """Measure, and write a run file.

    Args:
        model: a model's name as on the command line (`"resnet18"`, `"hf:gpt2"`, `"net.py:make"`), a list of names, a
            `torch.nn.Module`, or complete `Options`. If omitted, the default suite is measured.
        batch: for named models, the batch size, or several; for a module, one batch: `(inputs, targets)`, a dictionary
            or a DataLoader.
        others: for a module, its loss, optimizer or options, as described in docs/own-models.md.
        listener: callbacks during the run.
        progress: show a line of progress, in a terminal or a notebook; ignored if there is a listener.
        options: `devices="cuda:0"`, `phase="train,eval"`, `recipe="fp32,bf16"`, `budget="30s"` (or seconds),
            `suite`, `seq`, `weights`, `data`, `precision_target=0.02`, `verify`, `explain`, `isolate`, `arms`,
            `against`, `out`, `resume`; of your own model, `items` in a batch and their `unit`, like `"tokens"`.

    Returns:
        The run, as `load` reads it from its file; a resumed run includes its earlier events.

    Raises:
        UsageError: for a wrong argument, model, device or recipe, before anything is measured or written.
        InstallError: when torch or torchvision cannot be used.
        RunFileError: when the run file cannot be written.
        KeyboardInterrupt: when interrupted; what was measured up to then is in the file.
    """
    if isinstance(model, Options):
        if batch is not None or others or options:
            raise UsageError("Options cannot be combined with other arguments: set them in the Options instead.")
        return _run(checked(model), listener, progress=progress)
    names = _names(model)
    if names is not None:
        if others:
            raise UsageError(
                "Only a module can be followed by a batch and a loss: pass the other arguments by keyword, like "
                'devices="cuda:0".'
            )
        return _run(options_of(names, batch, options), listener, progress=progress)
    if not callable(getattr(model, "state_dict", None)):
        raise UsageError(
            f"Cannot measure an object of type {type(model).__name__}: use a model's name, or a torch.nn.Module and "
            "its batch."
        )
    if batch is None or isinstance(batch, int):
        raise UsageError("A module needs its batch: torchlap.measure(module, (inputs, targets)).")
    options_of((), None, options)  # before the module is written
    with carried(model, batch, others) as name:
        return _run(options_of((name,), None, options), listener, progress=progress)


def _names(model: object) -> tuple[str, ...] | None:
    """The names of models; empty if nothing is given, None if it is something else."""
    if model is None:
        return ()
    if isinstance(model, str):
        return (model,)
    return tuple(model) if isinstance(model, list | tuple) and all(isinstance(name, str) for name in model) else None


def _run(options: Options, listener: Listener | None, *, progress: bool) -> result.Run:
    """Measure, once the listener is known to be one: it is called when the run file exists already."""
    callbacks = () if listener is None else (getattr(listener, name, None) for name in Listener.__struct_fields__)
    if not all(map(callable, callbacks)):
        raise UsageError(f"Invalid listener {listener!r:.80}: use torchlap.Listener with functions.")
    if listener is not None or not progress:
        return result.of(run.measure(options, listener))
    with shown() as watched:
        return result.of(run.measure(options, watched))
