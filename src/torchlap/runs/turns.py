"""The turns of one cell, and those that it has beside another."""

from array import array
from collections.abc import Iterable

from torchlap.schema.events import Lap


class Turns:
    """The turns of one cell, as compactly as a file of a million rounds needs."""

    def __init__(self) -> None:
        self.of_round: list[tuple[Lap, ...]] = []
        """The laps of each turn, in the order of time."""
        self.numbers = array("q")
        """The round of each turn."""
        self.laps = 0

    def add(self, number: int, laps: tuple[Lap, ...]) -> None:
        """Take in the turn of a round."""
        self.numbers.append(number)
        self.of_round.append(laps)
        self.laps += len(laps)

    def beside(self, others: "Turns") -> Iterable[tuple[tuple[Lap, ...], tuple[Lap, ...]]]:
        """The turns of the rounds in which another cell had a turn, too, each with the other's."""
        if self.numbers == others.numbers:
            return zip(self.of_round, others.of_round, strict=True)
        known = dict(zip(others.numbers, others.of_round, strict=True))
        own = zip(self.numbers, self.of_round, strict=True)
        return ((turn, known[number]) for number, turn in own if number in known)

    def rounds_beside(self, others: "Turns") -> Iterable[int]:
        """The numbers of these rounds."""
        known = set(others.numbers)
        return (number for number in self.numbers if number in known)
