"""What this package is tested with, for your tests: a Nexudus of their own, and a clock that they move.

It knows the service from its documentation, and of the client's code it uses the clock alone. `CONTROL_HELP` documents
how programs of any language drive the emulator, `SEED_HELP` the file that it can begin with.
"""

from ._accounts import TokenPair, User
from ._aioresponses import AioresponsesResponse
from ._clock import ManualClock
from ._control import CONTROL_HELP
from ._emulator import NexudusEmulator
from ._faults import Cut, Fault, FaultPlan, Hold
from ._limits import Limits, Rate
from ._records import RequestRecord, Served
from ._seed import SEED_HELP
from ._settings import Settings
from ._totp import totp_code

__all__ = [
    "CONTROL_HELP",
    "SEED_HELP",
    "AioresponsesResponse",
    "Cut",
    "Fault",
    "FaultPlan",
    "Hold",
    "Limits",
    "ManualClock",
    "NexudusEmulator",
    "Rate",
    "RequestRecord",
    "Served",
    "Settings",
    "TokenPair",
    "User",
    "totp_code",
]
