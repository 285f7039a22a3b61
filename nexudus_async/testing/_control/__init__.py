"""The emulator from outside Python: an HTTP interface that steers it, and a page for people.

`_help` documents it, word for word what `--help` prints.
"""

from ._endpoints import Control
from ._help import CONTROL_HELP

__all__ = ["CONTROL_HELP", "Control"]
