"""Rules about files that somebody sends: in whose folder they are, and whether they identify anybody."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from torchlap.judge.findings import Finding, Rule

PRIVATE = Rule(
    "TL808",
    "error",
    "text that identifies somebody",
    "A collection is public: home folders and serial numbers do not belong in it.",
    "Prepare the file with torchlap submit, which removes them.",
)
OTHER_FOLDER = Rule(
    "TL812",
    "error",
    "file in somebody else's folder",
    "The folder names the owner, and a figure counts as reproduced only if another owner measured it.",
    "Move the file to a folder with your own name.",
)


def in_own_folder(file: str, author: str) -> Iterator[Finding]:
    """Check that a file is in a folder named after its author."""
    owner = owner_of(file)
    if author and owner.casefold() != author.casefold():
        place = f"in the folder {owner!r}" if owner else "in no folder"
        yield OTHER_FOLDER.finding(file, f"{place}, but sent by {author!r}")


def without_identities(file: str, identities: tuple[str, ...]) -> Iterator[Finding]:
    """Check that nothing in a file identifies somebody; `identities` is what was found."""
    if identities:
        texts = "1 text" if len(identities) == 1 else f"{len(identities)} texts"
        yield PRIVATE.finding(file, f"{texts}, such as {identities[0]!r}")


def owner_of(file: str) -> str:
    """The first folder of a file's name in a collection; empty if it is in none."""
    parts = PurePosixPath(file).parts
    return parts[0] if len(parts) > 1 else ""
