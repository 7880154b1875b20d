"""What a person may do, against a second statement of the rules that is slow and obvious."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fossilrepo.errors import InvalidInput
from fossilrepo.models import Repository, RepositoryState, Trust, User, Visibility
from fossilrepo.rights import (
    Directory,
    Grant,
    MemberRole,
    Organization,
    Role,
    Team,
    effective,
    role_of,
)

AT = datetime(2026, 1, 1, tzinfo=UTC)
USERS, ORGS, TEAMS, REPOS = range(1, 4), range(1, 3), range(1, 4), "ab"
roles = st.sampled_from(Role)


def user(number: int, *, is_admin: bool = False, disabled: bool = False) -> User:
    return User(number, f"u{number}", "", "", is_admin, disabled, AT, None)


def repository(identity: str, org: str, visibility: Visibility) -> Repository:
    return Repository(
        id=identity,
        name=identity,
        title="",
        description="",
        org=org,
        visibility=visibility,
        state=RepositoryState.ACTIVE,
        trust=Trust.OWN,
        created_at=AT,
        created_by="",
    )


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Directory, list[Repository]]:
    users = {
        n: user(n, is_admin=draw(st.booleans()) and n == 1, disabled=draw(st.booleans()) and n == 2)
        for n in USERS
    }
    organizations = {
        f"o{n}": Organization(n, f"o{n}", "", AT, draw(st.none() | roles)) for n in ORGS
    }
    members = draw(
        st.dictionaries(
            st.tuples(st.sampled_from(ORGS), st.sampled_from(USERS)), st.sampled_from(MemberRole)
        )
    )
    teams = {n: Team(n, draw(st.sampled_from(ORGS)), f"t{n}", "") for n in TEAMS}
    team_members = draw(
        st.dictionaries(st.sampled_from(USERS), st.frozensets(st.sampled_from(TEAMS)))
    )
    places = st.sampled_from(REPOS) | st.sampled_from(ORGS)
    holders = st.tuples(st.just("user"), st.sampled_from(USERS)) | st.tuples(
        st.just("team"), st.sampled_from(TEAMS)
    )
    grants = [
        Grant(
            number,
            role,
            repository_id=place if isinstance(place, str) else None,
            org_id=place if isinstance(place, int) else None,
            user_id=who if kind == "user" else None,
            team_id=who if kind == "team" else None,
        )
        for number, (place, (kind, who), role) in enumerate(
            draw(st.lists(st.tuples(places, holders, roles), max_size=6))
        )
    ]
    repositories = [
        repository(
            identity, draw(st.sampled_from(["o1", "o2", "gone"])), draw(st.sampled_from(Visibility))
        )
        for identity in REPOS
    ]
    directory = Directory(users, organizations, members, teams, team_members, tuple(grants))
    return directory, repositories


def obvious(  # noqa: C901 - the rules, written out
    person: int | None, repo: Repository, world: Directory
) -> Iterator[Role]:
    """Every role that anything gives, one sentence of the rules after the other."""
    if person is not None and world.users[person].disabled:
        return
    if repo.visibility == "public":
        yield Role.READ
    if person is None:
        return
    if repo.visibility == "internal":
        yield Role.READ
    if world.users[person].is_admin:
        yield Role.ADMIN
    for org in world.organizations.values():
        if org.name != repo.org:
            continue
        for (of_org, member), kind in world.members.items():
            if of_org == org.id and member == person:
                if kind == "owner":
                    yield Role.ADMIN
                elif org.default_role:
                    yield org.default_role
        for grant in world.grants:
            on_it = grant.repository_id == repo.id or grant.org_id == org.id
            if on_it and grant.user_id == person:
                yield grant.role
            for team in world.teams.values():
                in_it = team.id in world.team_members.get(person, frozenset())
                if on_it and grant.team_id == team.id and in_it and team.org_id == org.id:
                    yield grant.role
    if repo.org not in world.organizations:  # only what is granted on it by name is left
        for grant in world.grants:
            if grant.repository_id == repo.id and grant.user_id == person:
                yield grant.role


@settings(max_examples=300, deadline=None)
@given(worlds())
def test_the_rule_is_the_strongest_of_what_applies(
    world: tuple[Directory, list[Repository]],
) -> None:
    directory, repositories = world
    order = [Role.READ, Role.WRITE, Role.ADMIN]
    for repo in repositories:
        for person in (None, *USERS):
            expected = max(obvious(person, repo, directory), key=order.index, default=None)
            found = effective(person, repo, directory)
            assert found.role is expected
            assert bool(found.reasons) == (expected is not None)
            if found.reasons:
                assert found.reasons[0].role is expected
                assert all(expected.covers(reason.role) for reason in found.reasons)  # type: ignore[union-attr]
            handed = directory.grants_on(repo)
            assert effective(person, repo, directory, handed) == found


def test_who_is_not_there_or_disabled_may_nothing() -> None:
    directory = Directory(users={1: user(1, is_admin=True, disabled=True)})
    public = repository("a", "main", Visibility.PUBLIC)
    assert effective(1, public, directory).role is None
    assert effective(99, public, directory).role is None
    assert effective(None, public, directory).role is Role.READ


def test_reasons_are_told_with_the_strongest_first() -> None:
    org = Organization(1, "acme", "", AT, Role.READ)
    directory = Directory(
        users={1: user(1)},
        organizations={"acme": org},
        members={(1, 1): MemberRole.MEMBER},
        teams={5: Team(5, 1, "docs", "")},
        team_members={1: frozenset({5})},
        grants=(Grant(1, Role.WRITE, org_id=1, team_id=5),),
    )
    found = effective(1, repository("a", "acme", Visibility.INTERNAL), directory)
    assert [(reason.role, reason.why) for reason in found.reasons] == [
        (Role.WRITE, "team acme/docs on all of acme"),
        (Role.READ, "member of acme"),
        (Role.READ, "everyone with an account (internal)"),
    ]
    assert not found.is_by_visibility
    stranger = effective(None, repository("a", "acme", Visibility.PUBLIC), directory)
    assert stranger.is_by_visibility


def test_a_word_that_is_no_role_is_refused_with_those_that_are() -> None:
    assert role_of("write") is Role.WRITE
    with pytest.raises(InvalidInput, match="no role 'owner'"):
        role_of("owner")
