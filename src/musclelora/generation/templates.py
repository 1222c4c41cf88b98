"""Rendering chat templates, which are programs that came with a model, in bounded time and memory.

transformers renders them in a sandbox that keeps them from the machine, but not from its time and memory:
``"x" * 10000000000``, two nested loops over ``range(100000)``, a text that doubles itself forty times.
Checking a template once, when its model is loaded, would not do, as what it does may depend on the chat; and
a process of its own for each rendering would take longer than most trainings. So they are rendered here, by
what transformers would render them with (its filters, functions and tags), in a sandbox that counts: every
step of a loop, every call, filter, test, operator and printed value draws on a budget, *before* it is done
where it makes something larger. What cannot be counted (recursive loops) is refused. As a last resort the
processor's time is bounded: what no count sees cannot take much of it between two counts.
"""

from __future__ import annotations

import contextlib
import functools
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from jinja2 import TemplateError, nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers.utils.chat_template_utils import _compile_jinja_template

from musclelora.data.chats import Chat, as_dicts
from musclelora.data.messages import one_line

LONGEST: Final = 2**20
"""Characters of a template."""
STEPS: Final = 200_000
"""Steps of loops, calls, filters, tests and operators of one rendering."""
WORK: Final = 50_000_000
"""Characters that they may look at or make; an entry of a list counts as 100."""
SECONDS: Final = 20.0
"""Of the processor, for one rendering."""

_ENTRY = 100
_MOST_BITS = 4096
_NUMBER = re.compile(r"[0-9]+")
_WIDTH = re.compile(r"\d{6}|:[^{}]*\{|%[^%a-zA-Z]*\*")
"""What makes a format's result far longer than itself and its values: a width, or one among the values."""


class OutOfBoundsError(TemplateError):
    """A template does too much."""


class ChatTemplate:
    """A tokenizer's chat template.

    Args:
        tokenizer: it has a chat template.

    Raises:
        TemplateError: the template cannot be used: it is malformed, or too large.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokens = dict(tokenizer.special_tokens_map)
        with _template_errors():
            source = tokenizer.get_chat_template()
            if len(source) > LONGEST:
                raise OutOfBoundsError(f"it has {len(source):,} characters, expected at most {LONGEST:,}")
            self._environment = _Bounded()
            self._environment.begin()  # what is constant in it is computed now
            self._template = self._environment.from_string(source)

    def render(self, chat: Chat, *, for_answer: bool = False) -> str:
        """The text of a chat, where `for_answer` up to where the answer begins.

        Raises:
            TemplateError: the template refuses the chat, fails on it, or does too much.
        """
        self._environment.begin(len(chat), sum(len(message.content) for message in chat))
        with _template_errors():
            return self._template.render(
                messages=as_dicts(chat),
                tools=None,
                documents=None,
                add_generation_prompt=for_answer,
                **self._tokens,
            )


@contextlib.contextmanager
def _template_errors() -> Iterator[None]:
    """Whatever a template raises is a TemplateError: it is a program, and may raise anything."""
    try:
        yield
    except TemplateError:
        raise
    except Exception as error:
        raise TemplateError(one_line(error)) from error


class _Bounded(ImmutableSandboxedEnvironment):
    """The environment that transformers renders chat templates with, and that counts."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self) -> None:
        # Compiling nothing gives its filters, functions and tags; there is no public way to them.
        theirs = _compile_jinja_template("").environment
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[type(extension) for extension in theirs.extensions.values()],
            finalize=self._sized,
            cache_size=0,
        )
        self.globals.update({name: value for name, value in theirs.globals.items() if name != "lipsum"})
        self.globals.pop("lipsum", None)  # makes as much text as is asked for
        self.filters = {name: self._guarded(name, function) for name, function in theirs.filters.items()}
        self.tests = {name: self._guarded(name, function) for name, function in theirs.tests.items()}
        self.filters |= {_CONCAT: self._concat, _COUNTED: self._counted, _SIZED: self._sized}
        self.begin()

    def begin(self, messages: int = 0, characters: int = 0) -> None:
        """Begin a rendering of so many messages and characters: the budget is whole again, more for more."""
        self._steps = STEPS + 200 * messages
        self._largest = WORK + 200 * characters
        self._work = self._largest + 5 * messages * characters  # templates ask for the last message in a loop
        self._until = time.process_time() + SECONDS

    # ---- the budget -------------------------------------------------------------------------------------

    def step(self) -> None:
        """Count a step."""
        self._steps -= 1
        if self._steps < 0:
            raise OutOfBoundsError(f"it takes over {STEPS:,} steps")
        if self._steps % 256 == 0 and time.process_time() > self._until:
            raise OutOfBoundsError(f"it takes over {SECONDS:g} s")

    def work(self, amount: float) -> None:
        """Count characters that are looked at or made."""
        self._work -= math.ceil(amount)
        if self._work < 0:
            raise OutOfBoundsError("it makes or goes over too much text")

    def size(self, value: Any) -> int:
        """The characters of a value with all that is in it, counted as work.

        A list may hold itself many times over; what is in it is walked as often as printing it would.
        """
        if isinstance(value, str | bytes):
            self.work(len(value))
            return len(value) + 1
        if isinstance(value, range):
            self.work(_ENTRY * len(value))
            return _ENTRY * len(value) + 1
        total = 1
        waiting: list[Iterator[Any]] = [iter((value,))]
        while waiting:
            for item in waiting[-1]:
                self.work(_ENTRY)
                total += _ENTRY
                if isinstance(item, str | bytes):
                    self.work(len(item))
                    total += len(item)
                elif isinstance(item, Mapping):
                    waiting.append(iter([*item.keys(), *item.values()]))
                    break
                elif isinstance(item, Namespace):  # which is printed with what is in it
                    waiting.append(iter(item._Namespace__attrs.values()))
                    break
                elif isinstance(item, list | tuple | set | frozenset | type({}.items()) | type({}.values())):
                    waiting.append(iter(item))
                    break
            else:
                waiting.pop()
        return total

    def growth(self, first: Any, others: Iterable[Any]) -> None:
        """Refuse a call that could make too much: its first value once for each character of the others."""
        least = self.size(first)
        factor = 1
        for other in others:
            number = isinstance(other, int) and not isinstance(other, bool)
            factor += abs(other) if number else self.size(other)
        if least * factor > self._largest:
            raise OutOfBoundsError("it could make too long a text")

    # ---- what draws on it -------------------------------------------------------------------------------

    def call(self, context: Context, function: Any, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Call a function, method or macro."""
        self.step()
        own = getattr(getattr(function, "__wrapped__", function), "__self__", None)
        name = getattr(function, "__name__", "")
        first = [own] if isinstance(own, str | bytes | list | tuple | dict) else []
        if name in _FORMATS and isinstance(own, str):
            self._check_format(own)
        if isinstance(own, str | bytes):  # what joins must know how much
            args = tuple(map(_whole, args))
        given = [
            value for key, value in kwargs.items() if key not in ("_loop_vars", "_block_vars")
        ]  # Jinja's
        self._before([*first, *args, *given], name if first else "")
        return self._after(super().call(context, function, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Apply an operator."""
        self.step()
        if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * (max(abs(right), 1) if operator == "**" else 1) + (
                right.bit_length() if operator == "*" else 0
            )
            if bits > _MOST_BITS:
                raise OutOfBoundsError("it makes too large a number")
        elif operator in ("*", "%"):
            first, other = (right, left) if isinstance(left, int) else (left, right)
            if operator == "%" and isinstance(left, str):
                self._check_format(left)
            self._before([first, other])
        else:
            self.work(self.size(left) + self.size(right))
        return self._after(super().call_binop(context, operator, left, right))

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Subscribe an object; a key is hashed with all that is in it."""
        if isinstance(argument, tuple):
            self.size(argument)
        return super().getitem(obj, argument)

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        """Jinja's hook before a template becomes Python: here what counts is put into it."""
        return super()._generate(_Counting(self).visit(source), *args, **kwargs)

    def _guarded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A filter or test that counts."""
        passed = 1 if hasattr(function, "jinja_pass_arg") else 0  # such as the context, which is no value
        glances = name in _GLANCES
        formats = getattr(function, "__name__", "") == "do_format"

        @functools.wraps(function)  # which keeps what Jinja notes on it
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.step()
            if glances:
                return function(*args, **kwargs)
            if name not in _LINEAR:
                args = (*args[:passed], *map(_whole, args[passed:]))
            values = args[passed:]
            if formats and values and isinstance(values[0], str):
                self._check_format(values[0])
            if name == "sum" and (values[2:] or "start" in kwargs):
                raise OutOfBoundsError(
                    "it adds up lists or texts, which takes time that grows with the square"
                )
            self._before([*values, *kwargs.values()], name)
            return self._after(function(*args, **kwargs))

        return counted

    def _before(self, values: Sequence[Any], name: str = "") -> None:
        if name in _LINEAR:
            self.size(tuple(values))
        elif values:
            self.growth(values[0], values[1:])

    def _after(self, value: Any) -> Any:
        """A result, counted; one that comes bit by bit is counted as it comes."""
        if isinstance(value, Iterator):
            return self._counted(value)
        return self._sized(value)

    def _counted(self, values: Iterable[Any]) -> Iterator[Any]:
        for value in values:
            self.step()
            yield value

    def _sized(self, value: Any) -> Any:
        self.size(value)
        return value

    def _concat(self, values: list[Any]) -> str:
        self.step()
        self.work(self.size(values))
        return "".join(map(str, values))

    def _check_format(self, text: str) -> None:
        if _WIDTH.search(text):
            raise OutOfBoundsError("it formats a value with a width that may be of any size")
        self.work(sum(map(int, _NUMBER.findall(text))))  # as wide as all its widths together


_FORMATS = ("format", "format_map")
# fmt: off
_GLANCES = frozenset((
    "length", "count", "first", "default", "d", "defined", "undefined", "none", "string", "mapping",
    "sequence", "iterable", "boolean", "number", "integer", "float", "true", "false", "callable",
))
"""Filters and tests that look at a value and not at what is in it: templates ask for lengths in loops."""
_LINEAR = frozenset((
    "startswith", "endswith", "strip", "lstrip", "rstrip", "split", "rsplit", "splitlines", "partition",
    "rpartition", "removeprefix", "removesuffix", "find", "rfind", "index", "count", "upper", "lower",
    "title", "capitalize", "items", "keys", "values", "get", "trim", "list", "select", "reject", "selectattr",
    "rejectattr", "map", "unique", "dictsort", "sort", "last", "reverse", "min", "max", "in", "eq", "equalto",
))
"""Methods, filters and tests that make no more than they are given."""
# fmt: on
_CONCAT, _COUNTED, _SIZED = "musclelora concat", "musclelora counted", "musclelora sized"
"""Names that no template can write."""


def _whole(value: Any) -> Any:
    """A value whose size can be told: what comes bit by bit is counted as it becomes a list."""
    return list(value) if isinstance(value, Iterator) else value


class _Counting(NodeTransformer):
    """Puts counting filters where Jinja asks its environment nothing: loops, ``~``, comparisons, keys."""

    def __init__(self, environment: _Bounded) -> None:
        self._environment = environment

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        if node.recursive:
            raise OutOfBoundsError("it has a recursive loop, whose steps cannot be counted")
        self.generic_visit(node)
        node.iter = self._filter(node.iter, _COUNTED)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        values = nodes.List(node.nodes, lineno=node.lineno, environment=self._environment)
        joined: nodes.Node = self._filter(values, _CONCAT)
        return joined

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.expr = self._filter(node.expr, _SIZED)
        for operand in node.ops:
            operand.expr = self._filter(operand.expr, _SIZED)
        return node

    def visit_Pair(self, node: nodes.Pair) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.key = self._filter(node.key, _SIZED)
        return node

    def _filter(self, value: Any, name: str) -> Any:
        if isinstance(value, nodes.Const) and name == _SIZED:
            return value
        return nodes.Filter(
            value, name, [], [], None, None, lineno=value.lineno, environment=self._environment
        )
