"""Print, as JSON, whether a loader is gone as soon as nobody holds it."""

import gc
import json
import weakref

import torch
from torch.utils.data import DataLoader

from torchlap.worker.data import Loaded

gc.disable()
pairs = [(torch.ones(2), 0)] * 8
loaded = Loaded(DataLoader(pairs, batch_size=2, num_workers=1), torch.device("cpu"), torch.contiguous_format)  # type: ignore[arg-type]  # a list is a dataset
loaded.fetch()
batches = weakref.ref(loaded._batches)
del loaded
print(json.dumps({"freed without the garbage collector": batches() is None}))
