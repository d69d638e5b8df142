"""Print the seconds of a forward pass of the module that sleeps, as torch's own timer measures them."""

from models import sleeps
from torch.utils.benchmark import Timer

module, (inputs, _) = sleeps(4)
print(float(Timer("module(inputs)", globals={"module": module, "inputs": inputs}).timeit(10).mean))
