"""get, post, put, patch, delete: what is sent, and how the answer is printed."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nexudus_async.testing import Fault

from .shell import COWORKERS, CUSTOMER, ECHO, MODULE, TEAMS, Shell, Terminal, look, outcome, watched


async def test_get_prints_what_came(shell: Shell) -> None:
    await shell.log_in()
    result = await shell.run("get", "-i", TEAMS)
    head, _, body = result.stdout.partition("\n\n")
    assert head.startswith("HTTP/1.1 200 OK\n")
    assert "Content-Type: application/json" in head
    assert json.loads(body)
    result = await shell.run("get", "/api/emulator/forbidden")
    complaint = "nexudus-async: GET /api/emulator/forbidden: 403 Forbidden\n"
    assert outcome(result) == (5, '{"Message": "You cannot do this."}', complaint)


@pytest.mark.parametrize("command", [f"get {TEAMS} | head -c 1", f"get {CUSTOMER} | true"])
async def test_pipe_without_a_reader_is_no_error_message(shell: Shell, command: str) -> None:
    """Whether it goes away in the middle of a long answer or before a short one; the exit code is what SIGPIPE's is."""
    shell.emulator.fail(TEAMS, Fault.big(3_000_000), times=1)
    await shell.log_in()
    result = await asyncio.to_thread(
        subprocess.run,
        ["bash", "-c", f"{sys.executable} -m nexudus_async {command} >/dev/null; exit ${{PIPESTATUS[0]}}"],
        env=shell.env,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stderr) == (141, b"")


@pytest.mark.parametrize("path", ["https://example.com/x", "//example.com/x", "http://["])
async def test_get_goes_nowhere_else(shell: Shell, path: str) -> None:
    await shell.log_in()
    result = await shell.run("get", path)
    assert (result.returncode, result.stdout) == (2, "")
    assert "write the path alone" in result.stderr


async def test_interrupted_is_exit_code_130_and_quiet(shell: Shell) -> None:
    await shell.log_in()
    hold = shell.emulator.hold(TEAMS)
    process = await asyncio.create_subprocess_exec(
        *MODULE, "get", TEAMS, env=shell.env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    await asyncio.wait_for(hold.arrived.wait(), 20)
    process.send_signal(signal.SIGINT)
    said, complaints = await process.communicate()
    assert (process.returncode, said, complaints) == (130, b"", b"")


async def test_answer_is_raw_in_a_pipe(shell: Shell) -> None:
    """Byte for byte: blanks, the order of names, what is not text."""
    raw = '{"b":  1.50,\r\n "a": "Zo\u00eb"}'
    shell.emulator.fail(TEAMS, Fault.answer(200, raw))
    assert (await shell.run("get", TEAMS, **shell.credentials)).stdout == raw.replace("\r\n", "\n")
    shell.emulator.fail(TEAMS, Fault(status=200, body=b"\xff\x00\r\n", content_type="image/png"))
    result = await asyncio.to_thread(
        subprocess.run, [*MODULE, "get", TEAMS], env=shell.env | shell.credentials, capture_output=True, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, b"\xff\x00\r\n", b"")


async def test_answer_that_asks_for_too_long_a_wait_is_printed(shell: Shell) -> None:
    """The wait stands in its body, which was searched for that."""
    shell.emulator.fail(TEAMS, Fault.throttled(None, 429, in_words=600))
    result = await shell.run("get", TEAMS, **shell.credentials)
    assert (result.returncode, json.loads(result.stdout)) == (5, {"Message": "Too many requests. Wait 600 seconds."})


async def test_answer_is_indented_and_coloured_on_a_terminal(shell: Shell) -> None:
    shell.emulator.fail(TEAMS, Fault.answer(200, '[{"Id":1,"Name":"Zo\u00eb"}]'))
    code, terminal = await asyncio.to_thread(lambda: look("get", TEAMS, env=shell.env | shell.credentials))
    assert code == 0
    assert '[\n  {\n    "Id": 1,\n    "Name": "Zo\u00eb"\n  }\n]\n' in terminal.text
    assert re.search(r"\x1b\[[0-9;]*3[0-9]m", terminal.seen.partition("Id")[2]), "in colour"


async def test_answer_of_many_lines_is_whole_and_one_that_nobody_reads_is_not_coloured(shell: Shell) -> None:
    """Colour takes seconds for a megabyte."""
    for records, coloured in ((200, True), (8_000, False)):
        shell.emulator.fail(TEAMS, Fault.json([{"Id": number, "Name": "Zoe"} for number in range(records)]))
        code, terminal = await asyncio.to_thread(lambda: look("get", TEAMS, env=shell.env | shell.credentials))
        assert code == 0
        shown = terminal.text.partition("[\n")[2]
        assert [each["Id"] for each in json.loads("[" + shown)] == list(range(records))
        assert ("\x1b[" in terminal.seen.partition('"Id"')[2]) == coloured


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
async def test_answer_is_without_colour_where_that_is_wished(shell: Shell, variables: dict[str, str]) -> None:
    shell.emulator.fail(TEAMS, Fault.answer(200, '[{"Id":1}]'))
    code, terminal = await asyncio.to_thread(lambda: look("get", TEAMS, env=shell.env | shell.credentials | variables))
    assert code == 0
    assert '[\r\n  {\r\n    "Id": 1\r\n  }\r\n]\r\n' in terminal.seen, "not even bold"


@pytest.mark.parametrize(
    ("body", "content_type", "shown"),
    [
        (
            b"\xff\xd8\x00",
            "image/jpeg",
            "3 bytes of image/jpeg are not for a terminal: use a file or a pipe\n",
        ),
        (b"GIF\x00", "image/gif", "4 bytes of image/gif are not for a terminal: use a file or a pipe\n"),
        (b"plain\x1b]0;title\x07 text\n", "text/plain", "plain?]0;title? text\n"),
        (b'"\xc2\x9b31m"', "application/json", '"\\u009b31m"\n'),
        (b"", "application/json", ""),
    ],
)
async def test_what_would_steer_a_terminal_is_not_sent_to_it(
    shell: Shell, body: bytes, content_type: str, shown: str
) -> None:
    """Binary answers, and control characters in text and JSON."""
    shell.emulator.fail(TEAMS, Fault(status=200, body=body, content_type=content_type))
    env = shell.env | shell.credentials | {"NO_COLOR": "1"}
    code, terminal = await asyncio.to_thread(lambda: look("get", TEAMS, env=env))
    assert code == 0
    assert terminal.text.endswith(shown)
    assert not {"\x07", "\x9b"} & set(terminal.seen)


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
async def test_body_is_sent_as_it_stands_in_a_file(shell: Shell, tmp_path: Path, method: str) -> None:
    (tmp_path / "body.json").write_text('{"Price":  12.50}')
    result = await shell.run(method, ECHO, "--json", str(tmp_path / "body.json"), **shell.credentials)
    assert (result.returncode, result.stderr) == (0, "")
    answer = json.loads(result.stdout)
    assert (answer["Method"], answer["Body"]) == (method.upper(), '{"Price":  12.50}')
    assert shell.emulator.requests[-1].headers["Content-Type"] == "application/json"


async def test_body_is_taken_from_standard_input_only_where_told(shell: Shell) -> None:
    result = await shell.run("post", ECHO, "--json", "-", typed='["Zo\u00eb"]', **shell.credentials)
    assert json.loads(result.stdout)["Body"] == '["Zo\u00eb"]'
    result = await shell.run("delete", ECHO, typed="[1]", **shell.credentials)
    assert json.loads(result.stdout) == {"Method": "DELETE", "Query": "", "Body": ""}
    assert "Content-Type" not in shell.emulator.requests[-1].headers


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
async def test_body_goes_out_in_utf_8_however_it_was_written(shell: Shell, tmp_path: Path, encoding: str) -> None:
    """As programs on Windows write files (RFC 8259, 8.1: UTF-8, without a mark in front)."""
    (tmp_path / "body.json").write_bytes('["Zo\u00eb"]'.encode(encoding))
    result = await shell.run("post", ECHO, "--json", str(tmp_path / "body.json"), **shell.credentials)
    assert json.loads(result.stdout)["Body"] == '["Zo\u00eb"]'


async def test_write_that_was_not_carried_out_is_sent_again(shell: Shell) -> None:
    """After a 401 and after throttling; the record is made once."""
    shell.emulator.fail(COWORKERS, Fault.throttled(retry_after=0))
    shell.emulator.fail(COWORKERS, Fault.answer(401))
    before = len(shell.emulator.coworkers)
    result = await shell.run("post", COWORKERS, "--json", "-", typed='{"FullName": "Zoe"}', **shell.credentials)
    assert (result.returncode, result.stderr) == (0, "")
    assert len(shell.emulator.coworkers) == before + 1


@pytest.mark.parametrize(
    ("arguments", "typed", "complaint"),
    [
        (["--json", "-"], '{"a": 1,\n}', "standard input is not JSON: "),
        (["--json", "-"], "", "standard input is not JSON: "),
        (["--json", "-"], "[" * 100_000, "standard input is not JSON: it is nested too deeply"),
        (["--json", "-"], "NaN", "standard input is not JSON: NaN is not a JSON number"),
        (["--json", '{"FullName": "Zoe"}'], "", "--json takes a file with the JSON in it, or - for standard input"),
        (["--json", "nowhere.json"], "", "nowhere.json cannot be read: No such file or directory"),
        (["--json", "."], "", ". cannot be read: Is a directory"),
    ],
)
async def test_body_that_is_no_json_is_not_sent(shell: Shell, arguments: list[str], typed: str, complaint: str) -> None:
    result = await shell.run("post", ECHO, *arguments, typed=typed, **shell.credentials)
    assert (result.returncode, result.stdout) == (2, "")
    assert complaint in result.stderr
    assert not shell.emulator.requests


async def test_query_is_never_repeated(shell: Shell) -> None:
    """A one-time token may stand in it; that goes for errors, for the log and for the line of progress."""
    path = "/api/nowhere?token=one-time-secret"
    result = await shell.run("post", "-v", path, **shell.credentials)
    assert (result.returncode, result.stderr.splitlines()[-1]) == (5, "nexudus-async: POST /api/nowhere: 404 Not Found")
    assert "one-time-secret" not in result.stderr
    code, terminal = await asyncio.to_thread(lambda: look("get", path, env=shell.env | shell.credentials))
    assert code == 5
    assert "one-time-secret" not in terminal.seen


async def test_verbose_tells_what_happens_on_standard_error(shell: Shell) -> None:
    """Before or after the command; without a secret."""
    shell.emulator.fail(TEAMS, Fault.throttled(retry_after=0))
    shell.emulator.fail(TEAMS, Fault.answer(401))
    result = await shell.run("get", "--verbose", TEAMS, **shell.credentials)
    assert result.returncode == 0
    assert json.loads(result.stdout)
    assert re.search(r"^\d\d:\d\d:\d\d\.\d{3} DEBUG \w+: token 1 obtained by password grant", result.stderr)
    assert f"INFO GET {TEAMS}: 409, waiting" in result.stderr
    assert "INFO the API refused token 1" in result.stderr
    assert f"DEBUG GET {TEAMS}: 200, " in result.stderr
    assert (await shell.run("-v", "get", TEAMS, **shell.credentials)).stderr.count("DEBUG") == 2


async def test_interrupted_on_a_terminal_ends_on_a_line_of_its_own(shell: Shell) -> None:
    hold = shell.emulator.hold(TEAMS)

    def watch() -> tuple[int, str]:
        with Terminal("get", TEAMS, env=shell.env | shell.credentials) as terminal:
            terminal.wait_for(f"GET {TEAMS}")
            asyncio.run_coroutine_threadsafe(hold.arrived.wait(), loop).result(20)
            terminal.type("\x03")
            return terminal.end(), terminal.seen

    loop = asyncio.get_running_loop()
    code, seen = await asyncio.to_thread(watch)
    assert code == 130
    assert seen.endswith("\n")
    assert "Traceback" not in seen


@pytest.mark.parametrize("arguments", [(TEAMS,), (COWORKERS, "--paginate")])
async def test_whoever_waits_is_told_why(shell: Shell, arguments: tuple[str, ...]) -> None:
    """A pause that the service asks for may last a minute."""
    shell.emulator.fail(arguments[0], Fault.throttled(retry_after=1))
    env = shell.env | shell.credentials
    code, _, seen = await asyncio.to_thread(lambda: watched("get", *arguments, env=env))
    assert code == 0
    assert "throttled, waiting 1 s" in seen


async def test_progress_is_for_terminals(shell: Shell) -> None:
    """On standard error, so that the answer can go to a file meanwhile."""
    hold = shell.emulator.hold(TEAMS)

    async def release() -> None:
        await hold.arrived.wait()
        await asyncio.sleep(0.3)  # the time for a few turns of what shows that it works
        hold.release()

    releasing = asyncio.create_task(release())
    code, said, seen = await asyncio.to_thread(lambda: watched("get", TEAMS, env=shell.env | shell.credentials))
    await releasing
    assert (code, json.loads(said)[0]["Name"]) == (0, "First floor")
    assert "signing in" in seen or f"GET {TEAMS}" in seen
