"""The rules for names, as the interface promises them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fossilrepo.errors import InvalidInput
from fossilrepo.models import check_login, check_name, check_text, is_id, is_name, new_id

BAD_NAMES = [
    "", ".", "..", "../x", "a/b", "-x", "x-", "X", "x" * 64, "ü", "a.b", "a_b", "a b", "x\n",
    "xn--abc", "a--b", "www", "api", "localhost", "dev", "tmp", "healthz", "\u0430bc",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_no_repository_may_have(name: str) -> None:
    assert not is_name(name)
    with pytest.raises(InvalidInput) as refusal:
        check_name(name)
    assert refusal.value.field == "name" and refusal.value.hint


@pytest.mark.parametrize("name", ["a", "0", "x" * 63, "my-project-2"])
def test_names_that_a_repository_may_have(name: str) -> None:
    assert is_name(name) and check_name(name) == name


@given(st.text(max_size=70))
def test_the_two_forms_of_the_rule_agree(name: str) -> None:
    try:
        check_name(name)
        accepted = True
    except InvalidInput:
        accepted = False
    assert accepted == is_name(name)


@pytest.mark.parametrize(
    "login", ["", "nobody", "anonymous", "reader", "root", "1a", "A", "a" * 33, "a b", "ü", "a\n"]
)
def test_logins_that_no_person_may_have(login: str) -> None:
    with pytest.raises(InvalidInput):
        check_login(login)


def test_a_login_that_a_person_may_have() -> None:
    assert check_login("ada.l_1-x") == "ada.l_1-x"


def test_text_is_stripped_and_control_characters_are_refused() -> None:
    assert check_text("  Ünïcode ", what="title", most=20) == "Ünïcode"
    for bad in ("a\nb", "a\x00", "a\ud800"):
        with pytest.raises(InvalidInput):
            check_text(bad, what="title", most=20)
    with pytest.raises(InvalidInput):
        check_text("x" * 21, what="title", most=20)


def test_identities_are_distinct_and_recognised() -> None:
    made = {new_id() for _ in range(1000)}
    assert len(made) == 1000 and all(is_id(one) for one in made)
    assert not is_id("ABCDEFGHIJKL") and not is_id("short")
