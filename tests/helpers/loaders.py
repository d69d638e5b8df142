"""Print, as JSON: is a loader freed as soon as nothing refers to it, and which of its batches are used?"""

import gc
import json
import weakref
from pathlib import Path
from runpy import run_path

import torch
from torch.utils.data import DataLoader

from torchlap.worker.cell.sources import Loaded

KNOWN = Path(__file__).parents[1] / "own" / "known.py"


def is_freed_at_once() -> bool:
    """Whether a loader is freed without the garbage collector."""
    gc.disable()
    pairs = [(torch.ones(2), 0)] * 8
    loader: DataLoader[object] = DataLoader(pairs, batch_size=2, num_workers=1)  # type: ignore[arg-type]  # a list works
    loaded = Loaded(loader, 2, torch.device("cpu"), torch.contiguous_format)
    loaded.fetch()
    batches = weakref.ref(loaded._batches)
    del loaded
    return batches() is None


def rows_of_uneven_batches() -> list[int]:
    """The sizes of the batches that are used of a loader whose epochs end with an incomplete one."""
    _, loader = run_path(str(KNOWN))["uneven_loader"](4)
    source = Loaded(loader, 4, torch.device("cpu"), torch.contiguous_format)
    return [len(source.fetch()[0]) for _ in range(4)]


answer = {
    "freed without the garbage collector": is_freed_at_once(),
    "rows of an uneven loader's batches": rows_of_uneven_batches(),
}
print(json.dumps(answer))
