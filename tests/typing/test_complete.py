"""No public type is left to a type checker's guess, which may differ from one to the other."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import nexudus_async


@pytest.mark.skipif(find_spec("pyright") is None, reason="needs pyright, of the extra dev")
def test_every_public_type_is_known() -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # the environment to look for it in
    ran = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--ignoreexternal",
         "--verifytypes", nexudus_async.__name__],
        capture_output=True, text=True, check=False, timeout=110,
        env=os.environ | {"PATH": path, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
    )  # fmt: skip
    found = json.loads(ran.stdout)["typeCompleteness"]
    unknown = [each["name"] for each in found["symbols"] if not each["isTypeKnown"] or each["isTypeAmbiguous"]]
    assert unknown == []
    assert found["completenessScore"] == 1
    assert found["exportedSymbolCounts"]["withKnownType"] > 100, "the package was found"
