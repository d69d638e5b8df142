"""Mechanical repairs of a script's own lines: which line becomes which."""

import ast
import re
from collections.abc import Sequence

from msgspec import Struct

from torchlap.judge.findings import Finding
from torchlap.schema.trace import Place, Trace

WAIT = "torch.accelerator.synchronize()"


class Edit(Struct, frozen=True):
    """A line that is replaced, and lines that are inserted before it."""

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
        if place in starts:  # timeit reads the clock itself
            return ()
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


REPEATS = 5


def patched(source: str, findings: Sequence[Finding], trace: Trace) -> tuple[str, tuple[str, ...]]:
    """The script with all mechanical repairs, and the codes of the findings that they repair."""
    lines = source.splitlines()
    repaired: list[str] = []
    once = {finding.where for finding in findings if finding.code == "TL406"}
    blocks = [_repeated(source, str(spans.place)) for spans in trace.spans if str(spans.place) in once]
    insertions: dict[int, tuple[str, ...]] = {}
    for finding in findings:
        for edit in edits(finding, trace):
            number = edit.place.line
            if edit.place.file == trace.script and number <= len(lines) and lines[number - 1] == edit.old:
                lines[number - 1] = edit.new
                insertions[number] = edit.before
                repaired.append(finding.code)
    for number in sorted(insertions, reverse=True):
        lines[number - 1 : number - 1] = insertions[number]
    for first, last, name in [block for block in blocks if block]:
        added = [sum(len(before) for line, before in insertions.items() if line <= number) for number in (first, last)]
        start = first - 1 + added[0] - len(insertions.get(first, ()))
        lines[start : last + added[1]] = _in_a_loop(lines[start : last + added[1]], name)
        repaired.append("TL406")
    return "\n".join(lines) + "\n", tuple(dict.fromkeys(repaired))


def _repeated(source: str, where: str) -> tuple[int, int, str] | None:
    """The lines from the first clock read to `name = clock() - start`, if they are statements of the same block."""
    number = _place(where).line
    for body in _bodies(ast.parse(source)):
        for index, statement in enumerate(body):
            match statement:
                case ast.Assign(
                    targets=[ast.Name(id=name)], value=ast.BinOp(op=ast.Sub(), right=ast.Name(id=start))
                ) if statement.lineno == number:
                    first = next((each for each in body[:index] if _assigns(each, start)), None)
                    if first is not None and not _has_long_strings(body[body.index(first) : index + 1]):
                        return first.lineno, statement.end_lineno or number, name
    return None


def _bodies(tree: ast.Module) -> list[list[ast.stmt]]:
    return [
        block
        for node in ast.walk(tree)
        for field in ("body", "orelse")
        if isinstance(block := getattr(node, field, None), list)
    ]


def _assigns(statement: ast.stmt, name: str) -> bool:
    return isinstance(statement, ast.Assign) and any(
        isinstance(target, ast.Name) and target.id == name for target in statement.targets
    )


def _has_long_strings(statements: Sequence[ast.stmt]) -> bool:
    """Whether a string goes over several lines, so that its text would change with the indentation."""
    return any(
        isinstance(node, ast.Constant | ast.JoinedStr) and node.end_lineno != node.lineno
        for statement in statements
        for node in ast.walk(statement)
    )


def _in_a_loop(lines: Sequence[str], name: str) -> list[str]:
    indent = lines[0][: len(lines[0]) - len(lines[0].lstrip())]
    return [
        f"{indent}torchlap_times = []",
        f"{indent}for _ in range({REPEATS + 1}):  # the first is warm-up",
        *(f"    {line}" if line.strip() else line for line in lines),
        f"{indent}    torchlap_times.append({name})",
        f"{indent}{name} = sorted(torchlap_times[1:])[{REPEATS // 2}]  # the median of {REPEATS}",
    ]
