"""The page for people, as a real browser shows it."""

import asyncio
import re
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path

import aiohttp
import pytest

from nexudus_async.testing import Fault, NexudusEmulator

from .chromium import CHROMIUM, Tab, tab
from .conftest import Client

PAGE = files("nexudus_async.testing").joinpath("_control/page.html").read_text("utf-8")
CONTRAST = 4.5  # to one: WCAG 2.2, 1.4.3, for text of this size


async def test_the_page_comes_without_a_trace(client: Client) -> None:
    """HTML, with a policy that lets nothing in from elsewhere; it is no request to the service."""
    async with client.http.get(client.emulator.url) as response:
        assert (response.status, response.content_type) == (200, "text/html")
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in response.headers
        assert await response.text() == PAGE
    assert client.emulator.requests == []


def test_the_page_needs_nothing_else() -> None:
    """One file: no address of another host, no other file, no HTML made of text."""
    assert set(re.findall(r"https?://[^'\"\s)]+", PAGE)) <= {"http://www.w3.org/2000/svg"}
    assert not re.findall(r"<(?:script|img|iframe)[^>]* src=|<link(?![^>]*data:)|@import|url\(", PAGE)
    assert not re.findall(r"innerHTML|insertAdjacentHTML|document\.write|eval\(", PAGE)


@pytest.fixture
async def emulator() -> AsyncIterator[NexudusEmulator]:
    async with NexudusEmulator(lifetime=3_600) as emulator:
        yield emulator


@pytest.fixture
async def page(emulator: NexudusEmulator, tmp_path: Path) -> AsyncIterator[Tab]:
    if not CHROMIUM.exists():
        pytest.skip(f"there is no browser at {CHROMIUM}")
    async with tab(emulator.url, tmp_path) as page:
        yield page


async def press(page: Tab, words: str) -> None:
    """Press the button that bears exactly these words."""
    await page.run(f"[...document.querySelectorAll('button')].find(b => b.textContent === {words!r}).click()")


@pytest.mark.fleet
async def test_a_person_sees_who_is_signed_in_and_what_comes(
    page: Tab, emulator: NexudusEmulator, client: Client
) -> None:
    """Bars, requests as they come, remarks, marks of users, names that are no HTML; no secret in full."""
    emulator.add_user("<b>bold</b>@example.com", "pw-of-bold-1234", suspended=True, totp_secret="JBSWY3DPEHPK3PXP")
    session = (await client.sign_in("worker")).json
    token = session["access_token"]
    emulator.advance(3_000)
    await client.call("/api/spaces/coworkers?from_Coworker_UpdatedAt=x", token)
    await client.call(f"/api/{token}", token)
    hold = emulator.hold("/api/public/teams/my")
    task = asyncio.create_task(client.call("/api/public/teams/my", token))
    await hold.wait()
    await page.until("document.querySelectorAll('#rows tr').length === 4")
    text = await page.run("document.body.innerText")
    for words in (
        "worker",
        f"…{token[-4:]}",
        f"…{session['refresh_token'][-4:]}",
        "<b>bold</b>@example.com",
        "suspended",
        "two-factor",
        "did you mean from_Coworker_UpdatedOn?",
        "held, every time",
    ):
        assert words in text
    html = await page.run("document.documentElement.outerHTML")
    assert not [secret for secret in emulator.secrets if secret in html]
    assert token[-5:] not in html
    share = await page.run("parseFloat(document.querySelector('.bar i').style.width)")
    assert 15 < share < 17
    assert await page.run("document.querySelector('.bar i').className") == "low"
    newest = "document.querySelector('#rows tr td:nth-child(4)').textContent"
    assert await page.run(newest) == "…"
    hold.release()
    await task
    await page.until(f"{newest} === '200'")
    assert page.errors == []


@pytest.mark.fleet
async def test_a_person_presses_buttons(page: Tab, emulator: NexudusEmulator, client: Client) -> None:
    """Each does what it says, and the page says so."""
    await page.until("document.querySelector('#alive').textContent === 'running'")
    await page.run("document.querySelector('#times').value = '5'")
    await press(page, "503")
    await page.until("document.querySelector('#waiting').innerText.includes('token answer 503')")
    await page.until("document.querySelector('#said').textContent === 'Waiting: 503.'")
    assert [(each.where, each.times, each.fault.status) for each in emulator.faults.waiting()] == [("token", 5, 503)]
    await press(page, "forget the faults")
    await page.until("document.querySelector('#waiting').innerText.includes('all goes well')")
    assert len(emulator.faults) == 0

    words = await page.run("[...document.querySelectorAll('[data-fault]')].map(b => b.textContent)")
    for each in words:
        await press(page, each)
    await page.until(f"document.querySelectorAll('#waiting li').length === {len(words)}")
    emulator.faults.clear()

    token = emulator.issue().access_token
    await press(page, "access tokens")
    await page.until("document.querySelector('#said').textContent === 'Done: access tokens.'")
    assert (await client.call("/api/auth/me", token)).status == 401
    await press(page, "enforce limits")
    await page.until("document.querySelector('#limits').getAttribute('aria-pressed') === 'true'")
    assert emulator.enforce_limits
    await press(page, "+ 1 h")
    await page.until("document.querySelector('#ahead').textContent === '(1 h ahead)'")

    await press(page, "reset")
    assert emulator.enforce_limits, "once is not enough"
    await press(page, "reset: sure?")
    await page.until("document.querySelector('#said').textContent === 'All is as at the start.'")
    assert not emulator.enforce_limits
    assert page.errors == []


@pytest.mark.fleet
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_is_legible(page: Tab, emulator: NexudusEmulator, client: Client, scheme: str) -> None:
    """Every text stands out against what is behind it, in light and in dark; nothing runs out of a narrow window."""
    await page.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    emulator.user.suspended = True
    emulator.add_user("a-very-long-name-without-any-end@a-very-long-domain-without-any-end.example.com", "pw")
    emulator.issue("a-very-long-name-without-any-end@a-very-long-domain-without-any-end.example.com")
    emulator.fail("*", Fault.answer(302), 1)
    for path in ("/api/1", "/api/" + 60 * "long", "/api/spaces/coworkers?q=1"):
        await client.call(path, None)
    await page.until("document.querySelectorAll('#rows tr').length === 3")
    background = await page.run("getComputedStyle(document.body).backgroundColor")
    assert (luminance(background) < 0.2) is (scheme == "dark")
    texts = await page.run(COLOURS)
    assert len(texts) > 30
    assert not [(text, colour, behind) for text, colour, behind in texts if contrast(colour, behind) < CONTRAST]
    for width in (1_280, 360):
        await page.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        assert await page.run("document.documentElement.scrollWidth") <= width
        assert await page.run(CELLS_OUT_OF_SIGHT) == [], width


CELLS_OUT_OF_SIGHT = """
[...document.querySelectorAll('#rows td')]
  .filter(e => e.textContent && e.getBoundingClientRect().right > innerWidth).map(e => e.textContent)
"""
"""What a person would have to scroll aside for: a status that is not seen is not looked for."""

COLOURS = """
[...document.querySelectorAll('body *')]
  .filter(e => e.offsetParent && [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()))
  .map(e => {
    let behind = e;
    while (getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)') behind = behind.parentElement;
    return [e.textContent.slice(0, 30), getComputedStyle(e).color, getComputedStyle(behind).backgroundColor];
  })
"""
"""Each text that is shown, its colour, and the colour behind it."""


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours: WCAG 2.2, definition of "contrast ratio"."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour: WCAG 2.2."""
    red, green, blue = (int(each) / 255 for each in re.findall(r"\d+", colour)[:3])
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in (red, green, blue)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.fleet
async def test_the_page_says_when_the_emulator_is_gone(page: Tab, emulator: NexudusEmulator) -> None:
    """And when it is back."""
    await page.until("document.querySelector('#alive').textContent === 'running'")
    await emulator.stop()
    await page.until("document.querySelector('#alive').textContent === 'no answer from the emulator'")
    await emulator.start()
    await page.until("document.querySelector('#alive').textContent === 'running'")


async def test_thousands_of_sessions(emulator: NexudusEmulator) -> None:
    """The page shows some of them, the latest first, and says how many there are."""
    for number in range(2_000):
        emulator.issue(client_id=f"worker-{number}")
    async with aiohttp.ClientSession() as http, http.get(f"{emulator.url}/_emulator/state") as response:
        state = await response.json()
    assert (len(state["sessions"]), state["sessions_in_all"]) == (100, 2_000)
    assert state["sessions"][0]["client_id"] == "worker-1999"
