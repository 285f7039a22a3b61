"""Everything that anyone could print of an error, so that a test can search it for secrets."""

import traceback
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote_plus

TESTS = Path(__file__).resolve().parent.parent


def printed(error: BaseException) -> str:
    """Return all text made of `error` and of what is shown with it: causes, local variables of every frame but ours."""
    parts: list[str] = []
    seen: BaseException | None = error
    while seen is not None:
        parts += [str(seen), repr(seen), repr(seen.args), repr(vars(seen))]
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    traced: traceback.TracebackException | None
    traced = traceback.TracebackException.from_exception(error, capture_locals=True)
    while traced is not None:
        foreign = [frame for frame in traced.stack if TESTS not in Path(frame.filename).parents]
        parts += [f"{frame.name}: {frame.locals}" for frame in foreign]
        traced = traced.__cause__ or (None if traced.__suppress_context__ else traced.__context__)
    return "\n".join(parts)


def leaked(error: BaseException, secrets: Iterable[str]) -> list[str]:
    """Return the lines of `printed` that show one of `secrets`, as it is or as in a form."""
    wanted = {form for secret in secrets for form in (secret, quote_plus(secret), repr(secret)[1:-1])}
    return [line for line in printed(error).splitlines() if any(form in line for form in wanted)]
