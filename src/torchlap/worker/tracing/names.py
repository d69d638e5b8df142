"""A script's syntax trees, and the names in them."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef


def trees(files: Iterable[str]) -> dict[str, ast.Module]:
    """The syntax trees of the script's files; a file that is not Python source, such as a notebook's, has none."""
    found = {}
    for file in sorted(files):
        path = Path(file)
        if path.is_file():
            try:
                found[file] = ast.parse(path.read_bytes())
            except (SyntaxError, ValueError):  # a compiled module, or changed while the script ran
                continue
    return found


def name_of(function: ast.expr) -> str:
    """The last name of what is called."""
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def loaded(target: ast.expr) -> ast.expr:
    """An assigned variable as one that is read."""
    match target:
        case ast.Name(id=name):
            return ast.copy_location(ast.Name(name, ast.Load()), target)
    return target


def made_by_factories(definition: ast.ClassDef) -> Iterator[str]:
    """The fields of a class that a function makes for each object, as in a dataclass."""
    for statement in definition.body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Call(keywords=keywords)):
                if any(keyword.arg in {"default_factory", "factory"} for keyword in keywords):
                    yield name


def local_names(function: Function) -> Iterator[str]:
    """The names that a function assigns, apart from those of functions inside it."""
    arguments = function.args
    for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg):
        if each is not None:
            yield each.arg
    outside: set[str] = set()
    pending: list[ast.AST] = list(function.body)
    names: list[str] = []
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Global | ast.Nonlocal):
            outside.update(node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append(node.id)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            pending.extend(ast.iter_child_nodes(node))
    yield from (name for name in names if name not in outside)
