"""Checks of what a constructor is given, so that a mistake shows where it is made and not at the first request."""

from .errors import ConfigurationError

__all__ = ["check_kind", "check_methods"]


def check_kind(name: str, value: object, kind: type, instead: str) -> None:
    """Raise `ConfigurationError`, naming no value, unless `value` is of `kind` or None."""
    if value is not None and not isinstance(value, kind):
        raise ConfigurationError(f"{name} must be {instead}, not {type(value).__name__}")


def check_methods(name: str, value: object, methods: tuple[str, ...], instead: str) -> None:
    """Raise `ConfigurationError`, naming no value, unless `value` has the methods of a protocol."""
    missing = [method for method in methods if not callable(getattr(value, method, None))]
    if missing or isinstance(value, type):
        raise ConfigurationError(f"{name} must be {instead}, with {', '.join(methods)}; not {_named(value)}")


def _named(value: object) -> str:
    return f"the class {value.__name__} itself" if isinstance(value, type) else type(value).__name__
