"""The power of each device while nothing runs, before anything laps."""

from torchlap.measuring.context import Context
from torchlap.processes.failures import CellFailedError
from torchlap.schema.energy import IdlePower
from torchlap.schema.events import IdleMeasured
from torchlap.schema.replies import IdleRead
from torchlap.schema.requests import MeasureIdle


def measure_idle(context: Context) -> None:
    """Read the energy meter of each device while nothing runs, unless an earlier session has done so."""
    cells = [cell for group in context.plan.groups for cell in group.cells]
    for device, arm in {cell.device: cell.arm for cell in reversed(cells)}.items():
        if device in context.ledger.idle:
            continue
        context.say(f"{device}: measuring idle power")
        try:
            reply = context.crew.ask_alone(arm, MeasureIdle(device), IdleRead, context.hang_seconds)
        except CellFailedError as failure:
            reply = IdleRead(IdlePower(device=device, reason=f"Energy: {failure.reason}"))
        context.emit(IdleMeasured(reply.idle))
