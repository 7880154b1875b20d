"""Mail that the host sends to people, by the SMTP server of the settings."""

from __future__ import annotations

from fossilrepo.config import Settings


class Mail:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
