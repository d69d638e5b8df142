"""The arms of a run: each with a launcher of workers, and what its torch offers."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from msgspec.structs import replace
from packaging.version import InvalidVersion, Version

from torchlap.api.workbench import Side, Workbench, check_models, describe, workbench
from torchlap.errors import InstallError, UsageError
from torchlap.machine import facts, installation
from torchlap.machine.privacy import private
from torchlap.measuring.plan import Options, plan_run
from torchlap.processes import interpreters
from torchlap.processes.failures import ImportFailedError
from torchlap.processes.revision import checked_out
from torchlap.processes.start import START_LIMIT_SECONDS, Interpreter, Launcher, launcher
from torchlap.schema.arm import LONGEST_NAME, Arm, check_arms
from torchlap.schema.commands import BOTH, command
from torchlap.schema.machine import Facts
from torchlap.schema.packages import misfit, missing
from torchlap.schema.workload import Plan, is_own_file

OLDEST_TORCH = "2.10"
NOW = "now"
"""The arm with the files as they are, beside one with those of a revision."""


@contextmanager
def arms_of(options: Options, earlier: Plan | None = None) -> Iterator[tuple[Arm, ...]]:
    """The arms that options ask for, or those of an earlier run to continue; a revision is checked out meanwhile.

    Raises:
        UsageError: when there are none such.
    """
    check_arms(options.arms)
    if not options.against:
        yield again(earlier) if earlier else options.arms
        return
    revision = options.against
    if options.arms:
        raise UsageError("--against makes the arms itself: omit --arm.")
    if not (revision.isprintable() and len(revision) <= LONGEST_NAME):
        raise UsageError(f"Invalid revision {revision!a:.80}: use a branch, tag or commit.")
    _check_folders(options)
    paths = [model.rpartition(":")[0] or model for model in options.models if is_own_file(model)]
    with checked_out(revision, paths) as found:
        first = Arm(revision, folder=str(found.folder), revision=revision, commit=found.commit)
        yield first, Arm(NOW if revision != NOW else "current", folder=os.getcwd())  # noqa: PTH109  a link is kept


@contextmanager
def bench_of(arms: tuple[Arm, ...]) -> Iterator[Workbench]:
    """A workbench with a side for each arm, whose workers are those of the first arm; without arms, the usual one.

    Raises:
        InstallError: when torch or torchvision cannot be used.
        UsageError: when an arm's Python, folder or devices cannot.
    """
    if not arms:
        with workbench() as bench:
            yield bench
        return
    started = time.monotonic()
    with ExitStack() as stack:
        prepared = [_interpreter(arm, stack) for arm in arms]
        end_reading = facts.begin()
        launchers: list[tuple[Interpreter, Launcher]] = []
        sides = []
        for interpreter, known in prepared:
            shared = [other for same, other in launchers if same == interpreter]
            with _named(known):
                processes = shared[0] if shared else launcher(START_LIMIT_SECONDS, interpreter)
            if not shared:
                stack.callback(processes.close)
                launchers.append((interpreter, processes))
            end_reading()
            with _named(known):
                sides.append(Side(known, processes, describe(processes)))
        machine = _machine(end_reading(), sides[0].arm)
        first = sides[0]
        yield Workbench(
            first.processes, facts.with_torch(machine, first.description), first.description, started, tuple(sides)
        )


def _interpreter(arm: Arm, stack: ExitStack) -> tuple[Interpreter, Arm]:
    """The interpreter of an arm's workers, and the arm with what that has, as a run file may say it.

    Raises:
        UsageError: when the arm's folder does not exist, or its Python cannot be used.
    """
    if arm.folder and not Path(arm.folder).is_dir():
        raise UsageError(f"Arm {arm.name!r}: the folder {arm.folder} does not exist: check the path.")
    arm = replace(arm, folder=os.path.abspath(arm.folder) if arm.folder else "")  # noqa: PTH100  a link is kept
    python = interpreters.find(arm)
    answer = interpreters.ask(arm, python)
    packages = installation.versions(path=answer.path)
    _check_packages(arm, python, packages, installation.torchvision_needs(answer.path))
    known = replace(
        arm,
        interpreter=private(python) if arm.interpreter else "",
        folder=private(arm.folder),
        environment={name: private(value) for name, value in arm.environment.items()},
        python=".".join(map(str, answer.version)),
        packages=packages,
    )
    return stack.enter_context(interpreters.lent(arm, python, answer)), known


def _check_packages(arm: Arm, python: str, packages: dict[str, str], needs: str) -> None:
    """Make sure, before any import, that an arm's torch and torchvision can be used.

    Raises:
        UsageError: when one is missing or too old, or they do not match.
    """
    install = command("pip", python)
    if absent := missing(packages):
        raise UsageError(f"Arm {arm.name!r}: {absent} not installed: {install}.")
    if wrong := misfit(packages, needs):
        raise UsageError(f"Arm {arm.name!r}: {wrong}: {install}.")
    try:
        is_old = Version(packages["torch"]) < Version(OLDEST_TORCH)
    except InvalidVersion:
        return
    if is_old:
        raise UsageError(f"Arm {arm.name!r}: torch {packages['torch']} is too old: use {OLDEST_TORCH} or newer.")


@contextmanager
def _named(arm: Arm) -> Iterator[None]:
    """Say in which arm something is wrong."""
    try:
        yield
    except ImportFailedError as error:
        python = arm.interpreter or sys.executable
        raise InstallError(
            f"Arm {arm.name!r}: {error.cause} Reinstall: {command('pip', python, 'reinstall')}."
        ) from None
    except UsageError as error:
        raise UsageError(f"Arm {arm.name!r}: {error}") from None


def _machine(machine: Facts, arm: Arm) -> Facts:
    """The machine with what an arm has installed."""
    if not arm.interpreter:
        return machine
    known = {name: value for name, value in arm.environment.items() if name in facts.ENVIRONMENT}
    return replace(
        machine,
        python=arm.python,
        interpreter=arm.interpreter,
        packages={name: arm.packages[name] for name in (*BOTH, "numpy", "triton") if name in arm.packages},
        environment=machine.environment | known,
        torch_build=None,
        torchvision_needs="",
    )


def plan_of(options: Options, bench: Workbench) -> Plan:
    """The plan that options ask for, which every arm can run.

    Raises:
        UsageError: for a model, device or recipe that an arm lacks, or a folder that decides nothing.
    """
    if not bench.sides:
        return plan_run(options, bench.description)
    options = replace(options, arms=tuple(side.arm for side in bench.sides))
    if any(arm.folder for arm in options.arms):
        _check_folders(options)
    plans = []
    for side in bench.sides:
        with _named(side.arm):
            plans.append(plan_run(options, side.description))
    for side, plan in zip(bench.sides, plans, strict=True):
        if plan.groups != plans[0].groups:
            raise UsageError(
                f"The arms {bench.sides[0].arm.name!r} and {side.arm.name!r} find different devices: select common "
                "ones with --devices."
            )
    return plans[0]


def _check_folders(options: Options) -> None:
    """Make sure that an arm's folder decides which file is read.

    Raises:
        UsageError: for a model that is the same in every folder.
    """
    own = [model for model in options.models if is_own_file(model)]
    if not own:
        raise UsageError("An arm's folder only matters to a model from your own file: use path/to/file.py:function.")
    for model in own:
        if Path(model).is_absolute():
            raise UsageError(f"{model} is the same file in every arm: give its path relative to the arms' folders.")


def check(bench: Workbench, plan: Plan, hang_seconds: float, *, strict: bool) -> Plan:
    """The plan after every arm has built its models: `torchlap.api.workbench.check_models`, arm by arm.

    Raises:
        UsageError: for a model that cannot be built, or that has other batches in another arm.
    """
    if not bench.sides:
        return check_models(bench, plan, hang_seconds, strict=strict)
    answered = []
    for side in bench.sides:
        own = replace(bench, processes=side.processes, description=side.description)
        with _named(side.arm):
            answered.append(check_models(own, plan, hang_seconds, strict=strict))
    first = answered[0]
    for side, other in zip(bench.sides, answered, strict=True):
        if other.groups != first.groups:
            raise UsageError(
                f"The batches of arm {side.arm.name!r} have other rows or units than those of "
                f"{bench.sides[0].arm.name!r}: arms need equal batches to be compared."
            )
    identities = [
        replace(identity, arm=side.arm.name)
        for side, other in zip(bench.sides, answered, strict=True)
        for identity in other.identities
    ]
    return replace(first, identities=tuple(identities))


def again(plan: Plan) -> tuple[Arm, ...]:
    """The arms of an earlier run, to continue it.

    Raises:
        UsageError: when its file does not say what they were, because that is private.
    """
    for arm in plan.arms:
        if "<" in f"{arm.interpreter}{arm.folder}" or any("~" in value for value in arm.environment.values()):
            raise UsageError(f"The run file does not have the paths of arm {arm.name!r}: start a new run.")
        if arm.revision and not Path(arm.folder).is_dir():
            raise UsageError(
                f"The files of {arm.revision} were removed at the end of that run: start a new one with --against "
                f"{arm.revision}."
            )
    return tuple(replace(arm, folder=os.path.expanduser(arm.folder)) for arm in plan.arms)  # noqa: PTH111


def check_unchanged(plan: Plan, bench: Workbench) -> None:
    """Make sure that the arms of an earlier run still have what they had.

    Raises:
        UsageError: when another version of Python or of a package is installed in one.
    """
    for before, side in zip(plan.arms, bench.sides, strict=True):
        if (before.python, before.packages) != (side.arm.python, side.arm.packages):
            raise UsageError(
                f"Arm {before.name!r} has changed since the run was started ({_versions(before)} vs. "
                f"{_versions(side.arm)}): start a new one without --resume."
            )


def _versions(arm: Arm) -> str:
    packages = [f"{name} {version}" for name, version in arm.packages.items()]
    return ", ".join([f"Python {arm.python}", *packages])
