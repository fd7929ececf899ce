from __future__ import annotations

from pathlib import Path

import pytest

from app.config import LATER, NAMES, ServeConfig, is_loopback, load_serve_config
from app.errors import ConfigError


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def refused(
    options: dict[str, object] | None = None, environ: dict[str, str] | None = None, file: Path | None = None
) -> str:
    with pytest.raises(ConfigError) as caught:
        load_serve_config(options or {}, environ or {}, file)
    assert "\n" not in caught.value.message
    return caught.value.message


def test_the_defaults_are_those_of_the_contract(home: Path) -> None:
    config = load_serve_config({}, {}, None)
    ports = (config.port, config.monibuca_port, config.streamkit_port, config.instinct_port, config.nats_port)
    assert ports == (8080, 8180, 4545, 42069, 4222)
    assert (config.host, config.log_level, config.durability) == ("127.0.0.1", "info", "normal")
    assert config.data_dir.is_relative_to(home)
    assert config.given == {}


def test_options_win_over_environment_over_file_over_default(tmp_path: Path) -> None:
    file = write(tmp_path / "c.toml", 'port = 1\nnats-port = 2\nhost = "127.0.0.3"\n')
    config = load_serve_config(
        {"port": "11", "host": None}, {"CALLBOARD_PORT": "5", "CALLBOARD_NATS_PORT": "6", "OTHER": "x"}, file
    )
    assert (config.port, config.nats_port, config.host) == (11, 6, "127.0.0.3")
    assert config.given["port"] == "option --port"
    assert config.given["nats_port"] == "environment variable CALLBOARD_NATS_PORT"
    assert config.given["host"] == f"host in {file}"


def test_the_default_file_is_in_the_configuration_folder_and_may_be_missing(home: Path) -> None:
    file = home / ".config" / "callboard" / "callboard.toml"
    file.parent.mkdir(parents=True)
    write(file, "port = 9999\n")
    assert load_serve_config({}, {}, None).port == 9999


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    assert "does not exist" in refused(file=tmp_path / "none.toml")


def test_a_broken_file_is_told_with_its_place(tmp_path: Path) -> None:
    text = refused(file=write(tmp_path / "c.toml", "port = = 1"))
    assert str(tmp_path / "c.toml") in text
    assert "line 1" in text
    (tmp_path / "d.toml").write_bytes(b"name = '\xff'")
    assert "not valid TOML" in refused(file=tmp_path / "d.toml")


@pytest.mark.parametrize(
    ("options", "environ", "toml", "meant"),
    [
        ({"prot": 1}, {}, "", "did you mean --port?"),
        ({}, {"CALLBOARD_PROT": "1"}, "", "did you mean CALLBOARD_PORT?"),
        ({}, {}, "allow_network = []", "did you mean allow_networks?"),
        ({}, {}, "zebra = 1", "no setting 'zebra'."),
    ],
)
def test_near_misses_are_suggested(
    tmp_path: Path, options: dict[str, object], environ: dict[str, str], toml: str, meant: str
) -> None:
    assert meant in refused(options, environ, write(tmp_path / "c.toml", toml))


def test_variables_of_other_purpose_are_left_alone() -> None:
    environ = {
        f"CALLBOARD_{name}": "x" for name in ("TOKEN_STDIN", "TOKEN", "AGENT_KEY", "ADMIN_PASSWORD", "CA", "ZEBRA")
    }
    assert load_serve_config({}, environ, None).given == {}


@pytest.mark.parametrize("name", sorted(LATER))
def test_what_needs_a_later_version_is_refused(name: str) -> None:
    text = refused({name: "something"})
    assert f"--{name.replace('_', '-')}" in text
    assert "not part of this version yet" in text
    assert f"CALLBOARD_{name.upper()}" in refused(environ={f"CALLBOARD_{name.upper()}": "something"})


def test_ports_of_later_dialects_may_be_given() -> None:
    config = load_serve_config({"monibuca_port": "0", "streamkit_port": "0", "instinct_port": "0"}, {}, None)
    assert (config.monibuca_port, config.streamkit_port, config.instinct_port) == (0, 0, 0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"port": "eighty"}, "'eighty' is not a port number"),
        ({"port": 70000}, "70000 is not a port"),
        ({"port": -1}, "-1 is not a port"),
        ({"log_level": "loud"}, "is not one of debug, info, warning, error"),
        ({"durability": "eternal"}, "'eternal' is not one of normal, power"),
        ({"host": " "}, "may not be empty"),
        ({"nats_url": "http://x"}, "this is not the URL of a NATS server"),
        ({"nats_url": "nats://"}, "this is not the URL of a NATS server"),
        ({"nats_url": "nats://a:port"}, "this is not the URL of a NATS server"),
        ({"nats_url": "nats://a,nats://b"}, "this is not the URL of a NATS server"),
        ({"nats_url": "tls://a"}, "TLS is not part of this version yet"),
        ({"data_dir": ""}, "may not be empty"),
        ({"allow_hosts": "show.local:8080"}, "is not the name of a host"),
        ({"allow_hosts": "*"}, "is not the name of a host"),
        ({"allow_origins": "*"}, "is not an origin"),
        ({"allow_origins": "show.local"}, "is not an origin"),
        ({"allow_origins": "https://show.local/page"}, "is not an origin"),
        ({"allow_networks": "10.0.0.0/33"}, "is not a network"),
        ({"allow_networks": [1]}, "is not a list of texts"),
        ({"allow_plain": "perhaps"}, "'perhaps' is neither true nor false"),
        ({"open_agents": "perhaps"}, "'perhaps' is neither true nor false"),
        ({"local_agent": "always"}, "'always' is not one of auto, off"),
        ({"limit_login": "many"}, "'many' is not a number"),
        ({"limit_login": 0}, "0 is not a number of requests"),
        ({"limit_other": 1_000_001}, "is not a number of requests"),
        ({"purge_after": "a day"}, "'a day' is not a time; write it like 30m, 24h"),
        ({"purge_after": "400000h"}, "up to a year"),
        ({"purge_after": "0"}, "'0' is too short"),
        ({"purge_after": "59s"}, "'59s' is too short"),
        ({"purge_after": 60}, "does not fit"),
        ({"tls_cert": "cert.pem"}, "TLS needs tls_key as well"),
        ({"tls_key": "key.pem"}, "TLS needs tls_cert as well"),
        ({"tls_cert": " ", "tls_key": "key.pem"}, "may not be empty"),
    ],
)
def test_values_that_do_not_fit_are_told_with_their_setting(options: dict[str, object], says: str) -> None:
    text = refused(options)
    assert says in text
    assert f"--{next(iter(options)).replace('_', '-')}" in text


def test_the_fleets_settings_and_what_they_are_without_being_set(tmp_path: Path) -> None:
    config = load_serve_config({}, {}, None)
    assert (config.local_agent, config.open_agents, config.tls_cert, config.tls_key) == ("auto", False, None, None)
    assert (config.limit_login, config.limit_create, config.limit_other) == (5, 10, 100)
    assert config.purge_after == "24h"
    assert load_serve_config({}, {"CALLBOARD_PURGE_AFTER": "1h30m"}, None).purge_after == "1h30m"
    file = write(
        tmp_path / "c.toml", 'local-agent = "off"\nopen_agents = true\nlimit-other = 600\ntls-key = "~/k.pem"\n'
    )
    config = load_serve_config({"tls_cert": "c.pem"}, {"CALLBOARD_LIMIT_LOGIN": "50"}, file)
    assert (config.local_agent, config.open_agents, config.limit_login, config.limit_other) == ("off", True, 50, 600)
    assert config.tls_cert == Path("c.pem").absolute()
    assert config.tls_key == Path("~/k.pem").expanduser()


def test_lists_come_with_commas_or_as_lists_and_networks_are_made_canonical(tmp_path: Path) -> None:
    config = load_serve_config({"allow_networks": ("10.1.2.3/8,192.168.1.20", "fd00::/8")}, {}, None)
    assert config.allow_networks == ("10.0.0.0/8", "192.168.1.20/32", "fd00::/8")
    file = write(tmp_path / "c.toml", 'allow_origins = ["http://a", "http://b"]')
    assert load_serve_config({}, {}, file).allow_origins == ("http://a", "http://b")
    assert load_serve_config({"allow_networks": ()}, {}, None).allow_networks == ()


def test_the_data_folder_is_absolute_and_knows_home(home: Path) -> None:
    assert load_serve_config({"data_dir": "~/show"}, {}, None).data_dir == home / "show"
    assert load_serve_config({"data_dir": "show"}, {}, None).data_dir == Path.cwd() / "show"


def test_every_setting_has_a_name_and_a_place() -> None:
    assert set(NAMES) == set(ServeConfig.__struct_fields__) - {"given"}


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("localhost", True), ("[::1]", True), ("127.9.9.9", True), ("0.0.0.0", False), ("::", False)],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_names_are_no_loopback() -> None:
    assert not is_loopback("stage.local")
