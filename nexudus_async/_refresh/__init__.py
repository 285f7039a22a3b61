"""How one process keeps one token fresh: no HTTP, no aiohttp."""
