"""Every role, visibility and action over real HTTP, and that each change counts at once.

One host runs for the file. What is changed is changed by commands beside it; who was signed in to
Fossil stays so, and the next request is the one that is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.host import Host
from tests.helpers.many_addresses import relay
from tests.helpers.visitor import ACTIONS, Desk, Place, Visitor

# Strangers and those who were shut out are told apart by the client alone: Fossil's pages take
# a cookie that is worth nothing for no cookie, a sync with a wrong password is refused.
TABLE = """
             browse clone pull push wiki ticket forum users setup

public
  stranger   yes    yes   yes  -    -    -      -     -     -
  no-role    yes    yes   yes  -    -    -      -     -     -
  read       yes    yes   yes  -    -    -      -     -     -
  write      yes    yes   yes  yes  yes  yes    yes   -     -
  admin      yes    yes   yes  yes  yes  yes    yes   -     -
  site-admin yes    yes   yes  yes  yes  yes    yes   -     -
  disabled   yes    -     -    -    -    -      -     -     -

internal
  stranger   -      -     -    -    -    -      -     -     -
  no-role    yes    yes   yes  -    -    -      -     -     -
  read       yes    yes   yes  -    -    -      -     -     -
  write      yes    yes   yes  yes  yes  yes    yes   -     -
  admin      yes    yes   yes  yes  yes  yes    yes   -     -
  site-admin yes    yes   yes  yes  yes  yes    yes   -     -
  disabled   -      -     -    -    -    -      -     -     -

private
  stranger   -      -     -    -    -    -      -     -     -
  no-role    -      -     -    -    -    -      -     -     -
  read       yes    yes   yes  -    -    -      -     -     -
  write      yes    yes   yes  yes  yes  yes    yes   -     -
  admin      yes    yes   yes  yes  yes  yes    yes   -     -
  site-admin yes    yes   yes  yes  yes  yes    yes   -     -
  disabled   -      -     -    -    -    -      -     -     -
"""
PEOPLE = {
    "stranger": "",
    "no-role": "nora",
    "read": "rita",
    "write": "walt",
    "admin": "adam",
    "site-admin": "ada",
    "disabled": "dora",  # she had the role admin, and is signed in to Fossil
}
OUTSIDE = ("private", "no-role")
READS = "browse clone"
WRITES = f"{READS} push wiki"
NOTHING = ""
Make = Callable[..., Place]


def rows() -> Iterator[tuple[str, str, str, bool]]:
    """(visibility, role, action, whether it is allowed) of the table."""
    head, *lines = [line.split() for line in TABLE.splitlines() if line.strip()]
    visibility = ""
    for first, *cells in lines:
        if not cells:
            visibility = first
        for action, cell in zip(head, cells, strict=False):
            yield visibility, first, action, cell == "yes"


@pytest.fixture(scope="module")
def desk(host: Host) -> Iterator[Desk]:
    port = host.port
    with relay(port) as way:
        desk = Desk(host, port, way)
        for login in ("nora", "rita", "walt", "adam", "dora"):
            desk("user", "create", login)
        yield desk


@pytest.fixture(scope="module")
def visitors(desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Visitor]:
    """By visibility and role, signed in; `dora` has been disabled since."""
    folder, found = tmp_path_factory.mktemp("places"), {}
    desk("org", "create", "table")
    for role, login in (("read", "rita"), ("write", "walt"), ("admin", "adam"), ("admin", "dora")):
        desk("grant", "--org", "table", "--user", login, "--role", role)
    for visibility in ("public", "internal", "private"):
        options = ("--org", "table", "--visibility", visibility)
        place = Place.made(desk, f"of-{visibility}", folder, *options)
        for role, login in PEOPLE.items():
            found[f"{visibility} {role}"] = place.visitor(login)
        assert found[f"{visibility} disabled"].may("push")
    desk("user", "disable", "dora")
    return found


@pytest.fixture
def make(desk: Desk, tmp_path: Path) -> Make:
    """Repositories of the test's own."""
    return lambda name, *options: Place.made(desk, name, tmp_path, *options)


def test_the_table_is_whole() -> None:
    assert len(list(rows())) == 3 * len(PEOPLE) * len(ACTIONS)
    assert {row[2] for row in rows()} == set(ACTIONS)


@pytest.mark.parametrize(("visibility", "role", "action", "allowed"), rows())
def test_a_role_allows_what_the_table_says(
    visitors: dict[str, Visitor], visibility: str, role: str, action: str, allowed: bool
) -> None:
    visitor = visitors[f"{visibility} {role}"]
    # Somebody who may not read the repository has no password for it; all others are signed in.
    assert bool(visitor.cookie) == (role != "stranger" and (visibility, role) != OUTSIDE)
    assert visitor.may(action) is allowed


def test_an_archived_repository_is_read_as_before_and_written_by_nobody(make: Make) -> None:
    place = make("archived", "--visibility", "public")
    place.desk("grant", "archived", "--user", "walt", "--role", "write")
    place.desk("grant", "archived", "--user", "adam", "--role", "admin")
    everybody = [place.visitor(login) for login in ("", "nora", "walt", "adam", "ada")]
    assert everybody[2].doors() == WRITES
    place.desk("repo", "archive", "archived")
    assert [visitor.doors() for visitor in everybody] == [READS] * 5
    assert [everybody[number].all() for number in (2, 4)] == ["browse clone pull"] * 2
    place.desk("repo", "configure", "archived", "--visibility", "private")
    reads = [NOTHING, NOTHING, READS, READS, READS]
    assert [visitor.doors() for visitor in everybody] == reads
    place.desk("repo", "unarchive", "archived")
    assert [everybody[number].doors() for number in (1, 2, 4)] == [NOTHING, WRITES, WRITES]


def test_a_changed_role_counts_from_the_next_request_on(make: Make) -> None:
    place = make("changing", "--private")
    assert place.visitor("nora").doors() == NOTHING
    place.desk("grant", "changing", "--user", "nora", "--role", "write")
    nora = place.visitor("nora")
    assert nora.doors() == WRITES
    place.desk("grant", "changing", "--user", "nora", "--role", "read")
    assert nora.doors() == READS
    place.desk("grant", "changing", "--user", "nora", "--role", "admin")
    assert nora.doors() == WRITES
    place.desk("revoke", "changing", "--user", "nora")
    assert nora.doors() == NOTHING


def test_who_leaves_a_team_or_an_organization_is_out_at_once(make: Make) -> None:
    place = make("teamwork", "--private")
    desk = place.desk
    for login in ("nora", "rita"):
        desk("org", "member", "add", "main", login)
        desk("team", "create", f"of-{login}")
        desk("team", "member", "add", f"of-{login}", login)
        desk("grant", "teamwork", "--team", f"of-{login}", "--role", "write")
    nora, rita = place.visitor("nora"), place.visitor("rita")
    assert (nora.doors(), rita.doors()) == (WRITES, WRITES)
    desk("team", "member", "remove", "of-nora", "nora")
    assert (nora.doors(), rita.may("push")) == (NOTHING, True)
    desk("team", "member", "add", "of-nora", "nora")
    assert nora.may("push")
    desk("team", "delete", "of-nora", "--yes")
    desk("org", "member", "remove", "main", "rita")
    assert (nora.doors(), rita.doors()) == (NOTHING, NOTHING)


def test_the_role_of_an_organizations_members_and_owners_counts_at_once(
    desk: Desk, make: Make
) -> None:
    desk("org", "create", "club")
    place = make("clubs", "--org", "club", "--private")
    desk("org", "member", "add", "club", "nora")
    assert place.visitor("nora").doors() == NOTHING
    desk("org", "configure", "club", "--default-role", "read")
    nora = place.visitor("nora")
    assert nora.doors() == READS
    desk("org", "member", "add", "club", "nora", "--role", "owner")
    assert nora.doors() == WRITES
    desk("org", "member", "add", "club", "nora", "--role", "member")
    desk("org", "configure", "club", "--default-role", "none")
    assert nora.doors() == NOTHING


def test_who_is_disabled_is_out_of_every_repository_at_once(make: Make) -> None:
    places = [make("left", "--private"), make("right", "--private")]
    desk = places[0].desk
    desk("user", "create", "otto")
    for place in places:
        desk("grant", place.name, "--user", "otto", "--role", "admin")
    before = [place.visitor("otto") for place in places]
    assert [visitor.may("wiki") for visitor in before] == [True, True]
    desk("user", "disable", "otto")
    assert [visitor.doors() for visitor in before] == [NOTHING, NOTHING]
    desk("user", "enable", "otto")
    after = [place.visitor("otto") for place in places]
    assert [visitor.doors() for visitor in after] == [WRITES, WRITES]
    # What was known before is worth nothing now: neither the password nor the cookie.
    assert [visitor.doors() for visitor in before] == [NOTHING, NOTHING]


def test_renewed_fossil_passwords_and_an_ended_administrator_count_at_once(make: Make) -> None:
    place = make("renewed", "--private")
    desk = place.desk
    desk("user", "create", "olga", "--admin")
    olga = place.visitor("olga")
    assert olga.doors() == WRITES
    desk("user", "rotate", "olga")
    assert olga.doors() == NOTHING
    olga = place.visitor("olga")
    assert olga.doors() == WRITES
    desk("user", "admin", "olga", "off")
    assert olga.doors() == NOTHING


def test_a_changed_visibility_counts_at_once(make: Make) -> None:
    place = make("seen", "--visibility", "public")
    place.desk("grant", "seen", "--user", "walt", "--role", "write")
    stranger, nora, walt = (place.visitor(login) for login in ("", "nora", "walt"))
    for visibility, expected in (
        ("public", (READS, READS, WRITES)),
        ("internal", (NOTHING, READS, WRITES)),
        ("private", (NOTHING, NOTHING, WRITES)),
        ("public", (READS, READS, WRITES)),
    ):
        place.desk("repo", "configure", "seen", "--visibility", visibility)
        assert (stranger.doors(), nora.doors(), walt.doors()) == expected, visibility


def test_a_repository_that_moves_to_another_organization_takes_nobody_along(
    desk: Desk, make: Make
) -> None:
    for name, login in (("old", "nora"), ("new", "rita")):
        desk("org", "create", name)
        desk("org", "member", "add", name, login)
        desk("team", "create", f"{name}/makers")
        desk("team", "member", "add", f"{name}/makers", login)
    place = make("moving", "--org", "old", "--private")
    desk("grant", "moving", "--team", "old/makers", "--role", "write")
    desk("grant", "moving", "--user", "walt", "--role", "read")
    desk("grant", "--org", "new", "--team", "new/makers", "--role", "write")
    nora, walt = place.visitor("nora"), place.visitor("walt")
    assert (nora.doors(), walt.doors(), place.visitor("rita").doors()) == (WRITES, READS, NOTHING)
    desk("repo", "configure", "moving", "--org", "new")
    rita = place.visitor("rita")
    assert (nora.doors(), walt.doors(), rita.doors()) == (NOTHING, READS, WRITES)
    desk("repo", "configure", "moving", "--org", "old")
    assert nora.sign_in()  # her sign-in ended with her rights
    assert (nora.doors(), walt.doors(), rita.doors()) == (WRITES, READS, NOTHING)


def test_setup_is_there_for_whom_it_was_given_and_as_long(make: Make) -> None:
    """The two columns that are empty for everybody are not empty because the test is blind."""
    place = make("raised", "--private")
    ada = place.visitor("ada")
    assert ada.all() == " ".join(ACTIONS[:-2])
    place.desk("repo", "elevate", "raised", "--login", "ada")
    assert ada.all() == " ".join(ACTIONS)
    place.desk("repo", "elevate", "raised", "--login", "ada", "--end")
    assert ada.all() == " ".join(ACTIONS[:-2])
