"""Print, as JSON, the counted cost of some operators: calls, floating-point operations, bytes."""

import json
from collections.abc import Callable

import torch
from torch import nn

from torchlap.worker.breakdown.costs import Costs


def counted(run: Callable[[], object]) -> list[tuple[int, int, int]]:
    with Costs() as costs:
        run()
    return [(cost.calls, cost.flops, cost.bytes) for cost in costs.counted()]


left, right = torch.rand(8, 16), torch.rand(16, 32)
thousand, target = torch.rand(1000), torch.rand(1000)
table, rows = torch.rand(1_000_000, 10), torch.tensor([1, 2, 3])
layer = nn.Linear(16, 32)
tensors = [torch.ones(100), torch.ones(200)]
answer = {
    "product": counted(lambda: left @ right),
    "copy": counted(lambda: target.copy_(thousand)),
    "in place": counted(lambda: target.mul_(2.0)),
    "expanded": counted(lambda: thousand + torch.ones(1).expand(1000)),
    "view": counted(lambda: left.t().reshape(16, 8)[2:]),
    "rows of a table": counted(lambda: table.index_select(0, rows)),
    "lists": counted(lambda: torch._foreach_mul_(tensors, 2.0)),
}
answer["expanded"] = answer["expanded"][-1:]
with torch.inference_mode():
    answer["a linear layer in inference"] = counted(lambda: layer(left))
print(json.dumps(answer))
