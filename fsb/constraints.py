"""Types of settings with their range: what a configuration or a factory may be given."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from fsb.errors import FsbError


@dataclass(frozen=True)
class Range:
    """An annotation: the value lies in [low, high], both included."""

    low: float
    high: float = math.inf

    def check(self, value: float, path: str) -> None:
        if not self.low <= value <= self.high:
            top = "" if self.high == math.inf else f" and at most {self.high}"
            raise FsbError(f"{path}: must be at least {self.low}{top}, got {value}")


Count = Annotated[int, Range(1)]
Natural = Annotated[int, Range(0)]
Seed = Annotated[int, Range(0, 2**32 - 1)]
