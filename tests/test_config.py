"""Configuration: what a person writes is what counts, and what is wrong is named."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from fossilrepo.config import (
    Settings,
    effective_retention,
    format_duration,
    format_size,
    load,
    masked,
    parse_duration,
    parse_size,
    split_listen,
)
from fossilrepo.credentials import S3Keys, s3_keys
from fossilrepo.errors import ConfigError

EXAMPLE = Path(__file__).parents[1] / "config.example.toml"
SECRET = "Pa55word-of-mine"


def every_key() -> dict[str, Any]:
    """`section.key` (or `key`) and its default as people write it."""
    shown = Settings().model_dump(mode="json")
    keys: dict[str, Any] = {}
    for name, value in shown.items():
        inner = value.items() if isinstance(value, dict) else [(None, value)]
        keys.update({f"{name}.{key}" if key else name: item for key, item in inner})
    return keys


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder is an empty one."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def written(folder: Path, text: str, name: str = "settings.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refused(text: str, folder: Path) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(written(folder, text), env={})
    assert caught.value.exit_code == 2
    assert caught.value.hint
    assert SECRET not in f"{caught.value.message} {caught.value.hint}"
    return caught.value


# The example


def test_example_loads_to_exactly_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLE.parent)
    assert load(EXAMPLE, env={}) == Settings()


def test_example_has_every_key_and_no_other() -> None:
    found: set[str] = set()
    for name, value in tomllib.loads(EXAMPLE.read_text()).items():
        found |= {f"{name}.{key}" for key in value} if isinstance(value, dict) else {name}
    assert found == set(every_key())


def test_example_has_a_comment_above_every_key() -> None:
    lines = EXAMPLE.read_text().splitlines()
    keys = [number for number, line in enumerate(lines) if re.match(r"[a-z_]+ = ", line)]
    assert len(keys) == len(every_key())
    assert [lines[n] for n in keys if not lines[n - 1].startswith("# ")] == []


@pytest.mark.parametrize("page", ["configuration", "installing"])
def test_what_the_documents_show_loads(page: str, tmp_path: Path) -> None:
    text = (EXAMPLE.parent / "docs" / f"{page}.md").read_text()
    shown = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert shown
    for number, block in enumerate(shown):
        load(written(tmp_path, block, f"{number}.toml"), env={})


# What is refused, and how


@pytest.mark.parametrize(
    ("text", "key", "says"),
    [
        ("sever = 1", "sever", "no such key"),
        ("[server]\nlisten_on = ''", "server.listen_on", "no such key"),
        ("server = 3", "server", "is a section"),
        ("data_dir = ''", "data_dir", "path of a folder"),
        ("data_dir = 3", "data_dir", "valid string"),
        ("[server]\nlisten = '8000'", "server.listen", "ADDRESS:PORT"),
        ("[server]\nlisten = '127.0.0.1:65536'", "server.listen", "ADDRESS:PORT"),
        ("[server]\nlisten = '::1:8000'", "server.listen", "ADDRESS:PORT"),
        ("[server]\nlisten = '[::g]:8000'", "server.listen", "ADDRESS:PORT"),
        ("[server]\nlisten = '[1::2::3]:8000'", "server.listen", "IPv6"),
        ("[server]\nlisten = 8000", "server.listen", "valid string"),
        ("[server]\ndomain = 'Example.org'", "server.domain", "lower-case"),
        ("[server]\ndomain = 'https://example.org'", "server.domain", "without scheme"),
        ("[server]\ndomain = ''", "server.domain", "host name"),
        ("[server]\npublic_url = 'localhost'", "server.public_url", "scheme and host"),
        ("[server]\npublic_url = 'https://localhost/x'", "server.public_url", "scheme and host"),
        ("[server]\npublic_url = 'https://localhost:x'", "server.public_url", "scheme and host"),
        ("[server]\npublic_url = 'https://[localhost'", "server.public_url", "scheme and host"),
        (
            f"[server]\npublic_url = 'https://u:{SECRET}@localhost'",
            "server.public_url",
            "scheme and host",
        ),
        ("[server]\ntrusted_proxies = ['x']", "server.trusted_proxies", "no network"),
        ("[server]\ntrusted_proxies = '10.0.0.1'", "server.trusted_proxies", "valid list"),
        ("[fossil]\nlisten = '0.0.0.0:8001'", "fossil.listen", "loopback"),
        ("[fossil]\nmax_requests = 0", "fossil.max_requests", "greater than or equal to 1"),
        ("[fossil]\nmax_requests = '8'", "fossil.max_requests", "valid integer"),
        ("[fossil]\nmax_requests = true", "fossil.max_requests", "valid integer"),
        (f"[database]\nurl = 'mysql://a:{SECRET}@h/d'", "database.url", "postgresql://"),
        (f"[database]\nurl = 'postgresql://a:{SECRET}@h:x/d'", "database.url", "postgresql://"),
        ("[database]\nurl = 'postgresql://h'", "database.url", "DATABASE"),
        ("[backup]\nurl = '/mnt/backup'", "backup.url", "file:///FOLDER"),
        ("[backup]\nurl = 's3://'", "backup.url", "BUCKET"),
        (f"[backup]\nurl = 's3://k:{SECRET}@bucket'", "backup.url", "BUCKET"),
        ("[backup]\nurl='s3://b'\nendpoint = 's3.example.org'", "backup.endpoint", "scheme"),
        ("[backup]\nverify = 'daily'", "backup.verify", "number and a unit"),
        ("[backup]\nverify = 24", "backup.verify", "number and a unit"),
        ("[backup]\nsync_interval = '0s'", "backup.sync_interval", "more than zero"),
        (f"[backup]\naccess_key_id = '{SECRET}'", "backup.access_key_id", "no such key"),
        ("[caddy]\nenabled = 'yes'", "caddy.enabled", "valid boolean"),
        ("[limits]\npush = '1GB'", "limits.push", "whole number and a unit"),
        ("[limits]\npush = '0B'", "limits.push", "more than zero"),
        ("[limits]\nfree_disk = '91%'", "limits.free_disk", "between 0% and 90%"),
        ("[limits]\nfree_disk = 0.1", "limits.free_disk", "between 0% and 90%"),
        ("[sync]\nallowed_networks = ['10.0.0.0/33']", "sync.allowed_networks", "no network"),
        ("[alerts]\nurls = [1]", "alerts.urls", "valid string"),
        ("[log]\nlevel = 'loud'", "log.level", "'debug', 'info'"),
    ],
)
def test_wrong_value_is_refused_by_its_key(text: str, key: str, says: str, tmp_path: Path) -> None:
    error = refused(text, tmp_path)
    assert error.field == key
    assert f"key {key}: " in error.message
    assert says in error.message


@pytest.mark.parametrize(
    ("text", "key", "other"),
    [
        (
            "[server]\ndomain='a.org'\npublic_url='https://b.org'",
            "server.public_url",
            "server.domain",
        ),
        (
            "[server]\nlisten='127.0.0.1:9'\n[fossil]\nlisten='127.0.0.1:9'",
            "fossil.listen",
            "server.listen",
        ),
        ("[backup]\nretention='1h'", "backup.retention", "backup.snapshot_interval"),
        ("[backup]\nregion='x'", "backup.region", "backup.url"),
        ("[backup]\nendpoint='https://s3.x.org'", "backup.endpoint", "backup.url"),
        ("[backup]\ncredentials_file='keys'", "backup.credentials_file", "backup.url"),
    ],
)
def test_contradiction_is_refused_by_both_keys(
    text: str, key: str, other: str, tmp_path: Path
) -> None:
    error = refused(text, tmp_path)
    assert error.field == key
    assert other in error.message


def test_broken_toml_is_refused_with_its_place(tmp_path: Path) -> None:
    error = refused("[server]\nlisten = 127.0.0.1:8000\n", tmp_path)
    assert "settings.toml" in error.message
    assert "line 2" in error.message


def test_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"c\.toml is not valid TOML"):
        load(tmp_path / "c.toml", env={})


# Environment


@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        ("FOSSILREPO_DATA_DIR", "/srv/x", "data_dir", "/srv/x"),
        ("FOSSILREPO_SERVER__LISTEN", "127.0.0.1:1", "server.listen", "127.0.0.1:1"),
        ("FOSSILREPO_FOSSIL__MAX_REQUESTS", "7", "fossil.max_requests", 7),
        ("FOSSILREPO_CADDY__ENABLED", "true", "caddy.enabled", True),
        ("FOSSILREPO_CADDY__ENABLED", "0", "caddy.enabled", False),
        ("FOSSILREPO_LIMITS__FREE_DISK", "5%", "limits.free_disk", "5%"),
        ("FOSSILREPO_LIMITS__PUSH", "3MiB", "limits.push", "3MiB"),
        ("FOSSILREPO_BACKUP__VERIFY", "36h", "backup.verify", "36h"),
        (
            "FOSSILREPO_SYNC__ALLOWED_NETWORKS",
            "10.0.0.1, ::1",
            "sync.allowed_networks",
            ["10.0.0.1/32", "::1/128"],
        ),
        (
            "FOSSILREPO_SYNC__ALLOWED_NETWORKS",
            '["10.0.0.0/8"]',
            "sync.allowed_networks",
            ["10.0.0.0/8"],
        ),
        ("FOSSILREPO_SYNC__ALLOWED_NETWORKS", "", "sync.allowed_networks", []),
    ],
)
def test_environment_wins_over_the_default(
    variable: str, text: str, key: str, value: object, elsewhere: Path
) -> None:
    shown: Any = masked(load(env={variable: text}))
    for part in key.split("."):
        shown = shown[part]
    assert shown == value


def test_every_key_can_be_set_by_the_environment(elsewhere: Path) -> None:
    env = {
        f"FOSSILREPO_{key.upper().replace('.', '__')}": json.dumps(value)
        if isinstance(value, list | bool)
        else str(value)
        for key, value in every_key().items()
    }
    assert load(env=env) == Settings()


def test_alert_addresses_come_from_the_environment(elsewhere: Path) -> None:
    plain = load(env={"FOSSILREPO_ALERTS__URLS": "json://a.org,json://b.org"})
    assert [url.get_secret_value() for url in plain.alerts.urls] == ["json://a.org", "json://b.org"]
    listed = load(env={"FOSSILREPO_ALERTS__URLS": '["mailto://a.org?to=b,c"]'})
    assert [url.get_secret_value() for url in listed.alerts.urls] == ["mailto://a.org?to=b,c"]


@pytest.mark.parametrize(
    "variable",
    [
        "FOSSILREPO_LISTEN",
        "FOSSILREPO_SERVER",
        "FOSSILREPO_SERVER__PORT",
        "FOSSILREPO_SERVER_LISTEN",
        "FOSSILREPO_SEVER__LISTEN",
        "FOSSILREPO_SERVER__LISTEN__X",
        "FOSSILREPO_DATA_DIR__X",
        "FOSSILREPO_",
    ],
)
def test_unknown_variable_is_refused_by_its_name(variable: str, elsewhere: Path) -> None:
    with pytest.raises(ConfigError, match=f"variable {variable}: ") as caught:
        load(env={variable: SECRET})
    assert caught.value.field == variable
    assert SECRET not in caught.value.message + caught.value.hint


def test_variables_of_others_do_not_count(elsewhere: Path) -> None:
    assert load(env={"LISTEN": "x", "SERVER__LISTEN": "x", "FOSSIL_HOME": "/x"}) == Settings()


def test_wrong_type_in_the_environment_is_refused_by_key_and_variable(elsewhere: Path) -> None:
    with pytest.raises(ConfigError, match=r"sync\.workers: .*valid integer") as caught:
        load(env={"FOSSILREPO_SYNC__WORKERS": "²"})
    assert "FOSSILREPO_SYNC__WORKERS" in caught.value.hint


def test_section_that_is_a_value_is_refused_beside_the_environment(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="server: is a section"):
        load(written(tmp_path, "server = 3"), env={"FOSSILREPO_SERVER__LISTEN": "127.0.0.1:0"})


# Where the file comes from


def test_named_file_then_variable_then_current_folder(elsewhere: Path, tmp_path: Path) -> None:
    assert load(env={}).server.domain == "localhost"
    written(elsewhere, "[server]\ndomain='here.org'", "config.toml")
    assert load(env={}).server.domain == "here.org"
    env = {"FOSSILREPO_CONFIG": str(written(tmp_path, "[server]\ndomain='env.org'", "e.toml"))}
    assert load(env=env).server.domain == "env.org"
    named = written(tmp_path, "[server]\ndomain='named.org'", "n.toml")
    assert load(named, env=env).server.domain == "named.org"
    env["FOSSILREPO_SERVER__DOMAIN"] = "over.org"
    assert load(named, env=env).server.domain == "over.org"


def test_missing_file_is_refused_by_who_named_it(elsewhere: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.toml does not exist") as caught:
        load(Path("gone.toml"), env={})
    assert caught.value.field == "--config"
    with pytest.raises(ConfigError, match=r"gone\.toml does not exist") as caught:
        load(env={"FOSSILREPO_CONFIG": "gone.toml"})
    assert caught.value.field == "FOSSILREPO_CONFIG"


def test_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    path = written(tmp_path, "\ufeffdata_dir = '/x'")
    assert load(path, env={}).data_dir == "/x"


def test_relative_data_folder_lies_beside_the_file(elsewhere: Path, tmp_path: Path) -> None:
    path = written(tmp_path, "data_dir = 'kept'")
    assert load(path, env={}).data == tmp_path / "kept"
    assert load(path, env={"FOSSILREPO_DATA_DIR": "kept"}).data == elsewhere / "kept"
    assert load(env={}).data == elsewhere / "data"


def test_data_folder_in_the_home_is_found(
    elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert load(written(tmp_path, "data_dir = '~/kept'"), env={}).data == Path("/home/someone/kept")


# Values


@given(
    st.floats(min_value=0, max_value=1e9, allow_subnormal=False).filter(
        lambda v: v == 0 or v > 1e-6
    )
)
def test_durations_read_back_as_they_were(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=1e-12)


@given(st.integers(0, 10**8), st.sampled_from("smhd"))
def test_whole_durations_read_back_exactly(number: int, unit: str) -> None:
    seconds = parse_duration(f"{number}{unit}")
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.integers(0, 2**50), st.sampled_from(["B", "KiB", "MiB"]))
def test_sizes_read_back_exactly(number: int, unit: str) -> None:
    size = parse_size(f"{number}{unit}")
    assert parse_size(format_size(size)) == size


@given(st.text(max_size=8))
def test_other_text_is_no_duration_and_no_size(text: str) -> None:
    for parse, form in ((parse_duration, r"[0-9.]+[smhd]"), (parse_size, r"[0-9]+([KMGT]i)?B")):
        if not re.fullmatch(form, text, re.ASCII):
            with pytest.raises(ValueError, match="number and a unit"):
                parse(text)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=4))
def test_any_value_is_taken_or_refused_with_a_key(value: object) -> None:
    """Nothing that JSON can say in the environment ends in a traceback."""
    for variable in ("SYNC__ALLOWED_NETWORKS", "ALERTS__URLS", "SERVER__LISTEN", "BACKUP__URL"):
        try:
            load(EXAMPLE, env={f"FOSSILREPO_{variable}": json.dumps(value)})
        except ConfigError as error:
            assert error.field == variable.lower().replace("__", ".")


def test_listen_is_split_with_and_without_brackets() -> None:
    assert split_listen("127.0.0.1:0") == ("127.0.0.1", 0)
    assert split_listen("[::1]:8000") == ("::1", 8000)


def test_two_free_ports_are_no_contradiction(settings: Settings) -> None:
    assert settings.server.listen == settings.fossil.listen == "127.0.0.1:0"


def test_settings_cannot_be_changed(settings: Settings) -> None:
    with pytest.raises(ValueError, match="frozen"):
        settings.data_dir = "/x"


# Secrets


def test_no_secret_is_shown() -> None:
    settings = load(
        EXAMPLE,
        env={
            "FOSSILREPO_DATABASE__URL": f"postgresql://me:{SECRET}@h/d?password={SECRET}&a=b",
            "FOSSILREPO_ALERTS__URLS": f"mailto://u:{SECRET}@example.org",
            "FOSSILREPO_ALERTS__PING_URL": f"https://ping.example.org/{SECRET}",
        },
    )
    shown = masked(settings)
    assert SECRET not in json.dumps(shown)
    assert shown["database"]["url"].startswith("postgresql://me:*")
    assert shown["database"]["url"].endswith("&a=b")
    assert set(shown["alerts"]["urls"][0]) == set(shown["alerts"]["ping_url"]) == {"*"}


@pytest.mark.parametrize("url", ["sqlite", "postgresql:///d?host=/run/pg", "postgresql://me@h/d"])
def test_address_without_a_password_is_shown_as_it_is(url: str, elsewhere: Path) -> None:
    shown = masked(load(env={"FOSSILREPO_DATABASE__URL": url}))
    assert shown["database"]["url"] == url


def test_nothing_set_is_shown_as_nothing() -> None:
    alerts = masked(Settings())["alerts"]
    assert alerts == {"urls": [], "ping_url": ""}


# Keys of S3


def s3(folder: Path, text: str | None = None) -> Settings:
    given = f"[backup]\nurl = 's3://bucket/prefix'\ncredentials_file = '{folder / 'keys'}'\n"
    if text is not None:
        (folder / "keys").write_text(text)
    return load(written(folder, given), env={})


def test_s3_keys_come_from_the_environment() -> None:
    env = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": SECRET}
    assert s3_keys(Settings(), env) == S3Keys("id", SECRET)
    assert SECRET not in repr(s3_keys(Settings(), env))
    assert s3_keys(Settings(), {}) is None


def test_s3_keys_come_from_a_file_before_the_environment(tmp_path: Path) -> None:
    text = f"[default]\naws_access_key_id = id\naws_secret_access_key = {SECRET}%x\n"
    env = {"AWS_ACCESS_KEY_ID": "other", "AWS_SECRET_ACCESS_KEY": "other"}
    assert s3_keys(s3(tmp_path, text), env) == S3Keys("id", f"{SECRET}%x")


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        SECRET,
        f"[other]\naws_secret_access_key={SECRET}",
        "[default]\naws_access_key_id=i",
    ],
)
def test_unusable_file_of_keys_is_refused_by_its_key(text: str | None, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        s3_keys(s3(tmp_path, text), {})
    assert caught.value.field == "backup.credentials_file"
    assert str(tmp_path / "keys") in caught.value.message
    assert caught.value.hint
    assert SECRET not in caught.value.message + caught.value.hint


def test_half_a_pair_of_keys_is_refused() -> None:
    with pytest.raises(ConfigError, match="not both"):
        s3_keys(Settings(), {"AWS_ACCESS_KEY_ID": "id"})


def test_every_section_refuses_what_it_does_not_know() -> None:
    for name, info in Settings.model_fields.items():
        if isinstance(info.default, BaseModel):
            with pytest.raises(ConfigError, match=rf"{name}\.colour"):
                load(EXAMPLE, env={f"FOSSILREPO_{name.upper()}__COLOUR": "red"})


def test_temporary_keys_come_with_their_token(tmp_path: Path) -> None:
    env = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": SECRET}
    keys = s3_keys(Settings(), env)
    assert keys == S3Keys("a", "b", SECRET)
    assert SECRET not in repr(keys)
    file = written(
        tmp_path,
        "[default]\naws_access_key_id=a\naws_secret_access_key=b\naws_session_token=c\n",
        "keys",
    )
    settings = Settings.model_validate(
        {"backup": {"url": "s3://b/p", "credentials_file": str(file)}}
    )
    assert s3_keys(settings, env={}) == S3Keys("a", "b", "c")


@pytest.mark.parametrize(
    ("backup", "days"),
    [
        ({}, 7),
        ({"retention": "30d"}, 30),
        ({"snapshot_interval": "10d"}, 10),
        ({"url": "file:///mnt/other"}, 30),
        ({"url": "s3://b/p"}, 30),
    ],
)
def test_a_replica_beside_the_data_reaches_back_a_week_unless_told(
    backup: dict[str, str], days: int
) -> None:
    settings = Settings.model_validate({"backup": backup})
    assert effective_retention(settings) == days * 86400
