"""Releases of torch between two, and the one that changed a model's speed."""

from collections.abc import Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace
from packaging.version import Version

from torchlap.api.upgrade import arm_of
from torchlap.errors import InstallError, UsageError
from torchlap.judge.bisect import Bisected, Step, side, suspect
from torchlap.judge.compare import Change, Compared, compare
from torchlap.measuring.plan import Options
from torchlap.processes.environments import environment, releases, requirement
from torchlap.runs.find import Named
from torchlap.schema.arm import Arm
from torchlap.schema.events import Run
from torchlap.schema.workload import Phase

OLD_AND_NEW = 2

Measure = Callable[[Options], Run]


class Candidate(Struct, frozen=True):
    """A release that may be measured, and how to get its arm, which may need an environment."""

    name: str
    arm: Callable[[], Arm]


def candidates(to: str, before: str, pythons: Sequence[str], report: Callable[[str], None]) -> list[Candidate]:
    """The releases from the old one to the new one; only these two are installed yet.

    Args:
        to: the new release.
        before: the old release; empty for the torch that is installed here.
        pythons: existing Pythons instead, the oldest first.
        report: called with what is being done.

    Raises:
        UsageError: for releases or Pythons that are not understood.
        InstallError: when an environment cannot be made, or the releases cannot be listed.
    """
    if pythons:
        if to or before or len(pythons) <= OLD_AND_NEW:
            raise UsageError("With --bisect, give --python three times or more, the oldest first, or --from and --to.")
        arms = [arm_of(python, f"python {number}") for number, python in enumerate(pythons, 1)]
        if len({arm.name for arm in arms}) < len(arms):
            arms = [replace(arm, name=f"{arm.name} ({number})") for number, arm in enumerate(arms, 1)]
        return [_ready(arm) for arm in arms]
    if not to:
        raise UsageError("Give the newest release to search: --to 2.15, and with it --from, or --python several times.")
    wanted, earlier = requirement(to), requirement(before) if before else ""
    old = arm_of(str(environment(earlier, report)) if earlier else "", "old")
    new = arm_of(str(environment(wanted, report)), "new")
    low, high = (Version(Version(arm.name.removeprefix("torch ")).public) for arm in (old, new))
    if not low < high:
        raise UsageError(f"{new.name} is not newer than {old.name}: give the older release with --from.")
    between = [version for version in releases() if low < version < high]
    return [_ready(old), *(_installed(version, report) for version in between), _ready(new)]


def _ready(arm: Arm) -> Candidate:
    return Candidate(arm.name, lambda: arm)


def _installed(version: Version, report: Callable[[str], None]) -> Candidate:
    return Candidate(
        f"torch {version}", lambda: arm_of(str(environment(f"torch=={version}", report)), f"torch {version}")
    )


def bisect(options: Options, found: Sequence[Candidate], measure: Measure) -> Bisected:
    """Find the release that changed the speed of the cell that changed the most.

    Args:
        options: what to measure.
        found: the releases, the oldest first.
        measure: measures two arms.
    """
    names = [candidate.name for candidate in found]
    first = found[0].arm()
    change = suspect(_compared(measure(replace(options, arms=(first, found[-1].arm())))))
    if change is None or change.ground is None:
        return Bisected(first=names[0], change=None, unchanged=names[-1], changed="", steps=())
    options, steps = _only(options, change), [Step(names[-1], change.ground, "changed")]
    left, skipped = list(found[1:-1]), []
    unchanged, changed = names[0], names[-1]
    while left:
        middle = len(left) // 2
        try:
            arm = left[middle].arm()
        except InstallError:
            skipped.append(left.pop(middle).name)
            continue
        changes = _compared(measure(replace(options, arms=(first, arm)))).changes
        steps.append(Step(arm.name, changes[0].interval if changes else None, side(change.ground, changes)))
        match steps[-1].side:
            case "unclear":
                break
            case "changed":
                changed, left = left[middle].name, left[:middle]
            case "unchanged":
                unchanged, left = left[middle].name, left[middle + 1 :]
    return Bisected(
        first=names[0],
        change=change,
        unchanged=unchanged,
        changed=changed,
        steps=tuple(steps),
        skipped=tuple(skipped),
    )


def _compared(run: Run) -> Compared:
    return compare([Named("this run", run)], across="arm")


def _only(options: Options, change: Change) -> Options:
    """Options that measure only the cell of a change."""
    phase: Phase = "eval" if change.phase == "eval" else "train"
    kept = tuple(recipe for recipe in options.recipes if str(recipe) == change.recipe) or options.recipes
    batches = (change.batch,) if options.batches and len(options.batches) > 1 else options.batches
    return replace(
        options, models=(change.model,), devices=change.device, recipes=kept, batches=batches, phases=(phase,)
    )
