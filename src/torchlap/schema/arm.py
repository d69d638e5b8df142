"""An arm: one side of a comparison within a run, and the words of `--arm`."""

import re
from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

from torchlap.errors import UsageError
from torchlap.schema.base import Name, Text
from torchlap.schema.recipe import Recipe, parse_recipe

MOST_ARMS = 20
LONGEST_NAME, LONGEST_VALUE = 100, 1000
KINDS = ("python", "path", "env", "recipe")
SYNTAX = "NAME=python:PATH, path:FOLDER, env:VARIABLE=VALUE or recipe:WORDS, or several of them separated by commas"

ArmName = Annotated[str, Meta(max_length=LONGEST_NAME)]
"""Empty in a run without arms."""


class Arm(Struct, frozen=True, omit_defaults=True):
    """What the workers of some cells of a run have for themselves; the rest is as in the other arms.

    Attributes:
        name: what the table calls it.
        interpreter: its Python; empty for the one that torchlap runs in.
        folder: where relative paths of own files begin; empty for the working directory.
        environment: variables beside those of the run.
        recipe: instead of the run's.
        revision: the git revision that the folder has, if torchlap checked it out.
        commit: of the revision.
        python: version of its Python.
        packages: versions of the packages that its Python has.
    """

    name: ArmName
    interpreter: Text = ""
    folder: Text = ""
    environment: dict[Name, Text] = {}
    recipe: Recipe | None = None
    revision: Text = ""
    commit: Text = ""
    python: Text = ""
    packages: dict[Name, Text] = {}

    def __str__(self) -> str:
        """The words that `--arm` takes."""
        words = [
            *([f"python:{self.interpreter}"] if self.interpreter else []),
            *([f"path:{self.folder}"] if self.folder else []),
            *(f"env:{name}={value}" for name, value in self.environment.items()),
            *([f"recipe:{self.recipe}"] if self.recipe else []),
        ]
        return f"{self.name}={','.join(words)}" if words else self.name


def parse_arm(text: str) -> Arm:
    """An arm from words such as `new=python:/opt/new/bin/python,env:OMP_NUM_THREADS=4`; a name alone changes nothing.

    Raises:
        UsageError: for anything else.
    """
    name, _, words = text.partition("=")
    name = name.strip()
    if not (name and name.isprintable() and len(name) <= LONGEST_NAME):
        raise UsageError(f"Invalid arm {text!a:.80}: use {SYNTAX}.")
    fields: dict[str, str] = {}
    environment: dict[str, str] = {}
    for word in re.split(rf",(?=(?:{'|'.join(KINDS)}):)", words) if words.strip() else ():
        kind, colon, value = word.strip().partition(":")
        if kind not in KINDS or not colon or not value or not value.isprintable() or len(value) > LONGEST_VALUE:
            raise UsageError(f"Invalid arm {text!a:.80}: {word!a:.80} is not understood; use {SYNTAX}.")
        if kind == "env":
            environment |= _variable(text, value)
        elif kind in fields:
            raise UsageError(f"Invalid arm {text!a:.80}: {kind} is given twice.")
        else:
            fields[kind] = value
    return Arm(
        name,
        interpreter=fields.get("python", ""),
        folder=fields.get("path", ""),
        environment=environment,
        recipe=parse_recipe(fields["recipe"]) if "recipe" in fields else None,
    )


def _variable(text: str, words: str) -> dict[str, str]:
    name, equals, value = words.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise UsageError(f"Invalid arm {text!a:.80}: write a variable as env:NAME=VALUE.")
    return {name: value}


def parse_arms(texts: Sequence[str]) -> tuple[Arm, ...]:
    """Several arms, the first of which is the baseline; none if there are no texts.

    Raises:
        UsageError: for a single arm, too many, or two of one name.
    """
    arms = tuple(map(parse_arm, texts))
    check_arms(arms)
    return arms


def check_arms(arms: Sequence[Arm]) -> None:
    """Make sure that arms can be compared.

    Raises:
        UsageError: for a single arm, too many, or two of one name.
    """
    names = [arm.name for arm in arms]
    if len(arms) == 1:
        raise UsageError(f"Arm {names[0]!r} has nothing to compare with: add a second one, such as --arm base.")
    if len(arms) > MOST_ARMS:
        raise UsageError(f"{len(arms)} arms are too many for one run: the limit is {MOST_ARMS}.")
    for name in names:
        if not name:
            raise UsageError("An arm has no name: give each its own.")
        if names.count(name) > 1:
            raise UsageError(f"Two arms are named {name!r}: give each its own name.")
