"""Many machines' runs in one collection: what is refused and why, and what the accepted figures say together."""

from torchlap.judge.collection import accept, sent, together
from torchlap.judge.collection.accept import Entry, Key, Machine, Submission, accepted, unreadable
from torchlap.judge.collection.sent import in_own_folder, owner_of, without_identities
from torchlap.judge.collection.together import Collection, Spread, history, put_together, spreads
from torchlap.judge.findings import catalogue

__all__ = [
    "CATALOGUE",
    "Collection",
    "Entry",
    "Key",
    "Machine",
    "Spread",
    "Submission",
    "accepted",
    "history",
    "in_own_folder",
    "owner_of",
    "put_together",
    "spreads",
    "unreadable",
    "without_identities",
]

CATALOGUE = catalogue(accept, sent, together)
