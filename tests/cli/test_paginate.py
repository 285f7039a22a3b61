"""get --paginate: all records of a list, page after page."""

import asyncio
import json
import re
import sys

import pytest

from nexudus_async.testing import Fault

from .shell import COWORKERS, Shell, look, watched


def ids(lines: str) -> list[int]:
    return [json.loads(line)["Id"] for line in lines.splitlines()]


async def test_records_of_all_pages_are_lines_in_a_pipe(shell: Shell) -> None:
    result = await shell.run("get", "--paginate", COWORKERS, **shell.credentials)
    assert (result.returncode, result.stderr) == (0, "")
    assert ids(result.stdout) == [each["Id"] for each in shell.emulator.coworkers]
    assert [record.query["page"] for record in shell.emulator.requests[1:]] == ["1", "2", "3"]
    assert shell.emulator.sign_ins == 1


async def test_page_size_and_filters_of_the_path_are_kept(shell: Shell) -> None:
    """Only the page changes, from the one given on."""
    result = await shell.run("get", "--paginate", f"{COWORKERS}?size=20&page=2&orderBy=Id", **shell.credentials)
    expected = [each["Id"] for each in sorted(shell.emulator.coworkers, key=lambda each: each["Id"])][20:]
    assert ids(result.stdout) == expected
    asked = [dict(record.query) for record in shell.emulator.requests[1:]]
    assert asked == [{"size": "20", "page": str(page), "orderBy": "Id"} for page in (2, 3)]


async def test_one_page_alone_and_an_empty_list(shell: Shell) -> None:
    shell.emulator.fail(COWORKERS, Fault.json({"Records": [{"Id": 1, "Name": "Zoë\u2028"}]}))
    result = await shell.run("get", "--paginate", COWORKERS, **shell.credentials)
    assert result.stdout == '{"Id": 1, "Name": "Zoë\u2028"}\n'
    shell.emulator.fail(COWORKERS, Fault.json({"Records": [], "HasNextPage": False}))
    result = await shell.run("get", "--paginate", COWORKERS, **shell.credentials)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


async def test_half_a_character_is_no_crash(shell: Shell) -> None:
    """JSON can name it, UTF-8 cannot."""
    shell.emulator.fail(COWORKERS, Fault.answer(200, '{"Records": ["\\ud800"]}'))
    result = await shell.run("get", "--paginate", COWORKERS, **shell.credentials)
    assert (result.returncode, result.stdout) == (0, '"\\ud800"\n')


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (Fault.json([{"Id": 1}]), "the answer has no Records, so it is not a list in pages: leave out --paginate"),
        (Fault.answer(200, "not JSON"), "the answer has no Records"),
        (Fault.json({"Records": {"Id": 1}}), "the answer has no Records"),
        (Fault.json({"Records": [1], "CurrentPage": 7}), "page 1 was asked for, and page 7 came"),
        (Fault.json({"Records": [], "HasNextPage": True}), "page 1 is empty and says that there are more"),
    ],
)
async def test_what_is_no_page_ends_it(shell: Shell, answer: Fault, complaint: str) -> None:
    """Each could otherwise go on without end."""
    shell.emulator.fail(COWORKERS, answer, times=None)
    result = await shell.run("get", "--paginate", COWORKERS, **shell.credentials)
    assert (result.returncode, result.stdout) == (1, "")
    assert complaint in result.stderr
    assert len(shell.emulator.requests) == 2


async def test_page_that_is_refused_ends_it_after_the_records_before(shell: Shell) -> None:
    """The second page here; what was printed is whole lines."""
    shell.emulator.fail(COWORKERS, Fault.altered({}))  # the first is the service's own
    shell.emulator.fail(COWORKERS, Fault.answer(500))
    result = await shell.run("get", "--paginate", f"{COWORKERS}?size=20", **shell.credentials)
    assert (result.returncode, len(ids(result.stdout))) == (5, 20)
    assert result.stderr == f"nexudus-async: GET {COWORKERS}, page 2: 500 Internal Server Error\n"


async def test_throttling_is_waited_out(shell: Shell) -> None:
    shell.emulator.fail(COWORKERS, Fault.throttled(retry_after=0))
    result = await shell.run("get", "--paginate", COWORKERS, **shell.credentials)
    assert (result.returncode, len(ids(result.stdout))) == (0, 60)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([f"{COWORKERS}?page=last"], "page must be a number"),
        (["-i", COWORKERS], "--include and --paginate cannot go together"),
    ],
)
async def test_wrong_use_is_exit_code_2_and_no_request(shell: Shell, arguments: list[str], complaint: str) -> None:
    result = await shell.run("get", "--paginate", *arguments, **shell.credentials)
    assert (result.returncode, result.stdout) == (2, "")
    assert complaint in result.stderr
    assert not shell.emulator.requests


async def test_bar_is_for_whoever_watches_standard_error(shell: Shell) -> None:
    """It shows how many of how many; the lines in the pipe stay lines, and the bar is gone at the end."""
    shell.emulator.fail(COWORKERS, Fault.altered({}))
    shell.emulator.fail(COWORKERS, Fault.delayed(0.4))
    env = shell.env | shell.credentials
    code, said, seen = await asyncio.to_thread(lambda: watched("get", "--paginate", COWORKERS, env=env))
    assert (code, len(ids(said))) == (0, 60)
    assert re.search(r"25/60", seen)
    assert seen.rstrip().endswith("\x1b[2K"), "the line of the bar is cleared"


async def test_records_on_a_terminal_are_indented_above_the_bar(shell: Shell) -> None:
    env = shell.env | shell.credentials | {"NO_COLOR": "1"}
    code, terminal = await asyncio.to_thread(lambda: look("get", "--paginate", f"{COWORKERS}?size=50", env=env))
    assert code == 0
    assert len(re.findall(r'^  "Id": \d+,$', terminal.text, re.MULTILINE)) == 60


async def test_reader_that_has_had_enough_ends_it_without_a_message(shell: Shell) -> None:
    command = f"get --paginate {COWORKERS}?size=1 | head -n 1"
    process = await asyncio.create_subprocess_shell(
        f"{sys.executable} -m nexudus_async {command}",
        env=shell.env | shell.credentials,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complaints = await asyncio.wait_for(process.communicate(), 30)
    assert (said.count(b"\n"), complaints) == (1, b"")
    assert len(shell.emulator.requests) < 10
