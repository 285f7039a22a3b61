"""Everything that anyone could print of an error, so that a test can search it for secrets."""

import traceback
from pathlib import Path

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
