"""Types of settings with their range: what a configuration or a factory may be given."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Le

Count = Annotated[int, Ge(1)]
Natural = Annotated[int, Ge(0)]
Seed = Annotated[int, Ge(0), Le(2**32 - 1)]
