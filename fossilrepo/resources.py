"""Where the files lie that come with the package and are not Python.

Owns one question: the place of templates/, static/, config.example.toml and the
Caddyfile. In a checkout they lie at its top level; a wheel carries them inside
the package, under `_data`. Reads nothing.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_BUNDLED = _PACKAGE / "_data"


def resource(name: str) -> Path:
    """The path of `name`, for example `templates` or `Caddyfile`.

    Raises FileNotFoundError when the installation is not whole.
    """
    path = (_BUNDLED if _BUNDLED.is_dir() else _PACKAGE.parent) / name
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: install fossilrepo again")
    return path


def templates() -> Path:
    """The folder of Jinja templates."""
    return resource("templates")


def static() -> Path:
    """The folder that is served below /static."""
    return resource("static")


def example_config() -> Path:
    """The commented configuration with every key at its default."""
    return resource("config.example.toml")


def caddyfile() -> Path:
    """The Caddyfile for a host behind Caddy."""
    return resource("Caddyfile")
