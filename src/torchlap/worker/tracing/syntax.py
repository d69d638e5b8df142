"""What a script does with its clock readings, from its syntax tree: differences, ratios of times, percentages.

A label says where a value comes from: a call that returned a clock reading, a difference of two readings (a span), a
rate, or a ratio of two times. Labels spread through assignments, containers, arithmetic with plain numbers, casts,
functions and their results, whatever the order of the statements. The calls that returned readings are known, because
the tracer saw them.
"""

import ast
from collections.abc import Iterable, Sequence

from torchlap.worker.tracing.labels import NOTHING, Difference, Key, LabelKind, Labels, Ratio, only, sites
from torchlap.worker.tracing.log import Site
from torchlap.worker.tracing.names import Function, loaded, local_names, made_by_factories, name_of

MOST_PASSES = 12
HUNDRED = 100
TIMERS = frozenset({"timeit", "repeat", "autorange", "blocked_autorange", "adaptive_autorange"})
ROBUST = frozenset(
    {"median", "min", "amin", "nanmedian", "sorted", "quantile", "percentile", "quantiles", "sort", "nsmallest"}
)
DIFFERENCES = frozenset({"diff", "pairwise"})
SKIPS = frozenset({"pop", "popleft", "islice", "trim_mean", "trimboth"})


class Flow:
    """Spreads labels through the files of a script."""

    def __init__(self, trees: dict[str, ast.Module], innermost: set[Site], outer: set[Site]) -> None:
        self.differences: dict[Site, Difference] = {}
        self.ratios: dict[Site, Ratio] = {}
        self._innermost, self._outer = innermost, outer
        self._labels: dict[Key, Labels] = {}
        self._direct: dict[Key, Labels] = {}
        self._copies: dict[Key, dict[Key, int]] = {}
        self._functions: dict[str, list[tuple[str, Function]]] = {}
        self._classes: set[str] = set()
        self._factories: dict[str, list[str]] = {}
        self._locals: dict[Key, frozenset[str]] = {}
        self._scope: tuple[str, ...] = ()
        self._branches: list[tuple[int, int]] = []
        self._changed = True
        for file, tree in trees.items():
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    self._functions.setdefault(node.name, []).append((file, node))
                elif isinstance(node, ast.ClassDef):
                    self._classes.add(node.name)
                    factories = list(made_by_factories(node))
                    if factories:
                        self._factories[node.name] = factories
        for _ in range(MOST_PASSES):
            if not self._changed:
                break
            self._changed = False
            for file, tree in trees.items():
                self._scope = (file,)
                self._run(tree.body)

    # Statements

    def _run(self, statements: Sequence[ast.stmt]) -> None:
        for statement in statements:
            self._statement(statement)

    def _statement(self, node: ast.stmt) -> None:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._function(node)
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self._assign(target, value)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._assign(target, value)
            case ast.AugAssign(target=target, value=value, op=op):
                binary = ast.copy_location(ast.BinOp(loaded(target), op, value), node)
                self._bind(target, self.of(binary))
            case ast.Return(value=ast.expr() as value):
                self._add(("return", self._scope[-1]), self.of(value))
            case ast.For(target=target, iter=iterated) | ast.AsyncFor(target=target, iter=iterated):
                self._bind(target, self.of(iterated))
                self._inside(node)
            case ast.If():
                self.of(node.test)
                self._branch(node.body)
                self._branch(node.orelse)
            case _:
                self._inside(node)

    def _inside(self, node: ast.stmt) -> None:
        """The expressions and statements of any other statement."""
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                self._statement(child)
            elif isinstance(child, ast.expr):
                self.of(child)
            elif isinstance(child, ast.withitem):
                labels = self.of(child.context_expr)
                if child.optional_vars is not None:
                    self._bind(child.optional_vars, labels)
            elif isinstance(child, ast.ExceptHandler | ast.match_case):
                self._run(child.body)

    def _branch(self, body: Sequence[ast.stmt]) -> None:
        if body:
            self._branches.append((body[0].lineno, body[-1].end_lineno or body[-1].lineno))
            self._run(body)
            self._branches.pop()

    def _function(self, node: Function) -> None:
        outside, branches = self._scope, self._branches
        self._scope, self._branches = (*outside, node.name), []
        if self._scope not in self._locals:
            self._locals[self._scope] = frozenset(local_names(node))
        self._run(node.body)
        self._scope, self._branches = outside, branches

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        both = isinstance(target, ast.Tuple | ast.List) and isinstance(value, ast.Tuple | ast.List)
        if both and len(target.elts) == len(value.elts):  # type: ignore[attr-defined]  # both have elements
            for one, its in zip(target.elts, value.elts, strict=True):  # type: ignore[attr-defined]
                self._assign(one, its)
        else:
            labels = self.of(value)
            self._bind(target, labels)
            if isinstance(target, ast.Name):
                key = self._variable(target.id)
                if isinstance(value, ast.Name):
                    self._copies.setdefault(key, {})[self._variable(value.id)] = value.lineno
                else:
                    self._direct[key] = self._direct.get(key, NOTHING) | labels

    def _bind(self, target: ast.expr, labels: Labels) -> None:
        match target:
            case ast.Name(id=name):
                self._add(self._variable(name), labels)
            case ast.Attribute(attr=name):
                self._add(("attribute", name), labels)
            case ast.Subscript(value=value) | ast.Starred(value=value):
                self._bind(value, labels)
            case ast.Tuple(elts=targets) | ast.List(elts=targets):
                for each in targets:
                    self._bind(each, labels)

    def _add(self, key: Key, labels: Labels) -> None:
        known = self._labels.get(key, NOTHING)
        if not labels <= known:
            self._labels[key] = known | labels
            self._changed = True

    def _variable(self, name: str) -> Key:
        """The variable of that name: of the innermost function that assigns it, or of the module."""
        for depth in range(len(self._scope), 1, -1):
            if name in self._locals.get(self._scope[:depth], ()):
                return (*self._scope[:depth], name)
        return (self._scope[0], name)

    # Expressions

    def of(self, node: ast.expr | None) -> Labels:  # noqa: C901, PLR0911  a table of the kinds of expressions
        """The labels of an expression."""
        match node:
            case ast.Name(id=name):
                return self._labels.get(self._variable(name), NOTHING)
            case ast.Attribute(attr=name, value=value):
                self.of(value)
                spans = only(self._labels.get(("return", name), NOTHING), "span", "rate")
                return self._labels.get(("attribute", name), NOTHING) | spans
            case ast.BinOp():
                return self._arithmetic(node)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                negative: dict[LabelKind, LabelKind] = {"read": "negative", "negative": "read"}
                return frozenset((negative.get(kind, kind), site) for kind, site in self.of(operand))
            case ast.Call():
                return self._call(node)
            case ast.Subscript():
                return self._part(node, self.of(node.value))
            case ast.JoinedStr(values=values):
                self._shown(values)
                return NOTHING
            case ast.NamedExpr(target=target, value=value):
                self._bind(target, self.of(value))
                return self.of(value)
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                return self._comprehension(node)
            case ast.Compare():
                self._all(ast.iter_child_nodes(node))
                return NOTHING
            case ast.Yield(value=value) | ast.YieldFrom(value=value):
                self._add(("return", self._scope[-1]), self.of(value))
                return NOTHING
            case ast.expr():
                return self._all(ast.iter_child_nodes(node))
        return NOTHING

    def _all(self, nodes: Iterable[ast.AST]) -> Labels:
        return NOTHING.union(*(self.of(node) for node in nodes if isinstance(node, ast.expr)))

    def _part(self, node: ast.Subscript, labels: Labels) -> Labels:
        match node.slice:
            case ast.Slice(lower=ast.expr() as first) if not (isinstance(first, ast.Constant) and not first.value):
                self._skip(labels)
        if isinstance(node.ctx, ast.Del):
            self._skip(labels)
        self.of(node.slice)
        return labels

    def _skip(self, labels: Labels) -> None:
        """Some of the times, usually the first, are left out."""
        for site in sites(labels, "span"):
            self.differences[site].skips = True

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> Labels:
        for generator in node.generators:
            self._bind(generator.target, self.of(generator.iter))
            self._all(generator.ifs)
        return self.of(node.value if isinstance(node, ast.DictComp) else node.elt)

    def _arithmetic(self, node: ast.BinOp) -> Labels:
        left, right = self.of(node.left), self.of(node.right)
        match node.op:
            case ast.Add():
                return self._added(node, left, right)
            case ast.Sub():
                return self._subtracted(node, left, right)
            case ast.Mult():
                return self._multiplied(node, left, right)
            case ast.Div() | ast.FloorDiv():
                return self._divided(node, left, right)
            case ast.Mod() if isinstance(node.left, ast.Constant):
                self._print(right, node, of_ratio=False)
                return NOTHING
        return left | right

    def _added(self, node: ast.BinOp, left: Labels, right: Labels) -> Labels:
        """A sum; of a reading and of one that was negated before, it is their difference."""
        for one, other in ((left, right), (right, left)):
            starts, ends = sites(one, "negative"), sites(other, "read")
            if starts and ends:
                return self._difference(node, ends, starts)
        return left | right

    def _subtracted(self, node: ast.BinOp, left: Labels, right: Labels) -> Labels:
        ends, starts = sites(left, "read"), sites(right, "read")
        if ends and starts:
            labels = self._difference(node, ends, starts)
            difference = self.differences[self._site(node)]
            difference.delayed = self._delayed(node)
            difference.whole = _is_last_minus_first(node)
            return labels
        return left | only(right, "span")

    def _delayed(self, node: ast.BinOp) -> set[Site]:
        if not isinstance(node.right, ast.Name):
            return set()
        key = self._variable(node.right.id)
        sources = [source for source, line in self._copies.get(key, {}).items() if line > node.lineno]
        copied = NOTHING.union(*(self._labels.get(source, NOTHING) for source in sources))
        return sites(copied - self._direct.get(key, NOTHING), "read")

    def _difference(self, node: ast.expr, ends: set[Site], starts: set[Site]) -> Labels:
        site = self._site(node)
        if site not in self.differences:
            self.differences[site] = Difference(self._scope[0], node.lineno, branches=tuple(self._branches))
        found = self.differences[site]
        found.ends |= ends
        found.starts |= starts
        return frozenset({("span", site)})

    def _multiplied(self, node: ast.BinOp, left: Labels, right: Labels) -> Labels:
        both = left | right
        if any(isinstance(side, ast.Constant) and side.value == HUNDRED for side in (node.left, node.right)):
            both = frozenset(("percent" if kind == "ratio" else kind, site) for kind, site in both)
        return both if not (left and right) else only(both, "ratio", "percent")

    def _divided(self, node: ast.BinOp, left: Labels, right: Labels) -> Labels:
        for kind in ("span", "rate"):
            above, below = sites(left, kind), sites(right, kind)
            if above and below:
                site = self._site(node)
                ratio = self.ratios.setdefault(site, Ratio(self._scope[0], node.lineno))
                ratio.above |= above
                ratio.below |= below
                return frozenset({("ratio", site)})
        if not left:
            swapped = {"span": "rate", "rate": "span"}
            return frozenset((swapped.get(kind, kind), site) for kind, site in right)  # type: ignore[misc]  # kinds
        return left

    # Calls

    def _call(self, node: ast.Call) -> Labels:  # noqa: PLR0911  a table of what may be called
        name = name_of(node.func)
        given = self._all([*node.args, *(keyword.value for keyword in node.keywords)])
        base = self.of(node.func.value) if isinstance(node.func, ast.Attribute) else NOTHING
        site = self._site(node)
        for keyword in node.keywords:  # of an object that keeps it under that name
            if keyword.arg and (labels := self.of(keyword.value)):
                self._add(("attribute", keyword.arg), labels)
        if name == "elapsed_time":
            return self._difference(node, {site}, {site})
        if name in TIMERS and site in self._innermost:
            return self._difference(node, {site}, {site})
        if name in self._functions:
            return self._of_own(node, name, site)
        if site in self._innermost or (site in self._outer and name not in self._classes):
            return self._read(name, site)
        if name in DIFFERENCES and sites(given | base, "read"):
            reads = sites(given | base, "read")
            return self._difference(node, reads, reads) if name == "diff" else given
        self._reduce(name, given | base)
        if name in ("print", "format", "write", "str", "log", "info"):
            self._print(given, node, of_ratio=False)
            return NOTHING
        if isinstance(node.func, ast.Attribute) and given:
            self._bind(node.func.value, given)
        return given | base

    def _read(self, name: str, site: Site) -> Labels:
        """A reading, or an object with fields whose default factories read the clock."""
        labels: Labels = frozenset({("read", site)})
        for attribute in self._factories.get(name, ()):
            self._add(("attribute", attribute), labels)
        return NOTHING if name in self._factories else labels

    def _reduce(self, name: str, labels: Labels) -> None:
        """A function of times that leaves some out, or that a few of them do not change."""
        if name in SKIPS:
            self._skip(labels)
        if name in ROBUST:
            for each in sites(labels, "span", "rate"):
                self.differences[each].robust = True

    def _of_own(self, node: ast.Call, name: str, site: Site) -> Labels:
        """A call of a function of the script: its parameters, and what it returns."""
        for file, function in self._functions[name]:
            positional = [*function.args.posonlyargs, *function.args.args]
            if isinstance(node.func, ast.Attribute) and positional and positional[0].arg in ("self", "cls"):
                positional = positional[1:]
            passed = list(zip((each.arg for each in positional), node.args, strict=False))
            passed += [(keyword.arg, keyword.value) for keyword in node.keywords if keyword.arg]
            for parameter, value in passed:
                for scope in [key for key in self._locals if key[0] == file and key[-1] == name]:
                    self._add((*scope, parameter), self.of(value))
        returned = self._labels.get(("return", name), NOTHING)
        if site in self._outer and sites(returned, "read"):
            return frozenset({("read", site), *only(returned, "span", "rate", "ratio")})
        return only(returned, "span", "rate", "ratio", "percent")

    def _shown(self, values: Sequence[ast.expr]) -> None:
        for value in values:
            if isinstance(value, ast.FormattedValue):
                spec = value.format_spec
                last = spec.values[-1] if isinstance(spec, ast.JoinedStr) and spec.values else None
                percent = isinstance(last, ast.Constant) and str(last.value).endswith("%")
                self._print(self.of(value.value), value, of_ratio=percent)

    def _print(self, labels: Labels, node: ast.expr, *, of_ratio: bool) -> None:
        for site in sites(labels, "percent", *(("ratio",) if of_ratio else ())):
            self.ratios[site].printed = node.lineno

    def _site(self, node: ast.expr) -> Site:
        return (self._scope[0], node.end_lineno or 0, node.end_col_offset or 0)


def _is_last_minus_first(node: ast.BinOp) -> bool:
    """Whether it is `stamps[-1] - stamps[0]`."""
    match node:
        case ast.BinOp(
            left=ast.Subscript(value=last, slice=ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=1))),
            right=ast.Subscript(value=first, slice=ast.Constant(value=0)),
        ):
            return ast.dump(last) == ast.dump(first)
    return False
