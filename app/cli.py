"""The command line: its roles and the one-line verbs for scripts and show control.

Called by ``python -m app`` and the ``callboard`` script. Each role's main is imported inside its command, so that
``--help`` and the verbs start without Qt and without a web framework. Whatever goes wrong is one line on standard
error and an exit status: 1 refused, 2 used or set up wrongly, 3 no broker (or a port or data folder in use).
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from app import __version__
from app.errors import CallboardError, ConfigError, PortInUse

REFUSED, USAGE, NO_BROKER = 1, 2, 3

F = TypeVar("F", bound=Callable[..., Any])

broker_option = click.option("--broker", metavar="URL", help="A broker elsewhere, such as http://10.0.0.5:8080.")
data_dir_option = click.option(
    "--data-dir", metavar="DIR", type=click.Path(path_type=Path), help="The data folder; its broker is the one used."
)


class Refused(Exception):
    """The broker or the request does not allow it: one line, and the exit status."""

    def __init__(self, text: str, status: int = REFUSED) -> None:
        super().__init__(text)
        self.text = text
        self.status = status


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="callboard")
@broker_option
@data_dir_option
@click.option("--ca", metavar="FILE", help="Certificates to trust with a broker that speaks TLS, PEM (the system's).")
@click.pass_context
def cli(context: click.Context, broker: str | None, data_dir: Path | None, ca: str | None) -> None:
    """Callboard: the board backstage for the streams and desktops of a show. Without a command: the console."""
    if ca is not None:
        os.environ["CALLBOARD_CA"] = str(Path(ca).expanduser().absolute())
    context.obj = {"broker": broker, "data_dir": data_dir}
    if context.invoked_subcommand is None:
        _need_a_display()
        url = _checked_url(broker) if broker is not None else None
        from app.ui.main import main as console

        raise click.exceptions.Exit(console(broker=url, data_dir=_data_dir(data_dir)))


# -- serve -----------------------------------------------------------------------------------------------------

SERVE_OPTIONS: tuple[tuple[str, str], ...] = (
    ("host", "Address to listen on (127.0.0.1)."),
    ("port", "Main port (8080); 0 is any free one, here and below."),
    ("monibuca-port", "Port of the Monibuca dialect (8180)."),
    ("streamkit-port", "Port of the StreamKit dialect (4545)."),
    ("instinct-port", "Port of the Instinct dialect (42069)."),
    ("nats-port", "Port of the embedded NATS server (4222)."),
    ("nats-url", "Use this NATS server instead of the embedded one."),
    ("data-dir", "The data folder (the user's data folder)."),
    ("redis-url", "Live state in Redis."),
    ("database-url", "PostgreSQL instead of SQLite."),
    ("tls-cert", "Certificate for TLS, PEM, with what leads to its authority."),
    ("tls-key", "Its key, PEM, without a password."),
    ("local-agent", "auto: start an agent for this machine where Xvnc is installed; or off (auto)."),
    ("limit-login", "Logins a minute from one address (5)."),
    ("limit-create", "New desktop sessions a minute of one user (10)."),
    ("limit-other", "Other requests a minute of one user to the StreamSpace API (100)."),
    ("purge-after", "How long an ended desktop session can be read, with its log (24h)."),
    ("novnc-folder", "A folder of noVNC that viewers get instead of the built-in one."),
    ("log-level", "debug, info, warning or error (info)."),
    ("durability", "normal, or power: survive a power cut too (normal)."),
    ("name", "The broker's name on the strip (the host's name)."),
)
SERVE_LISTS: tuple[tuple[str, str], ...] = (
    ("allow-networks", "Networks that may reach this broker, CIDR, with commas or repeated."),
    ("allow-origins", "Origins of web pages that may call this broker."),
    ("allow-hosts", "Further names under which this broker is called."),
)


def _serve_options(command: F) -> F:
    """Add every setting of ``serve``; their values stay texts, since ``config.py`` checks them all alike."""
    for name, text in reversed(SERVE_LISTS):
        command = click.option(f"--{name}", multiple=True, metavar="LIST", help=text)(command)
    for name, text in reversed(SERVE_OPTIONS):
        command = click.option(f"--{name}", metavar="VALUE", help=text)(command)
    return command


@cli.command()
@_serve_options
@click.option("--allow-plain", is_flag=True, default=None, help="Accept passwords and keys without TLS off loopback.")
@click.option("--open-agents", is_flag=True, default=None, help="Let agents on this machine register without a key.")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="The TOML configuration.")
@click.pass_context
def serve(context: click.Context, /, config: Path | None, **options: Any) -> None:
    """The broker alone.

    Each option is also a key of the configuration and a variable CALLBOARD_<NAME>.
    """
    from app.config import load_serve_config

    if options["data_dir"] is None and context.obj["data_dir"] is not None:
        options["data_dir"] = str(context.obj["data_dir"])
    variable = os.environ.get("CALLBOARD_CONFIG")
    file = config or (Path(variable) if variable else None)
    settings = load_serve_config(options, os.environ, file)
    gc.disable()  # half a second of imports makes no rubbish, and collecting it takes a quarter more
    from app.server.main import run

    raise click.exceptions.Exit(run(settings, ready=_print_line))


def _print_line(line: dict[str, Any]) -> None:
    """The readiness line, the only thing that ``serve`` ever prints to standard output."""
    import msgspec

    sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
    sys.stdout.flush()


# -- demo ------------------------------------------------------------------------------------------------------


@cli.command()
@click.option("--headless", is_flag=True, help="Without the window; stays until it is ended.")
@click.option("--publishers", type=click.IntRange(0, 20_000), metavar="N", help="How many streams to advertise.")
@click.option("--agents", type=click.IntRange(0, 1_000), default=0, metavar="N", help="Simulated agents (none).")
@click.option("--no-desktops", is_flag=True, help="Without the agents that run desktops on this machine.")
@click.option("--broker", metavar="URL", help="Only the demo's publishers and consumers, on that broker.")
@click.option("--force", is_flag=True, help="With --broker: although other streams live there.")
@click.option("--nats-url", metavar="URL", help="With --broker: the NATS server of that broker.")
@data_dir_option
def demo(
    headless: bool,
    publishers: int | None,
    agents: int,
    no_desktops: bool,
    broker: str | None,
    force: bool,
    nats_url: str | None,
    data_dir: Path | None,
) -> None:
    """A living venue to try Callboard on.

    Console, broker, publishers, consumers and, where Xvnc is installed, agents with desktops, in a data folder and on
    ports of their own. Simulated agents speak as agents do and run nothing.
    """
    from app.demo import main as venue

    size = venue.Size(publishers, agents, desktops=not no_desktops)
    if broker is not None:
        own = _data_dir(None)
        url, token = _given(broker, own)
        key = os.environ.get("CALLBOARD_AGENT_KEY") or _machine_key(url, own)
        raise click.exceptions.Exit(venue.visit(url, nats_url, token, key, size, force=force, ready=_print_line))
    folder = data_dir or _data_dir(None) / "demo"
    if headless:
        raise click.exceptions.Exit(venue.headless(folder, size, ready=_print_line))
    _need_a_display()
    with venue.beside_window(folder, size):
        from app.ui.main import main as console

        code = console(broker=None, data_dir=folder, serve_options=venue.SERVE_OPTIONS, demo=True)
    raise click.exceptions.Exit(code)


@cli.command("demo-clients", hidden=True)
@click.option("--publishers", type=int)
@click.option("--agents", type=int, default=0)
@click.option("--no-desktops", is_flag=True)
@click.option("--data-dir", type=click.Path(path_type=Path), required=True)
def demo_clients(publishers: int | None, agents: int, no_desktops: bool, data_dir: Path) -> None:
    """The demo's publishers and consumers beside the window; ends, with the broker, when its standard input does."""
    from app.demo import main as venue

    raise click.exceptions.Exit(venue.companions(data_dir, venue.Size(publishers, agents, desktops=not no_desktops)))


# -- one-line verbs --------------------------------------------------------------------------------------------


@cli.command()
@click.argument("stream")
@click.option("--as", "preset", required=True, metavar="PRESET", help="The consumer preset, by name or id.")
@broker_option
@data_dir_option
@click.pass_context
def take(context: click.Context, stream: str, preset: str, broker: str | None, data_dir: Path | None) -> None:
    """Take STREAM to the consumer of a preset.

    STREAM is an id, the beginning of an id, or a name.
    """
    from app.client import verbs

    address = _address(context, broker, data_dir)
    _say(verbs.run(verbs.take_stream(address, stream, preset)))


@cli.command()
@click.argument("session")
@broker_option
@data_dir_option
@click.pass_context
def kick(context: click.Context, session: str, broker: str | None, data_dir: Path | None) -> None:
    """End SESSION of a stream, or send away whoever looks at a desktop, which goes on.

    SESSION is an id, the beginning of an id, or the name of its stream, consumer or desktop; a viewer has an id too.
    """
    from app.client import verbs

    address = _address(context, broker, data_dir)
    _say(verbs.run(verbs.kick_session(address, session)))


@cli.command()
@click.argument("agent")
@click.option("--undo", is_flag=True, help="Let the agent take new sessions again.")
@broker_option
@data_dir_option
@click.pass_context
def drain(context: click.Context, agent: str, undo: bool, broker: str | None, data_dir: Path | None) -> None:
    """Let AGENT take no new sessions; those that it has go on.

    AGENT is an id, or the beginning of one.
    """
    from app.client import verbs

    address = _address(context, broker, data_dir)
    _say(verbs.run(verbs.drain_agent(address, agent, undo=undo)))


# -- agent -----------------------------------------------------------------------------------------------------

AGENT_OPTIONS: tuple[tuple[str, str], ...] = (
    ("agent-id", "The agent's name (platform and host)."),
    ("region", "Where it stands."),
    ("key", "The agent's key; better given as CALLBOARD_AGENT_KEY, which others on this machine cannot see."),
    ("log-level", "debug, info, warning or error (info)."),
)
AGENT_PATHS: tuple[tuple[str, str], ...] = (
    ("state-dir", "Where journal, sessions and homes are kept."),
    ("config", "TOML of the platform: targets of attach, engine of docker."),
    ("ca", "Certificates to trust, PEM (the system's)."),
)


def _agent_options(command: F) -> F:
    for name, text in reversed(AGENT_PATHS):
        command = click.option(f"--{name}", type=click.Path(path_type=Path), metavar="PATH", help=text)(command)
    for name, text in reversed(AGENT_OPTIONS):
        command = click.option(f"--{name}", metavar="VALUE", help=text)(command)
    return command


@cli.command()
@broker_option
@click.option("--platform", default="local", metavar="NAME", help="local, attach or docker (local).")
@_agent_options
@click.option("--max-sessions", type=int, metavar="N", help="How many sessions it takes.")
@click.option("--end-sessions", is_flag=True, help="End every session when the agent ends.")
@click.option("--parent", type=int, hidden=True)
@data_dir_option
@click.pass_context
def agent(context: click.Context, /, broker: str | None, data_dir: Path | None, **options: Any) -> None:
    """An agent: runs desktop sessions on this machine for a broker."""
    from app.agent.main import AgentOptions, run

    folder = _data_dir(data_dir or context.obj["data_dir"])
    url = broker or context.obj["broker"]
    if url is None:
        url = _address(context, None, data_dir).url
    key = options.pop("key") or os.environ.get("CALLBOARD_AGENT_KEY") or _machine_key(url, folder)
    log_level = options.pop("log_level") or "info"
    settings = AgentOptions(broker=url, key=key, log_level=log_level, **options)
    raise click.exceptions.Exit(run(settings))


def _machine_key(broker: str, folder: Path) -> str | None:
    """The key that a broker on this machine keeps for agents of the same account; another broker never sees it."""
    from app.client.broker_file import read_agent_key, runs_here

    return read_agent_key(folder) if runs_here(broker) else None


# -- what the commands share -----------------------------------------------------------------------------------


def _need_a_display() -> None:
    """Refuse to open a window where there can be none: Qt would end the process with an abort."""
    known = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    if sys.platform == "linux" and not any(os.environ.get(name) for name in known):
        raise ConfigError(
            "There is no display here, neither DISPLAY nor WAYLAND_DISPLAY is set; "
            "`callboard serve` runs the broker alone, `callboard demo --headless` the demo."
        )


def _say(outcome: Any) -> None:
    """Print what a verb did, or refuse in its words."""
    if not outcome.ok:
        raise Refused(outcome.text)
    click.echo(outcome.text)


def _address(context: click.Context, broker: str | None, data_dir: Path | None) -> Any:
    """The broker that a verb speaks to: the one given, or the one that runs in the data folder."""
    from app.client.verbs import Address

    url = broker or context.obj["broker"]
    folder = _data_dir(data_dir or context.obj["data_dir"])
    if url is not None:
        return Address(*_given(url, folder))
    from app.client.broker_file import main_url, read_token, running_broker

    found = running_broker(folder)
    main = main_url(found) if found is not None else None
    if main is None:
        raise Refused(f"No broker runs in {folder}; start one with `callboard` or `callboard serve`.", NO_BROKER)
    return Address(main, read_token(folder))


def _given(broker: str, data_dir: Path) -> tuple[str, str | None]:
    """A broker given by address, and its token: CALLBOARD_TOKEN, our own broker's, or the keyring's."""
    url = _checked_url(broker)
    token = os.environ.get("CALLBOARD_TOKEN")
    if token:
        return url, token
    from app.client.broker_file import main_url, read_token, running_broker

    own = running_broker(data_dir)
    main = main_url(own) if own is not None else None
    if main is not None and url in (main, main.replace("//127.0.0.1", "//localhost")):
        return main, read_token(data_dir)  # never to whoever else ``localhost`` may be
    from app.client.credentials import Credentials, CredentialsError
    from app.client.verbs import run

    try:
        return url, run(Credentials().get(url))
    except CredentialsError:
        return url, None


def _checked_url(broker: str) -> str:
    """A broker's address in canonical form."""
    from app.client.transport import base_url_of

    return base_url_of(broker)


def _data_dir(given: Path | None) -> Path:
    """The data folder as the broker will understand it; a broken configuration is the broker's to report."""
    from app import paths
    from app.config import load_serve_config

    options = {"data_dir": None if given is None else str(given)}
    try:
        return load_serve_config(options, os.environ, None).data_dir
    except ConfigError:
        return (given or Path(os.environ.get("CALLBOARD_DATA_DIR") or paths.data_dir())).expanduser().absolute()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status. Every expected failure is one line on standard error."""
    try:
        result = cli.main(
            args=None if arguments is None else list(arguments), prog_name="callboard", standalone_mode=False
        )
    except click.exceptions.Abort:
        return 130
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except Refused as error:
        return _fail(error.text, error.status)
    except ConfigError as error:
        return _fail(error.message, USAGE)
    except PortInUse as error:
        return _fail(error.message, NO_BROKER)
    except CallboardError as error:
        no_broker = error.code in ("unreachable", "timeout")
        return _fail(error.message, NO_BROKER if no_broker else REFUSED)
    except KeyboardInterrupt:
        return 130
    return result if isinstance(result, int) else 0


def _fail(text: str, code: int) -> int:
    line = " ".join(text.split())
    sys.stderr.write(f"callboard: {line}\n")
    return code
