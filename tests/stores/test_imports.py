"""The libraries of the extras: not imported before they are needed, and named when they are missing."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from nexudus_async.errors import ConfigurationError
from nexudus_async.stores import EncryptedStore, FileStore, MemoryStore, RedisStore

EXTRAS: list[tuple[str, str, Callable[[], object]]] = [
    ("file", "filelock", lambda: FileStore("tokens.json")),
    ("redis", "redis", lambda: RedisStore("redis://localhost")),
    ("crypto", "cryptography", lambda: EncryptedStore(MemoryStore(), "a key")),
]


def test_importing_the_stores_imports_none_of_their_libraries() -> None:
    """Who keeps tokens in memory installs and loads nothing for the others."""
    code = "import sys, nexudus_async.stores; print({'filelock', 'redis', 'cryptography'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"


@pytest.mark.parametrize(("extra", "library", "make"), EXTRAS, ids=[extra for extra, _, _ in EXTRAS])
def test_a_missing_library_is_a_configuration_error_that_names_the_extra(
    extra: str, library: str, make: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message is the line to type."""
    for name in (*(name for name in sys.modules if name.split(".")[0] == library), library):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        ConfigurationError, match=rf"{library}.* is not installed: pip install 'nexudus-async\[{extra}\]'"
    ):
        make()
