"""The README's section on the command line: its commands run, and none is left out."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import nexudus_async
from nexudus_async._cli.words import EXIT_CODES

from .shell import FORKS, PLAIN, Shell

README = (Path(nexudus_async.__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("\n## Command line\n")[2].partition("\n## ")[0]
EXAMPLES = re.findall(r"^```sh\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)


async def in_a_shell(script: str, env: dict[str, str], folder: Path) -> str:
    program = folder / "nexudus-async"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m nexudus_async "$@"\n')
    program.chmod(0o755)
    process = await asyncio.create_subprocess_shell(
        script,
        cwd=folder,
        env=env
        | {"PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(Path(nexudus_async.__file__).parents[1])},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complaints = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, complaints) == (0, b"")
    return said.decode()


async def test_commands_of_a_ci_job_run(shell: Shell, tmp_path: Path) -> None:
    """Against an emulator that knows the account of the example."""
    shell.emulator.add_user("ops@example.com", "…")
    script = EXAMPLES[0].replace("curl ", "curl --silent --show-error ")
    said = await in_a_shell(f"set -e\n{script}", shell.env, tmp_path)
    assert json.loads(said.partition("}")[0] + "}")["Email"] == "ops@example.com"
    assert said.rstrip().endswith("]"), "the teams, by curl"
    lines = (tmp_path / "coworkers.jsonl").read_text().splitlines()
    assert len(lines) == 60
    assert shell.emulator.coworkers[-1]["FullName"] == "Zoe"
    assert not shell.folder.exists()


async def test_command_of_the_emulator_runs(shell: Shell, tmp_path: Path) -> None:
    command = EXAMPLES[1].splitlines()[0].partition("  #")[0].replace("8000", "0")
    script = f"{command} > said & sleep 0.1; while ! grep -q curl said; do sleep 0.1; done; kill $!; wait $!; cat said"
    said = await in_a_shell(script, shell.env, tmp_path)
    assert "export NEXUDUS_USERNAME=ops@example.com\n" in said


async def test_commands_that_drive_the_emulator_run(shell: Shell, tmp_path: Path) -> None:
    """Each answers with JSON, and does what stands beside it."""
    script = EXAMPLES[1].partition("\n")[2]
    script = script.replace("http://127.0.0.1:8000", shell.emulator.url).replace("curl ", "curl -w '\\n' -sS -f ")
    said = await in_a_shell(f"set -e\n{script}", shell.env, tmp_path)
    tokens, faults, clock, requests, reset = map(json.loads, said.splitlines())
    assert tokens["client_id"] == "ops@example.com"
    assert faults["faults"] == [{"where": "token", "times": 1, "what": "answer 503, not processed"}]
    assert clock["ahead"] == 3600
    assert (requests["requests"], reset["ahead"]) == ([], 0)


def test_every_command_and_exit_code_is_there() -> None:
    commands = re.findall(r"^│ ([a-z]+) ", FORKS.run("--help", env=PLAIN).stdout, re.MULTILINE)
    assert len(commands) == 11
    for command in commands:
        assert re.search(rf"^\| .*`(nexudus-async )?{command}\b", SECTION, re.MULTILINE), command
    assert EXIT_CODES in " ".join(SECTION.split())
