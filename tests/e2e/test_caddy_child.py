"""A host with Caddy in front, as `caddy.enabled` starts it: certificates, clients, faults."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.helpers.host import Checkout, Host
from tests.helpers.poll import until_sync


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Front:
    """A host and its public ports."""

    host: Host
    https: int
    http: int
    domain: str = "localhost"

    @property
    def root(self) -> Path:
        """The certificate of Caddy's own authority."""
        return self.host.data / "caddy" / "caddy" / "pki" / "authorities" / "local" / "root.crt"

    def ask(
        self, path: str, name: str = "", authority: Path | None = None, more: str = ""
    ) -> tuple[int, str]:
        """Status, and headers with body, as a client sees them that trusts the authority.

        `more` are lines of the request.
        """
        server = f"{name}.{self.domain}" if name else self.domain
        context = ssl.create_default_context(cafile=str(authority or self.root))
        with (
            socket.create_connection(("127.0.0.1", self.https), timeout=20) as plain,
            context.wrap_socket(plain, server_hostname=server) as secure,
        ):
            request = f"GET {path} HTTP/1.1\r\nHost: {server}:{self.https}\r\nConnection: close\r\n"
            request += more
            secure.sendall(f"{request}\r\n".encode())
            answer = b"".join(iter(lambda: secure.recv(65536), b""))
        return int(answer.split()[1]), answer.decode(errors="replace")


@contextlib.contextmanager
def front(domain: str = "localhost", **more: str) -> Iterator[Front]:
    """Where Fossil's account can pass, which it cannot in pytest's own folders."""
    folder = Path(tempfile.mkdtemp(prefix="caddy-"))
    https, http = free_port(), free_port()
    settings = {
        "FOSSILREPO_CADDY__ENABLED": "true",
        "FOSSILREPO_CADDY__HTTPS_PORT": str(https),
        "FOSSILREPO_CADDY__HTTP_PORT": str(http),
        "FOSSILREPO_CADDY__BIND": "127.0.0.1",
        "FOSSILREPO_SERVER__DOMAIN": domain,
        **more,
    }
    folder.chmod(0o711)
    host = Host(folder / "data", settings).start()
    try:
        host.admin()
        until_sync(lambda: host.child("caddy")["state"] == "running", what="Caddy")
        yield Front(host, https, http, domain)
    finally:
        host.stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_pages_clones_and_pushes_come_through_tls(tmp_path: Path) -> None:
    with front() as one:
        host = one.host
        host.call("repo", "create", "demo", "--visibility", "public")
        assert host.status()["url"] == f"https://localhost:{one.https}"
        status, page = one.ask("/login")
        assert status == 200 and "Sign in" in page
        assert "strict-transport-security" not in page.lower()
        assert one.ask("/demo/timeline", "demo")[0] == 200
        assert one.ask("/healthz")[0] == 200
        status, page = one.ask("/internal/tls-ask?domain=localhost")
        assert status == 404, "what Caddy asks is for Caddy alone"

        # A plain visitor is led to https.
        with socket.create_connection(("127.0.0.1", one.http)) as plain:
            plain.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
            assert b"https://localhost" in plain.recv(4096)

        # The real client, which trusts the authority; `NAME.localhost` is not in every resolver.
        password = host.fossil_password("ada", "demo")
        url = f"https://ada:{password}@localhost:{one.https}/demo"
        work = Checkout(tmp_path / "work", "ada", url)
        work.fossil("settings", "--global", "ssl-ca-location", str(one.root))
        work = Checkout.cloned(url, tmp_path / "work", "ada")
        made = work.commit("a.txt", "text")
        work.push()
        status, page = one.ask("/demo/timeline?n=5", "demo")
        assert status == 200 and made[:10] in page


def test_browsers_get_newer_http_and_compressed_pages() -> None:
    with front() as one:
        host = one.host
        host.call("repo", "create", "demo", "--visibility", "public")
        context = ssl.create_default_context(cafile=str(one.root))
        context.set_alpn_protocols(["h2", "http/1.1"])
        with (
            socket.create_connection(("127.0.0.1", one.https), timeout=20) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            assert secure.selected_alpn_protocol() == "h2"
        asked = "Accept-Encoding: gzip\r\n"
        for path, name in (("/login", ""), ("/demo/timeline", "demo")):
            status, answer = one.ask(path, name, more=asked)
            head = answer.partition("\r\n\r\n")[0].lower()
            assert status == 200 and "content-encoding: gzip" in head, path
            assert f'alt-svc: h3=":{one.https}"' in head
        assert "content-encoding" not in one.ask("/login")[1].partition("\r\n\r\n")[0].lower()


def test_repositories_below_the_apex_need_one_certificate(tmp_path: Path) -> None:
    with front(FOSSILREPO_SERVER__ROUTING="path") as one:
        host = one.host
        host.call("repo", "create", "demo", "--visibility", "public")
        status, page = one.ask("/demo/timeline?n=5")
        assert status == 200 and f'<base href="https://localhost:{one.https}/demo/timeline"' in page
        assert f"connect-src https://localhost:{one.https}/demo/;" in page
        assert one.ask("/login")[0] == 200 and one.ask("/nothing/timeline")[0] == 404
        with pytest.raises(ssl.SSLError):
            one.ask("/", "demo")
        url = f"https://ada:{host.fossil_password('ada', 'demo')}@localhost:{one.https}/demo"
        work = Checkout(tmp_path / "work", "ada", url)
        work.fossil("settings", "--global", "ssl-ca-location", str(one.root))
        work = Checkout.cloned(url, tmp_path / "work", "ada")
        made = work.commit("a.txt", "text")
        work.push()
        assert made[:10] in one.ask("/demo/timeline?n=5")[1]
        host.call("repo", "rename", "demo", "new")
        until_sync(lambda: one.ask("/demo/timeline")[0] == 302, what="the way on")
        assert f"https://localhost:{one.https}/new/info" in one.ask("/demo/info")[1]
        until_sync(lambda: certificates(host)["result"] == "ok", what="the certificate")


def test_names_that_are_not_served_get_no_certificate() -> None:
    with front() as one:
        one.host.call("repo", "create", "demo", "--visibility", "public")
        for name in ("other", "a.b", "demo.demo"):
            with pytest.raises(ssl.SSLError):
                one.ask("/", name)
        one.ask("/", "demo")
        one.host.call("repo", "rename", "demo", "new", "--json")
        # The old name has its certificate still: the site leads on to the new one.
        until_sync(lambda: one.ask("/demo/timeline", "demo")[0] == 302, what="the way on")
        page = one.ask("/demo/timeline?n=3", "demo")[1]
        assert f"https://new.localhost:{one.https}/" in page
        one.host.call("repo", "delete", "new", "--yes")
        until_sync(lambda: one.ask("/new/timeline", "demo")[0] == 404, what="its end")
        until_sync(lambda: certificates(one.host)["result"] == "ok", what="the site's own")


def test_caddy_comes_back_and_its_account_is_not_root() -> None:
    with front() as one:
        one.host.call("repo", "create", "demo", "--visibility", "public")
        assert one.ask("/demo/timeline", "demo")[0] == 200
        pid = one.host.child("caddy")["pid"]
        status = Path(f"/proc/{pid}/status").read_text()
        words = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        if os.geteuid() == 0:
            assert words["Uid"].split()[0] != "0"
            assert int(words["CapEff"], 16) == 1 << 10, "only what ports below 1024 need"
            assert words["NoNewPrivs"] == "1"
        os.kill(pid, signal.SIGKILL)
        until_sync(
            lambda: (
                one.host.child("caddy")["pid"] not in (None, pid)
                and one.host.child("caddy")["state"] == "running"
            ),
            what="another Caddy",
            timeout=20,
        )
        assert one.ask("/demo/timeline", "demo")[0] == 200
        # Fossil too: wherever it comes back, Caddy finds it.
        os.kill(one.host.child()["pid"], signal.SIGKILL)

        def again() -> bool:
            with contextlib.suppress(OSError):
                return one.ask("/demo/timeline", "demo")[0] == 200
            return False

        until_sync(again, what="Fossil through Caddy", timeout=20)


def test_a_port_that_is_taken_refuses_the_start(tmp_path: Path) -> None:
    tmp_path.chmod(0o711)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        host = Host(
            tmp_path / "data",
            {
                "FOSSILREPO_CADDY__ENABLED": "true",
                "FOSSILREPO_CADDY__HTTPS_PORT": port,
                "FOSSILREPO_CADDY__HTTP_PORT": str(free_port()),
                "FOSSILREPO_CADDY__BIND": "127.0.0.1",
            },
        )
        done = subprocess.run(**host._arguments("serve"), capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert f"port {port} of 127.0.0.1 cannot be used" in done.stderr
    assert "hint: stop the program that has it" in done.stderr


def write_certificate(folder: Path, days: int, *names: str) -> tuple[Path, Path]:
    """A certificate that signs itself, for these names."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"Ours {days}")])
    at = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - timedelta(days=80))
        .not_valid_after(at + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(list(map(x509.DNSName, names))), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, secret = folder / "ours.pem", folder / "ours.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    secret.chmod(0o600)
    return certificate, secret


def certificates(host: Host) -> dict[str, str]:
    """What doctor says of them."""
    checks = json.loads(host.call("doctor", "--json", check=False).stdout)
    return dict(next(one for one in checks if one["name"] == "certificates"))


def test_a_certificate_of_ours_is_used_and_read_again_when_it_changes(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    certificate, key = write_certificate(keys, 90, "code.test", "*.code.test")
    with front(
        "code.test",
        FOSSILREPO_CADDY__CERTIFICATE=str(certificate),
        FOSSILREPO_CADDY__KEY=str(key),
        FOSSILREPO_CADDY__HSTS="true",
    ) as one:
        one.host.call("repo", "create", "demo", "--visibility", "public")
        status, page = one.ask("/demo/timeline", "demo", certificate)
        assert status == 200
        assert "strict-transport-security: max-age=31536000" in page.lower()
        assert certificates(one.host)["result"] == "ok"
        assert one.ask("/", "unknown", certificate)[0] == 404

        with socket.create_connection(("127.0.0.1", one.https), timeout=20) as plain:
            context = ssl.create_default_context(cafile=str(certificate))
            open_one = context.wrap_socket(plain, server_hostname="demo.code.test")
            host = f"demo.code.test:{one.https}"
            begun = f"POST /demo HTTP/1.1\r\nHost: {host}\r\nContent-Length: 10\r\n"
            kind = "Content-Type: application/x-fossil-debug\r\n\r\n"
            open_one.sendall(f"{begun}{kind}12345".encode())
            write_certificate(keys, 6, "code.test", "*.code.test")

            def renewed() -> bool:
                try:
                    return one.ask("/healthz", "", certificate)[0] == 200
                except ssl.SSLError:
                    return False

            until_sync(renewed, what="the new certificate", timeout=30)
            open_one.sendall(b"67890")  # a push that had begun before goes on
            assert open_one.recv(4096).startswith(b"HTTP/1.1 200")
            open_one.close()
        told = certificates(one.host)
        assert told["result"] == "fail" and "not renewed in time" in told["found"]
        site = (one.host.data / "run" / "site-port").read_text().strip()
        with urllib.request.urlopen(f"http://127.0.0.1:{site}/metrics", timeout=20) as answer:
            metrics = answer.read().decode()
        assert 'fossilrepo_certificate_end_timestamp_seconds{name="code.test"}' in metrics
