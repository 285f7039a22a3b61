"""What this package is tested with, for your tests: a Nexudus of their own, and a clock that they move.

It knows the service from its documentation and shares no code with the client.
"""

from ._accounts import User
from ._aioresponses import AioresponsesResponse
from ._clock import ManualClock
from ._emulator import NexudusEmulator
from ._faults import Cut, Fault, FaultPlan, Hold
from ._limits import Limits, Rate
from ._records import RequestRecord
from ._totp import totp_code

__all__ = [
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
    "User",
    "totp_code",
]
