"""The addresses that people see: of the site, of each repository, and for cloning.

Owns their form. The scheme and the port come from server.public_url, or from
where the site listens; the listening port is known only once it is bound.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

from fossilrepo.config import Settings, split_listen


class Links:
    def __init__(self, settings: Settings) -> None:
        self.domain = settings.server.domain
        self.by_path = settings.server.routing == "path"
        self._configured = settings.server.public_url
        self._port = split_listen(settings.server.listen)[1]
        self._caddy = settings.caddy.https_port if settings.caddy.enabled else None

    def bind(self, port: int) -> None:
        """The site listens on this port (server.listen may say 0)."""
        self._port = port

    def bind_from(self, port_file: Path) -> None:
        """Beside a running host that chose its own port, links lead there."""
        if self._port == 0:
            with suppress(OSError, ValueError):
                self._port = int(port_file.read_text())

    @property
    def listening(self) -> int:
        """The site's own port; people may come by another one."""
        return self._port

    @property
    def configured(self) -> bool:
        """The address was given, not derived: then only its own port is accepted."""
        return bool(self._configured) or self._caddy is not None

    @property
    def https(self) -> bool:
        return self._scheme_and_port()[0] == "https"

    @property
    def port(self) -> int | None:
        """The port that stands in addresses, None for the scheme's own."""
        return self._scheme_and_port()[1]

    def _scheme_and_port(self) -> tuple[str, int | None]:
        if self._configured:
            url = urlsplit(self._configured)
            scheme, port = url.scheme, url.port
        elif self._caddy is not None:
            scheme, port = "https", self._caddy
        else:
            scheme, port = "http", self._port
        if port == {"http": 80, "https": 443}[scheme]:
            port = None
        return scheme, port

    def _address(self, host: str, login: str | None = None) -> str:
        scheme, port = self._scheme_and_port()
        user = f"{quote(login)}@" if login else ""
        return f"{scheme}://{user}{host}" + (f":{port}" if port else "")

    @property
    def public_url(self) -> str:
        """The site itself, without a slash at the end: http://localhost:8000."""
        return self._address(self.domain)

    def place(self, name: str) -> str:
        """Where a repository is, without a scheme: demo.localhost:8000, or localhost:8000/demo."""
        return self.repo_url(name).partition("://")[2].rstrip("/")

    def base(self, name: str) -> str:
        """The part of a repository's address that is path."""
        return f"/{name}" if self.by_path else ""

    def repo_url(self, name: str) -> str:
        if self.by_path:
            return f"{self.public_url}/{name}/"
        return self._address(f"{name}.{self.domain}") + "/"

    def clone_url(self, name: str, login: str | None = None) -> str:
        if self.by_path:
            return self.path_clone_url(name, login)
        return self._address(f"{name}.{self.domain}", login) + "/"

    def path_clone_url(self, name: str, login: str | None = None) -> str:
        """For machines where NAME.localhost does not resolve."""
        return f"{self._address(self.domain, login)}/{name}"

    def sure_clone_url(self, name: str) -> str:
        """The form that works everywhere: `fossil` often cannot find NAME.localhost."""
        at_home = self.domain == "localhost"
        return self.path_clone_url(name) if at_home else self.clone_url(name)
