"""Pickles read as data: a machine that imports nothing and calls nothing from the file.

A name in a pickle stays a name (`Global`). It must be on the caller's list, and what is made with it
is an inert `Held`, or what the caller's own function for that name returns. Only the opcodes that
Python's pickler writes with protocols 2 to 5 are known, Python 2's short texts among them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Buffer = memoryview

_MOST_OPERATIONS = 2_000_000  # the largest official file needs about a tenth
_LONGEST_INTEGER = 64


class RefusedError(Exception):
    """Why a file is not read, worded to follow the file's name: "asks for os.system ..."."""


DAMAGED = "is damaged or was not downloaded whole"


@dataclass(frozen=True)
class Global:
    """The name of something in a module, never looked up."""

    path: str


@dataclass(eq=False)
class Held:
    """An object of the file, not made: the name of its class, what it was to be made from, its state."""

    path: str
    arguments: tuple[Any, ...] = ()
    state: Any = None


@dataclass(frozen=True)
class Rules:
    """What a pickle may name.

    `may_name(path)` says whether "module.name" is on the list. `makers[path](*arguments)` makes the
    value of a call to it or of a new object; names without a maker give a `Held`. `persistent(id)`
    resolves persistent ids; without it there are none.
    """

    may_name: Callable[[str], bool]
    makers: dict[str, Callable[..., Any]] = field(default_factory=dict)
    persistent: Callable[[Any], Any] | None = None


def read_pickle(data: Buffer, rules: Rules, start: int = 0) -> tuple[Any, int]:
    """The value of the pickle at `start`, and where it ends; raises RefusedError.

    Long byte strings in the value are views of `data`.
    """
    try:
        return _Machine(data, rules, start).run()
    except RefusedError:
        raise
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, struct.error, RecursionError) as error:
        raise RefusedError(DAMAGED) from error


class _Machine:
    def __init__(self, data: Buffer, rules: Rules, start: int) -> None:
        self.data, self.rules, self.position = data, rules, start
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []  # the stacks below each open mark
        self.memo: dict[int, Any] = {}

    def run(self) -> tuple[Any, int]:
        for _ in range(_MOST_OPERATIONS):
            opcode = self.byte()
            if opcode == ord("."):
                [value] = self.stack
                if self.outer:
                    raise RefusedError(DAMAGED)
                return value, self.position
            operation = _OPERATIONS.get(opcode)
            if operation is None:
                raise RefusedError("holds what torch and NVIDIA never write: it is damaged or hostile, and was not run")
            operation(self)
        raise RefusedError("holds more objects than any model: it may be hostile and was not read further")

    # ---- reading

    def take(self, count: int) -> Buffer:
        end = self.position + count
        if end > len(self.data):
            raise RefusedError(f"ends too early: it {DAMAGED}")
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        text = bytearray()
        while (character := self.byte()) != ord("\n"):
            text.append(character)
            if len(text) > 1000:
                raise RefusedError(DAMAGED)
        return text.decode("utf-8")

    def push_text(self, length: int) -> None:
        self.stack.append(str(self.take(length), "utf-8"))

    def push_bytes(self, length: int) -> None:
        self.stack.append(self.take(length))

    # ---- building

    def since_mark(self) -> list[Any]:
        items = self.stack
        self.stack = self.outer.pop()
        return items

    def close_tuple(self) -> None:
        items = self.since_mark()
        self.stack.append(tuple(items))

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise RefusedError(DAMAGED)
        items = tuple(self.stack[-count:])
        self.stack[-count:] = [items]

    def long(self) -> None:
        length = self.byte()
        if length > _LONGEST_INTEGER:
            raise RefusedError(DAMAGED)
        self.stack.append(int.from_bytes(self.take(length), "little", signed=True))

    def top(self, kind: type) -> Any:
        value = self.stack[-1]
        if type(value) is not kind:
            raise RefusedError(DAMAGED)
        return value

    def append_items(self, items: list[Any]) -> None:
        self.top(list).extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.top(dict)
        if len(items) % 2:
            raise RefusedError(DAMAGED)
        target.update(zip(_plain(items[::2]), items[1::2], strict=True))

    def add_items(self, items: list[Any]) -> None:
        self.top(set).update(_plain(items))

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    def append_item(self) -> None:
        value = self.stack.pop()
        self.append_items([value])

    def name(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise RefusedError(DAMAGED)
        path = f"{module}.{name}"
        if not self.rules.may_name(path):
            shown = "".join(c if c.isprintable() else "?" for c in path[:80])
            raise RefusedError(f"asks for {shown}, which no model needs: it may be hostile; nothing of it was run")
        self.stack.append(Global(path))

    def stack_name(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.name(module, name)

    def make(self) -> None:
        arguments, called = self.stack.pop(), self.stack.pop()
        if type(called) is not Global or type(arguments) is not tuple:
            raise RefusedError("calls what it made itself: it may be hostile; nothing of it was run")
        maker = self.rules.makers.get(called.path)
        self.stack.append(maker(*arguments) if maker else Held(called.path, arguments))

    def build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if type(target) is Held and target.state is None:
            target.state = state
        elif type(target) is not dict:  # an ordered dict's own attributes say nothing about a model
            raise RefusedError("changes what it did not make: it may be hostile; nothing of it was run")

    def persistent(self) -> None:
        if self.rules.persistent is None:
            raise RefusedError(DAMAGED)
        self.stack.append(self.rules.persistent(self.stack.pop()))

    def open_mark(self) -> None:
        self.outer.append(self.stack)
        self.stack = []

    def remember(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def recall(self, index: int) -> None:
        self.stack.append(self.memo[index])


def _plain(keys: list[Any]) -> list[Any]:
    """Keys that are safe to hash: that of a deep enough tuple overflows the stack."""
    if any(type(key) not in (str, int, float, bool) for key in keys):
        raise RefusedError(DAMAGED)
    return keys


def _constant(value: Any) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(value)


_OPERATIONS: dict[int, Callable[[_Machine], Any]] = {
    0x80: lambda m: m.byte(),  # PROTO
    0x95: lambda m: m.number("<Q"),  # FRAME
    ord("N"): _constant(None),
    0x88: _constant(True),
    0x89: _constant(False),
    ord("J"): lambda m: m.stack.append(m.number("<i")),
    ord("K"): lambda m: m.stack.append(m.number("<B")),
    ord("M"): lambda m: m.stack.append(m.number("<H")),
    ord("G"): lambda m: m.stack.append(m.number(">d")),
    0x8A: _Machine.long,
    ord("X"): lambda m: m.push_text(m.number("<I")),
    0x8C: lambda m: m.push_text(m.number("<B")),
    ord("U"): lambda m: m.push_text(m.number("<B")),  # SHORT_BINSTRING, of Python 2
    0x8D: lambda m: m.push_text(m.number("<Q")),
    ord("B"): lambda m: m.push_bytes(m.number("<I")),
    ord("C"): lambda m: m.push_bytes(m.number("<B")),
    0x8E: lambda m: m.push_bytes(m.number("<Q")),
    ord("}"): lambda m: m.stack.append({}),
    ord("]"): lambda m: m.stack.append([]),
    ord(")"): _constant(()),
    0x8F: lambda m: m.stack.append(set()),
    ord("("): _Machine.open_mark,
    ord("t"): _Machine.close_tuple,
    0x85: lambda m: m.tuple_of(1),
    0x86: lambda m: m.tuple_of(2),
    0x87: lambda m: m.tuple_of(3),
    ord("a"): _Machine.append_item,
    ord("e"): lambda m: m.append_items(m.since_mark()),
    ord("s"): _Machine.set_item,
    ord("u"): lambda m: m.set_items(m.since_mark()),
    0x90: lambda m: m.add_items(m.since_mark()),
    ord("c"): lambda m: m.name(m.line(), m.line()),
    0x93: _Machine.stack_name,
    ord("R"): _Machine.make,
    0x81: _Machine.make,  # NEWOBJ
    ord("b"): _Machine.build,
    ord("Q"): _Machine.persistent,
    ord("q"): lambda m: m.remember(m.number("<B")),
    ord("r"): lambda m: m.remember(m.number("<I")),
    0x94: lambda m: m.remember(len(m.memo)),
    ord("h"): lambda m: m.recall(m.number("<B")),
    ord("j"): lambda m: m.recall(m.number("<I")),
}
