"""Two releases of torch as the arms of a run."""

from collections.abc import Callable, Sequence

from msgspec.structs import replace

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
    first, second = arm_of(old, "old"), arm_of(new, "new")
    if first.name == second.name:
        return replace(first, name=f"{first.name} (old)"), replace(second, name=f"{second.name} (new)")
    return first, second


def arm_of(python: str, place: str) -> Arm:
    """The arm of a Python, named after its torch.

    Args:
        python: its interpreter; empty for this one.
        place: what to call it where it has no torch.

    Raises:
        UsageError: when the Python cannot be used.
    """
    arm = Arm(place, interpreter=python)
    path = interpreters.ask(arm, interpreters.find(arm)).path
    version = installation.versions(("torch",), path).get("torch")
    return replace(arm, name=f"torch {version}") if version else arm
