"""The module that sleeps, read by torch's own timer: seconds of a forward pass."""

from models import sleeps
from torch.utils.benchmark import Timer

module, (inputs, _) = sleeps(4)
print(float(Timer("module(inputs)", globals={"module": module, "inputs": inputs}).timeit(10).mean))
