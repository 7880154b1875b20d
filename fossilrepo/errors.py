"""The few kinds of failure that people see.

Owns the error types and nothing else. Each carries what happened, a hint that
says what to do, the HTTP status for the site and the API, and the exit code
for the command line. Raise one where something goes wrong; it is turned into
a page, JSON or a line on stderr once, at the edge.
"""

from __future__ import annotations


class FossilrepoError(Exception):
    """What happened, to what; `hint` says what to do, `field` names the input at fault."""

    status = 500
    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.field = field

    def as_dict(self) -> dict[str, str]:
        """The JSON form promised by the API: error, hint, field."""
        return {"error": self.message, "hint": self.hint, "field": self.field}


class ConfigError(FossilrepoError):
    """The configuration cannot be used; the message names the key."""

    exit_code = 2


class InvalidInput(FossilrepoError):
    """Something a person gave is not acceptable; nothing was changed."""

    status = 422
    exit_code = 2


class NotFound(FossilrepoError):
    """No such repository, person or job."""

    status = 404


class Conflict(FossilrepoError):
    """The name is taken, or the state does not allow this now."""

    status = 409


class Forbidden(FossilrepoError):
    """The person may not do this."""

    status = 403


class NotSignedIn(FossilrepoError):
    """Nobody is signed in, and this needs somebody."""

    status = 401


class TooLarge(FossilrepoError):
    """Past a limit of the configuration."""

    status = 413


class TooManyRequests(FossilrepoError):
    """Slowed down on purpose; `retry_after` is in seconds."""

    status = 429

    def __init__(self, message: str, *, retry_after: float, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class Unavailable(FossilrepoError):
    """Cannot be done now (busy, disk low, a program away); worth another try."""

    status = 503


class Damaged(FossilrepoError):
    """A repository's file is not whole, or not one any more; nothing may be served from it."""


class ToolFailed(FossilrepoError):
    """An external program failed; the message carries its own last words."""

    status = 502
