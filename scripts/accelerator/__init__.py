"""What the project wants of an accelerator: docs/accelerator.md."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

from fsb.errors import FsbError


def run(main: Callable[[], int]) -> NoReturn:
    """Ends with the exit code of ``main``; a mistake is told in one line."""
    try:
        sys.exit(main())
    except FsbError as error:
        print(f"fsb: error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
