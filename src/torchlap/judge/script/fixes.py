"""Mechanical repairs of a script's own lines: which line becomes which."""

import re

from msgspec import Struct

from torchlap.judge.findings import Finding
from torchlap.schema.trace import Place, Trace

WAIT = "torch.accelerator.synchronize()"


class Edit(Struct, frozen=True):
    """A line that is replaced, with lines put before it; nothing follows from where it stands in a file."""

    place: Place
    old: str
    new: str
    before: tuple[str, ...] = ()

    @property
    def diff(self) -> tuple[str, ...]:
        """As lines of a diff, with the indentation of the line left out."""
        indent = len(self.old) - len(self.old.lstrip())
        added = [f"+ {line[indent:]}" for line in self.before]
        if self.old == self.new:
            return (*added, f"  {self.old[indent:]}")
        return (*added, f"- {self.old[indent:]}", f"+ {self.new[indent:]}")


def edits(finding: Finding, trace: Trace) -> tuple[Edit, ...]:
    """The repair of a finding; none if it takes more than a change of these lines."""
    place = _place(finding.where)
    line = trace.lines.get(str(place), "")
    if not line.strip():
        return ()
    if finding.code == "TL401":
        starts = [spans.start for spans in (*trace.spans, *trace.parts) if spans.end == place]
        places = dict.fromkeys([*starts, place])
        return tuple(_waiting(each, trace) for each in places if trace.lines.get(str(each), "").strip())
    new = _repaired(finding.code, line, trace)
    return (Edit(place, line, new),) if new != line else ()


def _waiting(place: Place, trace: Trace) -> Edit:
    line = trace.lines[str(place)]
    return Edit(place, line, line, (f"{line[: len(line) - len(line.lstrip())]}{WAIT}",))


def _repaired(code: str, line: str, trace: Trace) -> str:
    """The line as it should be."""
    if code == "TL402":
        return re.sub(r"(\+=\s*[\w.]+)\.item\(\)", r"\1.detach()", line)
    if code == "TL408":
        return re.sub(r"\b(process|thread)_time\b", "perf_counter", line)
    if code == "TL415":
        added = re.sub(r"(\+=\s*)([\w.]+)(\s*(#.*)?)$", r"\1\2.detach()\3", line)
        return re.sub(r"(\.append\()([\w.]+)(\))", r"\1\2.detach()\3", added)
    if code == "TL441":
        return re.sub(r"\{([\w.]+) \* 100(:[^}]*)?\}%", r"{\1:.2f}x", line)
    if code == "TL444" and trace.devices:
        kind = trace.devices[0].partition(":")[0]
        return re.sub(r"""autocast\((device_type=)?["']\w+["']""", rf'autocast(\1"{kind}"', line)
    return line


def _place(where: str) -> Place:
    file, _, number = where.rpartition(":")
    return Place(file, int(number)) if number.isdigit() else Place()
