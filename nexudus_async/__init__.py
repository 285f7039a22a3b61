"""An async token manager for Nexudus. Start with `TokenSession`."""

__version__ = "0.1.0"
