"""Print, as JSON, whether a loader is gone as soon as nobody holds it, and which of its batches are used."""

import gc
import json
import sys
import weakref
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from torchlap.worker.cell.data import Loaded

gc.disable()
pairs = [(torch.ones(2), 0)] * 8
loader: DataLoader[object] = DataLoader(pairs, batch_size=2, num_workers=1)  # type: ignore[arg-type]  # a list will do
loaded = Loaded(loader, 2, torch.device("cpu"), torch.contiguous_format)
loaded.fetch()
batches = weakref.ref(loaded._batches)
del loaded
told: dict[str, object] = {"freed without the garbage collector": batches() is None}

sys.path.insert(0, str(Path(__file__).parents[1] / "own"))
import known  # noqa: E402  beside this file

_, uneven = known.uneven_loader(4)
source = Loaded(uneven, 4, torch.device("cpu"), torch.contiguous_format)
told["rows of an uneven loader's batches"] = [len(source.fetch()[0]) for _ in range(4)]
print(json.dumps(told))
