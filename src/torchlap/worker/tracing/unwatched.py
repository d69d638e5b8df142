"""What the audit does not watch, found in the script's syntax tree, so that the report can name it; and kept losses."""

import ast
import sys
from collections.abc import Iterator

from torchlap.schema.trace import Noticed, Place
from torchlap.worker.tracing.log import Log
from torchlap.worker.tracing.names import trees

ATTRIBUTES = {
    ("datetime", "now"): "datetime.now()",
    ("datetime", "utcnow"): "datetime.utcnow()",
    ("profiler", "profile"): "torch.profiler's own times",
}
"""Names and attributes that read a clock unseen."""

LIGHTNING = ("lightning", "pytorch_lightning")
CALLS = {
    "profile": ("torch.profiler's own times", ("torch.profiler",)),
    "clock_gettime": ("time.clock_gettime()", ("time",)),
    "tqdm": ("tqdm's rates", ("tqdm",)),
    "trange": ("tqdm's rates", ("tqdm",)),
    "Trainer": ("the Trainer's own times", ("transformers", *LIGHTNING)),
    "Seq2SeqTrainer": ("the Trainer's own times", ("transformers",)),
    "Accelerator": ("accelerate's own times", ("accelerate",)),
    "spawn": ("child processes", ("torch.multiprocessing",)),
    "Process": ("child processes", ("multiprocessing.process",)),
    "Popen": ("child processes", ("subprocess",)),
}
"""Functions and classes of libraries; a script may have a Trainer of its own."""

DETACHED = frozenset({"item", "detach", "float", "tolist", "numpy", "cpu_item"})


def unwatched(log: Log) -> Iterator[Noticed]:
    """What the script calls to time or to train, and the audit does not watch."""
    for file, tree in trees(log.files).items():
        found: dict[str, Place] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                words = _of_call(node.func)
                if words:
                    found.setdefault(words, Place(log.name_of(file) or log.script.name, node.lineno))
        yield from (Noticed(place, words) for words, place in found.items())


def _of_call(function: ast.expr) -> str:
    match function:
        case ast.Attribute(value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr=name):
            words = ATTRIBUTES.get((owner, name), "")
            return words or (_of_library(name) if owner not in ("self", "cls") else "")
        case ast.Name(id=name):
            return _of_library(name)
    return ""


def _of_library(name: str) -> str:
    words, modules = CALLS.get(name, ("", ()))
    return words if any(module in sys.modules for module in modules) else ""


def kept_losses(log: Log) -> Iterator[Place]:
    """Lines that add what backward was called on to a total, or append it to a list, with its graph."""
    sources = trees(log.files)
    for file, tree in sources.items():
        name = log.name_of(file) or log.script.name
        losses = set(_losses(tree))
        keepers = {keeper for tree in sources.values() for keeper in _keepers(tree)}
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Attribute(attr=method), args=[value, *_]) if method in keepers:
                    if _keeps(value, losses):
                        yield Place(name, node.lineno)
                case ast.AugAssign(op=ast.Add(), value=value) if _keeps(value, losses):
                    yield Place(name, node.lineno)
                case ast.Call(func=ast.Attribute(attr="append"), args=[value]) if _keeps(value, losses):
                    yield Place(name, node.lineno)
                case ast.Assign(targets=[ast.Name(id=total)], value=ast.BinOp(left=ast.Name(id=left), right=right)):
                    if total == left and _keeps(right, losses):
                        yield Place(name, node.lineno)


def _keepers(tree: ast.Module) -> Iterator[str]:
    """Methods that add their first argument to an attribute, or append it, as it is: such as a meter's `update`."""
    for method in ast.walk(tree):
        if not isinstance(method, ast.FunctionDef) or [each.arg for each in method.args.args[:1]] != ["self"]:
            continue
        given = {each.arg for each in method.args.args[1:2]}
        for node in ast.walk(method):
            match node:
                case ast.AugAssign(target=ast.Attribute(), op=ast.Add(), value=value) if _keeps(value, given):
                    yield method.name
                case ast.Call(func=ast.Attribute(attr="append"), args=[value]) if _keeps(value, given):
                    yield method.name


def _losses(tree: ast.Module) -> Iterator[str]:
    """Names of variables on which backward is called, and of those that functions return it to."""
    functions: set[str] = set()
    names = {
        node.func.value.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "backward"
        if isinstance(node.func.value, ast.Name)
    }
    yield from names
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            returned = [each.value for each in ast.walk(node) if isinstance(each, ast.Return) and each.value]
            if any(_keeps(value, names) for value in returned):
                functions.add(node.name)
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=ast.Name(id=function))):
                if function in functions:
                    yield name


def _keeps(value: ast.expr, losses: set[str]) -> bool:  # noqa: PLR0911  a table of the kinds of expressions
    """Whether an expression contains a loss that nothing detaches."""
    match value:
        case ast.Name(id=name):
            return name in losses
        case ast.Call(func=ast.Attribute(attr=name)) if name in DETACHED:
            return False
        case ast.Call(func=ast.Name(id=name)) if name in DETACHED:
            return False
        case ast.Attribute(attr="data"):
            return False
        case ast.BinOp(left=left, right=right):
            return _keeps(left, losses) or _keeps(right, losses)
        case ast.Tuple(elts=values):
            return any(_keeps(each, losses) for each in values)
    return False
