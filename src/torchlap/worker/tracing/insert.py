"""Watch a Python function by inserting calls into its own code.

The function stays the same object, its frames stay as deep as before, and its lines keep their numbers. So warnings
name the same lines, tracebacks look the same, and torch.compile, which recognizes functions by identity, compiles the
same graphs: while it traces, the inserted calls are skipped.
"""

import ast
import inspect
import warnings
from collections.abc import Callable
from copy import deepcopy
from types import CodeType, FunctionType, ModuleType
from typing import Any, cast

import torch

from torchlap.worker.tracing.log import Original

BEFORE, AFTER, LEAVE, SWITCH = "torchlap before", "torchlap after", "torchlap leave", "torchlap switch"
TOKEN = "_torchlap_token"  # noqa: S105  the name of a variable

_frames: Any = torch._C._dynamo.eval_frame  # noqa: SLF001  the compiler's own way, which is quick to import


class _Returns(ast.NodeTransformer):
    """Passes what a function returns through a call; leaves functions inside it alone."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.Lambda:
        return node

    def visit_Return(self, node: ast.Return) -> ast.Return:
        value = node.value or ast.Constant(None)
        return ast.Return(_call(AFTER, ast.Name(TOKEN, ast.Load()), value))


def _call(name: str, *arguments: ast.expr) -> ast.Call:
    """A call of a constant, which is replaced by a function once the code is compiled."""
    return ast.Call(ast.Constant(name), list(arguments), [])


class Switch:
    """Whether calls of a function are not to be watched, such as calls of modules inside others."""

    off = False


def _result(_token: object, result: object) -> object:
    """What a watched function returns, if nothing is to be done with it."""
    return result


def _nothing(_token: object) -> None:
    """What happens at the end, if nothing is to be done."""


def _apart(call: Original) -> Original:
    """The same without the script's modes and tensor classes, which would see the tensors' attributes being read."""

    def apart(*arguments: object) -> object:
        with torch._C.DisableTorchFunction():  # noqa: SLF001  there is no public name
            return call(*arguments)

    return apart


def watch(
    function: Original,
    *,
    before: Callable[[tuple[Any, ...]], object],
    after: Callable[[Any, Any], Any] = _result,
    leave: Callable[[Any], None] = _nothing,
    switch: Switch | None = None,
) -> None:
    """Insert calls into a function.

    Args:
        function: a Python function without free variables.
        before: receives the values of its parameters in order; what it returns is the token.
        after: receives the token and the result; returns the result.
        leave: receives the token, also after an exception.
        switch: turns watching off, at almost no cost.
    """
    function = cast("FunctionType", inspect.unwrap(function))
    code = function.__code__
    source = inspect.getsource(function)
    tree = ast.parse(f"if True:\n{source}" if source[0].isspace() else source)
    block = tree.body[0]
    if isinstance(block, ast.If):  # a method: its columns stay as they are
        tree.body = block.body
        ast.increment_lineno(tree, -1)
    ast.increment_lineno(tree, code.co_firstlineno - 1)
    (definition,) = tree.body
    if not isinstance(definition, ast.FunctionDef) or code.co_freevars or "torch" not in function.__globals__:
        raise TypeError(f"{function.__qualname__} cannot be watched: it is not a plain function")
    definition.decorator_list = []
    definition.body = _with_calls(definition)
    ast.fix_missing_locations(tree)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # a constant is called
        flags = code.co_flags & ~0xFFFF  # those of `from __future__`
        module = compile(tree, code.co_filename, "exec", flags=flags, dont_inherit=True)
    new = next(each for each in module.co_consts if isinstance(each, CodeType) and each.co_name == code.co_name)
    inserted = {BEFORE: _apart(before), AFTER: _apart(after), LEAVE: _apart(leave), SWITCH: switch or Switch()}
    constants = tuple(inserted.get(each, each) if isinstance(each, str) else each for each in new.co_consts)
    function.__code__ = new.replace(
        co_consts=cast("tuple[object, ...]", constants),
        co_qualname=code.co_qualname,
        co_firstlineno=code.co_firstlineno,
    )


def _with_calls(definition: ast.FunctionDef) -> list[ast.stmt]:
    arguments = definition.args
    names = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    names += [each for each in (arguments.vararg, arguments.kwarg) if each]
    values = ast.Tuple([ast.Name(each.arg, ast.Load()) for each in names], ast.Load())
    copied = deepcopy(definition.body)
    compiling = ast.parse("torch.compiler.is_compiling()", mode="eval").body
    off = ast.Attribute(ast.Constant(SWITCH), "off", ast.Load())
    unwatched = ast.BoolOp(ast.Or(), [compiling, off])
    plain = ast.If(unwatched, [*copied, ast.Return(ast.Constant(None))], [])
    token = ast.Assign([ast.Name(TOKEN, ast.Store())], _call(BEFORE, values))
    body = [_Returns().visit(statement) for statement in definition.body]
    end = ast.Return(_call(AFTER, ast.Name(TOKEN, ast.Load()), ast.Constant(None)))
    last = ast.Expr(_call(LEAVE, ast.Name(TOKEN, ast.Load())))
    return [plain, token, ast.Try([*body, end], [], [], [last])]


def hide_from_compiler(*modules: ModuleType) -> None:
    """Keep torch.compile from compiling the modules' functions and what they call."""
    for module in modules:
        for value in tuple(vars(module).values()):
            if getattr(value, "__module__", None) == module.__name__:
                _hide(value)


def _hide(value: object) -> None:
    if isinstance(value, type):
        for member in vars(value).values():
            _hide(member)
    code = getattr(value, "__code__", value)
    if isinstance(code, CodeType):
        skip = _frames._FrameExecStrategy(_frames._FrameAction.SKIP, _frames._FrameAction.SKIP)  # noqa: SLF001
        _frames.set_code_exec_strategy(code, skip)
        for constant in code.co_consts:
            _hide(constant)
