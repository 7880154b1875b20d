"""How values look on pages: moments, words for states and actions, text that somebody typed.

Owns the small functions that templates use. Pure: no request, no service.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from markupsafe import Markup

from fossilrepo.insight import KIND_WORDS
from fossilrepo.models import iso
from fossilrepo.services.moments import write_time
from fossilrepo.wording import lasting, plural, relative, size, span

_TONES = {
    **dict.fromkeys(("active", "running", "done", "ok", "enabled", "public"), "good"),
    **dict.fromkeys(("current", "proven", "in use", "in-sync", "delivered", "on"), "good"),
    **dict.fromkeys(
        ("broken", "failed", "fail", "interrupted", "failing", "late", "not proven"), "bad"
    ),
    "stopped": "bad",
    **dict.fromkeys(("waiting", "backoff", "starting", "stopping", "warn", "queued"), "warn"),
    **dict.fromkeys(("behind", "kept", "local only", "not replicated", "paused"), "warn"),
}


def ago(at: datetime | float | None, never: str = "never") -> Markup | str:
    """A time relative to now, with the exact UTC time on hover."""
    if at is None:
        return never
    if not isinstance(at, datetime):
        at = datetime.fromtimestamp(at, UTC)
    exact = at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(iso(at), exact, relative(at))


def day(at: datetime) -> Markup:
    """A date, with the exact UTC time on hover."""
    moment = at.astimezone(UTC)
    shown = moment.strftime("%Y-%m-%d")
    told = moment.strftime("%Y-%m-%d %H:%M:%S UTC")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(iso(at), told, shown)


def moment(at: datetime) -> Markup:
    """A moment as exact as it can be named, in UTC."""
    told = write_time(at).replace("T", " ").replace("Z", " UTC")
    return Markup('<time datetime="{}">{}</time>').format(write_time(at), told)


def tone(state: object) -> str:
    """The colour of a state, always beside its word: good, warn, bad or calm."""
    return _TONES.get(str(state), "calm")


def action(name: str) -> str:
    """`repository.create` as people read it: `repository: create`."""
    subject, _, verb = name.partition(".")
    return f"{subject}: {verb}" if verb else subject


def details(detail: dict[str, object]) -> str:
    """The detail of an audit entry in one line."""
    return ", ".join(f"{key}: {plain(value)}" for key, value in detail.items())


def plain(value: object) -> str:
    """A value of an audit entry, for people."""
    if isinstance(value, dict):
        return " ".join(f"{key}={plain(item)}" for key, item in value.items()) or "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(plain(item) for item in value) or "nothing"
    return printable(str(value), 500) if value not in ("", None) else "nothing"


def printable(text: str, most: int = 80) -> str:
    """Foreign text that could turn a line around, break it or fill the page: escaped and cut."""
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[: most + 1])
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def sentence(text: str) -> str:
    """The first letter large: messages are written to stand in the middle of a line.

    An address at the beginning stays as it is.
    """
    if "://" in text.split(" ", 1)[0]:
        return text
    return text[:1].upper() + text[1:]


def marked(text: str) -> Markup:
    """Text as a sentence, what stands between backticks as code."""
    pieces = text.split("`")
    shown = [
        Markup("<code>{}</code>").format(piece) if index % 2 else Markup.escape(piece)
        for index, piece in enumerate(pieces)
    ]
    return Markup("").join(shown)


def groups(text: str) -> str:
    """A long secret in groups of four, as people type it."""
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))


def kind(letters: str) -> str:
    """The kind of an event, as people call it."""
    return KIND_WORDS.get(letters, letters)


FILTERS: dict[str, Callable[..., str]] = {
    "size": size,
    "kind": kind,
    "plain": plain,
    "ago": ago,
    "lasting": lasting,
    "span": span,
    "exact": write_time,
    "day": day,
    "moment": moment,
    "plural": plural,
    "tone": tone,
    "action": action,
    "details": details,
    "printable": printable,
    "marked": marked,
    "sentence": sentence,
    "groups": groups,
}
