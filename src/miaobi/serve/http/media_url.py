"""Pictures and sounds that a request names by URL: `data:` always, other servers only when they were allowed by name.

A server that fetches what strangers name can be sent to its own network. So a name has to be on the list, each of its addresses has to be
public, the connection goes to the very address that was checked (a name may change what it means), and a redirect is not followed.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes, urlsplit

from miaobi.serve.http.errors import Denied

if TYPE_CHECKING:
    from miaobi.serve.http.settings import Settings

LARGEST = 32 << 20
SECONDS = 20.0  # for one fetch as a whole
STRETCH = 1 << 16
NAT64 = ipaddress.ip_network("64:ff9b::/96")


async def fetch(url: str, settings: Settings, *, param: str = "url") -> bytes:
    """The bytes that a URL means.

    Raises:
        Denied: 400 for a server that was not allowed, a private address, a redirect, too many bytes, or what is no `data:` URL.
    """
    if url[:5].lower() == "data:":
        return _data(url, param) if len(url) < STRETCH else await asyncio.to_thread(_data, url, param)
    return await asyncio.to_thread(_remote, url, settings.media_hosts, param)


def _data(url: str, param: str) -> bytes:
    """RFC 2397: `data:[type][;base64],…`."""
    head, comma, rest = url[5:].partition(",")
    if not comma:
        raise _denied("the data: URL has no comma before its data", param)
    if not head.lower().endswith(";base64"):
        return unquote_to_bytes(rest)
    try:
        return base64.b64decode("".join(rest.split()), validate=True)
    except (binascii.Error, ValueError):
        raise _denied("the data: URL is not base64", param) from None


def _remote(url: str, allowed: tuple[str, ...], param: str) -> bytes:
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower().rstrip("."), parts.port
    except ValueError:
        raise _denied("this is no URL that can be fetched", param) from None
    if parts.scheme not in ("http", "https") or not host:
        raise _denied("only data: URLs and https:// are taken", param)
    if host not in {name.lower() for name in allowed}:
        raise _denied("nothing is fetched from '{host}'; send the bytes as a data: URL", param, host=host[:200])
    if parts.username or parts.password:
        raise _denied("a URL with a password is not taken", param)
    port = port or (443 if parts.scheme == "https" else 80)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not target.isascii() or not target.isprintable() or " " in target:
        raise _denied("this is no URL that can be fetched", param)
    return _get(parts.scheme, host, port, target, param)


def public_address(host: str, port: int) -> str:
    """The address of a host, if every one that it has is public.

    Raises:
        OSError: nobody knows the host.
        PermissionError: one of its addresses is private.
    """
    found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    for text in found:
        address = ipaddress.ip_address(text.partition("%")[0])
        if not all(one.is_global and not one.is_multicast for one in (address, *_within(address))):
            raise PermissionError(text)
    return min(found)


def _within(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Iterator[ipaddress.IPv4Address]:
    """The addresses of IPv4 that one of IPv6 stands for: mapped, 6to4, NAT64."""
    if isinstance(address, ipaddress.IPv4Address):
        return
    if address in NAT64:
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    yield from filter(None, (address.ipv4_mapped, address.sixtofour))


class _Pinned(http.client.HTTPConnection):
    """A connection to an address, with the name only in the Host header and the certificate."""

    def __init__(self, address: str, host: str, port: int, *, secure: bool) -> None:
        super().__init__(host, port, timeout=SECONDS / 2)
        self._address, self._secure = address, secure

    def connect(self) -> None:
        plain = socket.create_connection((self._address, self.port), self.timeout)
        self.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=self.host) if self._secure else plain


def _get(scheme: str, host: str, port: int, target: str, param: str) -> bytes:
    """The body of a plain GET, bounded in bytes and time."""
    until = time.monotonic() + SECONDS
    try:
        connection = _Pinned(public_address(host, port), host, port, secure=scheme == "https")
    except PermissionError:
        raise _denied("'{host}' has a private address; nothing is fetched from there", param, host=host) from None
    except OSError as error:
        raise _denied("'{host}' cannot be reached ({problem})", param, host=host, problem=error) from None
    try:
        connection.request("GET", target, headers={"User-Agent": "miaobi", "Accept-Encoding": "identity"})
        answer = connection.getresponse()
        if answer.status != 200:
            raise _denied("'{host}' answered {number}; redirects are not followed", param, host=host, number=answer.status)
        data = bytearray()
        while chunk := answer.read1(STRETCH):
            data += chunk
            if len(data) > LARGEST or time.monotonic() > until:
                raise _denied("'{host}' sends too much, or too slowly", param, host=host)
        return bytes(data)
    except (OSError, http.client.HTTPException) as error:
        raise _denied("'{host}' cannot be reached ({problem})", param, host=host, problem=error) from None
    finally:
        connection.close()


def _denied(template: str, param: str, /, **values: Any) -> Denied:
    return Denied(template, status=400, param=param, **values)
