"""Faults on order: a request that a fault meets is answered with an error, and a history that lags is shown in part."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


class Call(NamedTuple):
    """A request that reached the server; `operation` is GraphQL's, or None."""

    method: str
    path: str
    operation: str | None


@dataclass
class Fault:
    """Calls to answer with a status: the next `left` of them, or all if None. Status 200 is a GraphQL error."""

    meets: Callable[[Call], bool]
    status: int
    left: int | None

    def strikes(self, call: Call) -> bool:
        """Tell whether the call is met by the fault, which is then spent by one."""
        if self.left == 0 or not self.meets(call):
            return False
        if self.left is not None:
            self.left -= 1
        return True


@dataclass
class Lag:
    """From the first look on, for so many seconds, a history is shown without what lies behind its first rows."""

    rows: int
    seconds: float
    ends: float | None = None

    def shown(self, lines: list[str]) -> list[str]:
        """Return those of a history's lines that are to be seen now."""
        now = time.monotonic()
        if self.ends is None:
            self.ends = now + self.seconds
        return lines[: self.rows] if now < self.ends else lines


def meeting(where: str | Callable[[Call], bool]) -> Callable[[Call], bool]:
    """Return the test that `where` means: of the method, the operation or a part of the path, or the test itself."""
    if not isinstance(where, str):
        return where
    if where.isupper():
        return lambda call: call.method == where
    return lambda call: call.operation == where or where in call.path.split("/")
