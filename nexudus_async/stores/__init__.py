"""Token stores: where several processes, or the next one, find the tokens of an account.

`MemoryStore` for one process, `FileStore` for the processes of a machine, `RedisStore` for those of many, and
`EncryptedStore` around any of them. The libraries they need are imported when a store is made, not with this package.
"""

from ._encrypted import EncryptedStore
from ._file import FileStore
from ._memory import MemoryStore
from ._protocol import KeepsConnections, StoredToken, TellsServer, TokenStore
from ._redis import RedisStore

__all__ = [
    "EncryptedStore",
    "FileStore",
    "KeepsConnections",
    "MemoryStore",
    "RedisStore",
    "StoredToken",
    "TellsServer",
    "TokenStore",
]
