# What a script can see of the process that runs it.
import os
import pickle
import sys
import threading
import time
import traceback
import warnings

import torch


class Watch:
    clock = time.perf_counter
    started: float = 0.0

    def elapsed(self):
        return self.clock() - self.started


print(sys.argv[1:], os.path.basename(__file__), os.path.isabs(__file__), __name__, __spec__, __package__, __doc__)
print([os.path.basename(path) for path in sys.path[:1]], threading.active_count(), type(__loader__).__name__)
print(sorted(name for name in globals() if name.startswith("__")))
print(type(Watch().elapsed()), type(time.time()), type(time.time_ns()), pickle.loads(pickle.dumps(time.time)) is time.time)
warnings.warn("of the script itself")
for _ in range(3):
    torch.nn.functional.softmax(torch.ones(2, 2))
    torch.nn.Softmax()(torch.ones(2, 2))
    torch.nn.functional.mse_loss(torch.ones(2, 1), torch.ones(2))
model = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.Linear(3, 2))
try:
    model(torch.ones(1, 4))
except RuntimeError:
    traceback.print_exc()
loss = torch.nn.Linear(4, 2)(torch.ones(1, 4)).sum()
loss.backward()
try:
    loss.backward()
except RuntimeError:
    traceback.print_exc()
print(torch.nn.Module.__call__.__qualname__, torch.nn.functional.cross_entropy.__module__, print.__name__)
sys.exit("the end")
