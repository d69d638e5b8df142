"""Two releases of torch as the arms of a run."""

from collections.abc import Callable, Sequence

from torchlap.errors import UsageError
from torchlap.machine import installation
from torchlap.processes import interpreters
from torchlap.processes.environments import environment, requirement
from torchlap.schema.arm import Arm


def releases(
    to: str = "",
    before: str = "",
    pythons: Sequence[str] = (),
    report: Callable[[str], None] = lambda _: None,
) -> tuple[Arm, Arm]:
    """The arms of an upgrade, named after their torch: the old one first.

    Args:
        to: the new release, such as `torch==2.15.*`; its environment is made if needed.
        before: the old release; empty for the torch that is installed here.
        pythons: two existing Pythons, the old one first, instead of releases.
        report: called with what is being done.

    Raises:
        UsageError: for releases or Pythons that are not understood.
        InstallError: when an environment cannot be made.
    """
    if pythons:
        if len(pythons) != len(("old", "new")) or to or before:
            raise UsageError("Give either --python twice, the old one first, or --to, and with it --from.")
        old, new = pythons
    elif not to:
        raise UsageError("Give the release to compare with: --to 2.15, or two existing Pythons with --python.")
    else:
        wanted, earlier = requirement(to), requirement(before) if before else ""
        old = str(environment(earlier, report)) if earlier else ""
        new = str(environment(wanted, report))
    names = [_name(python, place) for python, place in ((old, "old"), (new, "new"))]
    if names[0] == names[1]:
        names = [f"{names[0]} (old)", f"{names[1]} (new)"]
    return Arm(names[0], interpreter=old), Arm(names[1], interpreter=new)


def _name(python: str, place: str) -> str:
    """What an arm is called: its torch."""
    arm = Arm(place, interpreter=python)
    path = interpreters.ask(arm, interpreters.find(arm)).path
    version = installation.versions(("torch",), path).get("torch")
    return f"torch {version}" if version else place
