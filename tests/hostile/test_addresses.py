"""Requests with addresses that mean something else, and pages that a writer made."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.helpers.host import Checkout
from tests.helpers.hostile import PLAIN_SYNC, Answer, Target, setting

SCRIPT = "<html><script>document.title = document.cookie</script></html>"
SECRET = "secret-plans"


@pytest.fixture(scope="session")
def evil(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a repository with hostile pages in it, pushed by a writer."""
    target.create("evil")
    folder = tmp_path_factory.mktemp("evil")
    url = target.host.url("evil", "ada", target.host.fossil_password("ada", "evil"))
    checkout = Checkout.cloned(url, folder / "w", "ada")
    checkout.commit("evil.html", SCRIPT)
    checkout.commit("evil.js", "alert(document.cookie)")
    checkout.commit("evil.svg", "<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>")
    checkout.push()
    checkout.fossil("uv", "add", str(checkout.folder / "evil.html"), "--as", "evil.html")
    checkout.fossil("uv", "sync", url)
    yield "evil"


@pytest.fixture(scope="session")
def private(target: Target) -> str:
    body = {"name": SECRET, "visibility": "private"}
    assert target.api("POST", "/repositories", body).status == 201
    return SECRET


# A5


def has_no_powers(answer: Answer) -> bool:
    policies = answer.every("Content-Security-Policy")
    sandboxes = [policy for policy in policies if policy.split()[0] == "sandbox"]
    return (
        bool(sandboxes)
        and not any("allow-same-origin" in policy for policy in policies)
        and answer.every("X-Content-Type-Options") == ["nosniff"]
    )


@pytest.mark.parametrize(
    "path",
    [
        "/evil/doc/trunk/evil.html",
        "/evil/doc/trunk/evil.js",
        "/evil/doc/trunk/evil.svg",
        "/evil/doc/tip/evil.html",
        "/evil/doc?name=trunk/evil.html",
        "/evil/raw/evil.html?ci=trunk",
        "/evil/raw/HASH",
        "/evil/raw/HASH?m=text/html",
        "/evil/raw?name=HASH&m=text/javascript",
        "/evil/secureraw/LONG?m=text/html",
        "/evil/uv/evil.html",
        "/evil/artifact/HASH?txt",
        "/evil/file/evil.html?ci=trunk",
    ],
)
def test_what_a_writer_made_comes_without_powers(target: Target, evil: str, path: str) -> None:
    query = (
        "SELECT b.uuid FROM mlink m JOIN filename f USING(fnid) JOIN blob b ON b.rid = m.fid"
        " WHERE f.name = 'evil.html'"
    )
    [(uuid,)] = target.rows(evil, query)
    answer = target.page(evil, path.replace("HASH", uuid[:16]).replace("LONG", uuid))
    assert answer.status == 200, answer.text
    assert has_no_powers(answer), answer.headers.as_string()


def test_an_alias_does_not_show_a_writers_page_as_fossils_own(target: Target, evil: str) -> None:
    """Fossil's `walias:` rows show one page under the address of another."""
    target.write(
        evil,
        setting("walias:/nice", "/doc?name=trunk/evil.html"),
        setting("walias:/timeline", "/uv?name=evil.html"),
    )
    target.until_gone(evil, "walias:/nice", "walias:/timeline")
    assert target.page(evil, "/evil/nice").status == 404
    assert SCRIPT not in target.page(evil, "/evil/timeline").text


@pytest.mark.parametrize("path", ["/evil//doc/", "/evil/%64oc/", "/evil/./doc/", "/evil/DOC/"])
def test_another_spelling_gives_no_powers_either(target: Target, evil: str, path: str) -> None:
    answer = target.page(evil, f"{path}trunk/evil.html")
    assert SCRIPT not in answer.text or has_no_powers(answer)


# A6


@pytest.mark.parametrize("path", ["/", "/evil.com", "/secret-plans/timeline", "/evil/timeline"])
@pytest.mark.parametrize(
    "hosts",
    [
        ["EVIL.localhost"],
        ["_x.localhost"],
        ["a_b.localhost"],
        ["evil.localhost."],
        ["evil.localhost:x"],
        ["evil.localhost:"],
        ["a.evil.localhost"],
        ["-evil.localhost"],
        [".localhost"],
        ["evil.localhost", "secret-plans.localhost"],
        ["evil.localhost", "localhost"],
        [""],
        [],
        ["evil.localhost/x"],
        ["evil.localhost@evil.com"],
        ["evil.com"],
        ["xlocalhost"],
        ["evil.localhost.evil.com"],
        ["\xe9vil.localhost"],
        ["unknown.localhost"],
        ["a" * 64 + ".localhost"],
    ],
    ids=lambda hosts: ",".join(hosts)[:30].encode("ascii", "replace").decode() or "none",
)
def test_a_bad_host_shows_nothing_and_leads_nowhere(
    target: Target, evil: str, private: str, hosts: list[str], path: str
) -> None:
    answer = target.ask("GET", path, hosts=hosts)
    assert answer.status in (400, 404, 421), answer.text
    assert not answer.every("Location") and not answer.every("Set-Cookie")
    assert "Repository List" not in answer.text and private not in answer.text
    assert not any(name.startswith("baseurl:") for name in target.settings(private))


@pytest.mark.parametrize(
    "path",
    ["//evil.com", "//evil.com/x", "/\\evil.com", "/%2f/evil.com", "/..", "/../secret-plans",
     "/evil/../secret-plans/timeline", "/%2e%2e/secret-plans", "/evil/%2e%2e/secret-plans",
     "/secret-plans/timeline", "/.store", "/evil/../../.store", "http://evil.com/"],
)  # fmt: skip
def test_a_path_stays_in_its_repository_and_on_its_host(
    target: Target, evil: str, private: str, path: str
) -> None:
    here = f"evil.localhost:{target.port}"
    answer = target.ask("GET", path, hosts=[here])
    for location in answer.every("Location"):
        assert location.startswith(("/evil/", "/evil?", f"http://{here}/evil")), location
    for _ in range(4):
        if not answer.every("Location"):
            break
        onward = answer.every("Location")[0].removeprefix(f"http://{here}")
        answer = target.ask("GET", onward, hosts=[here])
    assert f"<h1>{private}" not in answer.text and f"/{private}/style.css" not in answer.text


# A14


def test_machines_pages_are_not_for_those_behind_a_proxy(target: Target, evil: str) -> None:
    for path, refused in (("/metrics", 403), ("/internal/tls-ask?domain=localhost", 404)):
        assert target.ask("GET", path).status == 200
        for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Forwarded-Host"):
            for value in ("127.0.0.1", "203.0.113.9", ""):
                answer = target.ask("GET", path, headers={header: value})
                assert answer.status == refused, (path, header)
        on_a_host = target.page(evil, path)
        assert on_a_host.status == 302 and on_a_host.every("Location")[0].startswith("/evil/")


def test_certificates_are_for_the_site_and_what_it_serves_only(target: Target, evil: str) -> None:
    for name in ("asked", "asked-archived", "asked-trashed"):
        target.create(name)
    assert target.api("POST", "/repositories/asked-archived/archive").status == 200
    assert target.api("DELETE", "/repositories/asked-trashed").status == 200
    yes = {"localhost", "asked.localhost", "asked-archived.localhost"}
    no = {"asked-trashed.localhost", "unknown.localhost", "a.asked.localhost", "ASKED.localhost",
          "asked.localhost.", "asked.localhost:443", ".localhost", "asked", "", "xlocalhost",
          "asked.evil.com", "asked.localhost.evil.com", "evil.com", "*.localhost", "www.localhost",
          "../asked.localhost", "asked%00.localhost", "asked.localhost%0a"}  # fmt: skip
    for domain in yes | no:
        status = target.ask("GET", f"/internal/tls-ask?domain={domain}").status
        assert status == (200 if domain in yes else 404), domain
    assert target.ask("GET", "/internal/tls-ask").status == 404


# A19


@pytest.mark.parametrize(
    "name",
    ["www", "api", "admin", "login", "badge", "invite", "search", "events", "orgs", "teams",
     "audit", "jobs", "docs", "api-docs", "health", "status", "mail", "smtp", "imap", "ns", "ns1",
     "ns2", "ftp", "wpad", "autodiscover", "autoconfig", "mta-sts", "localhost", "dev", "tmp",
     "Evil", "evil", "-x", "x-", "..", ".store", "a/b", "a" * 64, "", "é", "x\n", "x.y", "x\u0000"],
)  # fmt: skip
def test_a_name_that_means_something_else_is_refused(target: Target, evil: str, name: str) -> None:
    before = sorted(path.name for path in target.repos.iterdir())
    answer = target.api("POST", "/repositories", {"name": name})
    assert answer.status in (409, 422), answer.text
    assert sorted(path.name for path in target.repos.iterdir()) == before


def test_the_path_form_takes_messages_of_fossils_client_only(target: Target, evil: str) -> None:
    def posted(path: str, kind: str, method: str = "POST") -> int:
        return target.ask(method, path, body=b"x", headers={"Content-Type": kind}).status

    message = "application/x-fossil"
    assert posted("/evil", PLAIN_SYNC) == 200
    for kind in ("application/x-www-form-urlencoded", "text/plain", "", "x/application/x-fossil"):
        assert posted("/evil", kind) in (403, 404, 405, 415), kind
    for path in ("/evil/timeline", "/evil/login", "/evil/xfer/x", "/evil/", "//evil", "/EVIL",
                 "/evil/admin_sql", "/evil/../evil", "/evil%2fxfer", "/unknown"):  # fmt: skip
        assert posted(path, message) in (403, 404, 405), path
    assert posted("/evil", message, "PUT") in (404, 405)
    looked = target.ask("GET", "/evil/timeline")
    assert looked.status in (303, 404) or looked.every("Location")[0].startswith(
        f"http://evil.localhost:{target.port}/"
    )
