"""Jinja for templates from strangers: nothing of Python's machinery, no change of a value, and a budget of time and size for all they make.

Jinja's own sandbox keeps a template inside, but lets it run for ever and fill the memory. Here every value that a template makes (a
literal, a sum, what a call or a filter returns, a turn of a loop) is weighed against a budget, nothing is computed while compiling, and
only those filters and methods exist that chat templates use.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, cast

from jinja2 import Template, TemplateError, TemplateSyntaxError, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

MAX_SOURCE = 256 << 10  # characters of a template; the longest known has 20,000
MAX_WEIGHT = 64 << 20  # characters and items that one rendering may make in all
MAX_SECONDS = 2.0
MAX_INTEGER_BITS = 64
_TEXT = """strip lstrip rstrip split rsplit splitlines startswith endswith lower upper title capitalize replace find rfind index count
    join removeprefix removesuffix partition rpartition isdigit isalpha isalnum isspace"""
METHODS: Mapping[type, frozenset[str]] = {
    str: frozenset(_TEXT.split()),
    dict: frozenset({"items", "keys", "values", "get", "copy"}),
    list: frozenset({"index", "count", "copy"}),
    tuple: frozenset({"index", "count"}),
}
_FILTERS = """abs capitalize count d default dictsort first float int items join last length list lower map max min reject rejectattr
    replace reverse round safe select selectattr sort string sum title trim unique upper"""
FILTERS = tuple(_FILTERS.split())


class Refused(TemplateError):
    """The template called `raise_exception`: it does not take this conversation."""


class Exceeded(SecurityError):
    """The template wants more than the budget."""


class Budget:
    """What one rendering may still make, and until when."""

    def __init__(self) -> None:
        self.left = MAX_WEIGHT
        self.deadline = time.thread_time() + MAX_SECONDS  # of this thread's computing: a busy machine is no reason to fail

    def take(self, weight: int) -> None:
        """Spend; the end of the budget ends the rendering."""
        self.left -= weight
        if self.left < 0:
            raise Exceeded("it makes too much text")
        if time.thread_time() > self.deadline:
            raise Exceeded("it takes too long")

    def weigh(self, value: Any) -> None:
        """Spend what a value weighs, unfolded: a list of two references to a list of two … is as heavy as it would print."""
        waiting = [value]
        while waiting:
            value = waiting.pop()
            self.take(len(value) if isinstance(value, str) else 1)
            if isinstance(value, int) and value.bit_length() > MAX_INTEGER_BITS:
                raise Exceeded("it makes too large a number")
            if isinstance(value, Mapping):
                waiting += [*value.keys(), *value.values()]
            elif isinstance(value, list | tuple | set):
                waiting += value


_budget: ContextVar[Budget] = ContextVar("budget")


class _Generator(CodeGenerator):
    """Jinja's compiler, with every literal and loop under the eyes of the budget."""

    def visit_For(self, node: nodes.For, frame: Frame) -> None:  # noqa: N802
        """A loop that spends, at each turn, as much as the text of its body."""
        spoken = sum(len(data.data) for part in node.body for data in part.find_all(nodes.TemplateData))
        arguments: list[nodes.Expr] = [cast(nodes.Expr, node.iter), nodes.Const(spoken + 1)]
        node.iter = nodes.Call(nodes.EnvironmentAttribute("each"), arguments, [], None, None, lineno=node.lineno)
        super().visit_For(node, frame)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802
        self._weighed(super().visit_Concat, node, frame)

    def visit_List(self, node: nodes.List, frame: Frame) -> None:  # noqa: N802
        self._weighed(super().visit_List, node, frame)

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:  # noqa: N802
        self._weighed(super().visit_Dict, node, frame)

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:  # noqa: N802
        if node.ctx == "load":
            self._weighed(super().visit_Tuple, node, frame)
        else:
            super().visit_Tuple(node, frame)

    def _weighed(self, visit: Callable[[Any, Frame], None], node: nodes.Node, frame: Frame) -> None:
        self.write("environment.weighed(")
        visit(node, frame)
        self.write(")")


class _GenerationTag(Extension):
    """`{% generation %}` … `{% endgeneration %}` marks for trainers what the assistant says; what it holds is written as it is."""

    tags = {"generation"}  # noqa: RUF012  (Jinja declares it so)

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment in which templates of strangers are compiled and run."""

    code_generator_class = _Generator
    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,  # nothing is computed while compiling, where no budget counts
            finalize=self.weighed,
            extensions=[_GenerationTag, LoopControlExtension],
        )
        known = self.filters
        self.filters = {name: self._spending(known[name]) for name in FILTERS}
        self.filters |= {"tojson": _to_json, "indent": _indent, "join": _join, "replace": _replace, "items": _items}
        self.globals = {"range": self.globals["range"], "dict": dict, "namespace": _Variables, "raise_exception": _refuse}

    def weighed(self, value: Any) -> Any:
        """The value, paid for."""
        _budget.get().weigh(value)
        return value

    def each(self, values: Iterable[Any], weight: int) -> Iterator[Any]:
        """The values, each turn paid for."""
        budget = _budget.get()
        for value in values:
            budget.take(weight)
            yield value

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Arithmetic, and `+` of texts and lists; what could grow beyond all bounds in one operation is refused."""
        if operator == "*" and not (isinstance(left, int | float) and isinstance(right, int | float)):
            text, times = (right, left) if isinstance(left, int) else (left, right)
            _budget.get().take(len(text) * max(0, int(times)))
        elif operator == "**" and not (abs(left) <= 1000 and 0 <= right <= 16):
            raise Exceeded("it makes too large a number")
        elif operator == "%" and isinstance(left, str):
            raise SecurityError("it formats text with %")
        return self.weighed(super().call_binop(context, operator, left, right))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """`format` pads to any width, so it is not there."""
        if super().wrap_str_format(value) is not None:
            raise SecurityError("it calls the method format")
        return None

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805  (arguments may be called self)
        """Macros, our few functions, and the methods of texts and containers that chat templates use."""
        budget, owner = _budget.get(), getattr(__obj, "__self__", None)
        budget.take(1)
        if isinstance(owner, str | dict | list | tuple):
            name = __obj.__name__
            if name not in METHODS.get(type(owner), ()):
                raise SecurityError(f"it calls the method {name}")
            if name == "join":
                return _join(args[0] if args else (), owner)
            if name == "replace":
                return _replace(owner, *args)
        result = super().call(__context, __obj, *args, **kwargs)
        return result if __obj == __self.each else __self.weighed(result)

    def _spending(self, known: Callable[..., Any]) -> Callable[..., Any]:
        """A filter of Jinja's whose result is paid for. Those that are lazy become lists, or nobody would have weighed them."""

        @functools.wraps(known)  # with it come the marks by which Jinja knows that a filter wants the environment
        def filtered(*args: Any, **kwargs: Any) -> Any:
            _budget.get().take(1)
            result = known(*args, **kwargs)
            return self.weighed(list(self.each(result, 1)) if isinstance(result, Iterator) else result)

        return filtered


class _Variables(Namespace):
    """What `namespace()` makes. Names that begin with _ would lead out of the sandbox."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in dict(*args, **kwargs):
            _check_name(name)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: object) -> None:
    if str(name).startswith("_"):
        raise SecurityError(f"it stores the name {name}")


def compile_template(source: str) -> Template:
    """The template, ready to render.

    Raises:
        TemplateError: it is not Jinja, too long, or needs what does not exist here.
    """
    if len(source) > MAX_SOURCE:
        raise Exceeded(f"it has over {MAX_SOURCE:,} characters")
    try:
        return Sandbox().from_string(source)
    except (RecursionError, MemoryError, SyntaxError, ValueError) as error:
        raise TemplateSyntaxError(f"it cannot be compiled ({type(error).__name__})", 1) from None


def render(template: Template, values: Mapping[str, Any]) -> str:
    """The text that the template makes of plain values.

    Raises:
        Refused: the template does not take these values and says why.
        TemplateError: it fails, is dangerous, or wants more than the budget.
    """
    budget = Budget()
    token = _budget.set(budget)
    try:
        pieces = []
        for piece in template.generate(dict(values)):
            budget.take(len(piece))
            pieces.append(piece)
        return "".join(pieces)
    except TemplateError:
        raise
    except RecursionError:
        raise Exceeded("it calls itself without end") from None
    except Exception as error:  # a template is a program: it can fail in every way in which Python fails
        raise TemplateError(f"{type(error).__name__}: {error}") from None
    finally:
        _budget.reset(token)


def _refuse(message: object) -> None:
    raise Refused(str(message)[:500])


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False) -> str:
    """JSON without HTML's escapes, as transformers writes it into prompts."""
    budget = _budget.get()
    budget.weigh(value)
    if isinstance(indent, int) and not 0 <= indent <= 16:
        raise Exceeded("it indents too far")
    encoder = json.JSONEncoder(ensure_ascii=bool(ensure_ascii), indent=indent, separators=separators, sort_keys=bool(sort_keys))
    text = encoder.encode(value)
    budget.take(len(text))
    return text


def _indent(text: object, width: int = 4, first: bool = False, blank: bool = False) -> str:
    budget, lines = _budget.get(), str(text).split("\n")
    margin = " " * width if 0 <= int(width) <= 64 else None
    if margin is None:
        raise Exceeded("it indents too far")
    budget.take(len(str(text)) + len(margin) * len(lines))
    return "\n".join(margin + line if (line or blank) and (number or first) else line for number, line in enumerate(lines))


def _join(values: Iterable[Any], separator: object = "", attribute: str | None = None) -> str:
    budget, texts = _budget.get(), []
    for value in values:
        item = value.get(attribute, "") if attribute and isinstance(value, Mapping) else value
        budget.weigh(item)
        texts.append(str(item))
        budget.take(len(texts[-1]) + len(str(separator)))
    return str(separator).join(texts)


def _replace(text: object, old: object, new: object, count: int | None = None) -> str:
    whole, old, new = str(text), str(old), str(new)
    found = whole.count(old) if count is None or count < 0 else min(count, whole.count(old))
    _budget.get().take(len(whole) + found * len(new))
    return whole.replace(old, new, -1 if count is None else count)


def _items(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Undefined):
        return []
    pairs = list(value.items())
    _budget.get().weigh(pairs)
    return pairs
