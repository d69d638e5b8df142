"""Labels of values in a script: where a value comes from, and the differences and ratios that are made of them."""

from typing import Literal

from msgspec import Struct, field

from torchlap.worker.tracing.log import Site

LabelKind = Literal["read", "negative", "span", "rate", "ratio", "percent"]
Label = tuple[LabelKind, Site]
Labels = frozenset[Label]
NOTHING: Labels = frozenset()
Key = tuple[str, ...]


class Difference(Struct):
    """A place where readings are subtracted.

    Attributes:
        line: where the expression begins.
        ends, starts: the calls whose readings are on the left and on the right.
        delayed: starts whose readings are copied to the subtracted variable only after the subtraction.
        conditional: the subtraction is not made for every reading, as if the first ones were left out.
        robust: a median, a minimum or a quantile is computed from the times.
        skips: some of the times are left out, such as the first.
        whole: the last of several readings minus the first.
    """

    file: str
    line: int
    ends: set[Site] = field(default_factory=set)
    starts: set[Site] = field(default_factory=set)
    delayed: set[Site] = field(default_factory=set)
    branches: tuple[tuple[int, int], ...] = ()
    robust: bool = False
    skips: bool = False
    whole: bool = False

    @property
    def conditional(self) -> bool:
        """Whether some spans may be left out."""
        ends = [line for file, line, _ in self.ends if file == self.file]
        return self.skips or any(
            not any(first <= line <= last for line in ends) for first, last in self.branches if ends
        )


class Ratio(Struct):
    """A place where one time is divided by another; `printed` is the line that shows it as a percentage."""

    file: str
    line: int
    above: set[Site] = field(default_factory=set)
    below: set[Site] = field(default_factory=set)
    printed: int = 0


def only(labels: Labels, *kinds: LabelKind) -> Labels:
    """The labels of these kinds."""
    return frozenset(label for label in labels if label[0] in kinds)


def sites(labels: Labels, *kinds: str) -> set[Site]:
    """Where the labels of these kinds come from."""
    return {site for kind, site in labels if kind in kinds}
