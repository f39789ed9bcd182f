"""Servers that mean harm, on real sockets: a web server, name servers, and an inner service that nobody may reach."""

import asyncio
import gzip
import ssl
import threading
from collections.abc import Mapping, Sequence
from ipaddress import IPv6Address
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

import httpcore
from dnslib import AAAA, QTYPE, RR, A, DNSRecord
from dnslib.server import BaseResolver, DNSLogger, DNSServer

PUBLIC = "93.184.215.14"
"""A public address; connections to it end at a server of the test's."""


SIGNATURE = "?signature=secret"
"""May end any of the web server's paths."""


class Hostile:
    """A web server whose paths name what it does; see :meth:`_answer`.

    Args:
        picture: what is served where it behaves.
        certificate: file with key and certificate, for TLS.
    """

    def __init__(self, picture: bytes = b"", certificate: str | None = None) -> None:
        self._picture = picture
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
            self._tls.sni_callback = self._note_name
        self.paths: list[str] = []
        self.hosts: list[str] = []
        self.tls_names: list[str | None] = []
        self.asked = asyncio.Event()
        self.left = asyncio.Event()
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _note_name(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        self.tls_names.append(name)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.current_task()
        assert serving is not None
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            path = head[0].split(" ")[1]
            self.paths.append(path)
            self.hosts += [line.partition(": ")[2] for line in head if line.lower().startswith("host:")]
            self.asked.set()
            await self._answer(
                unquote(path.removeprefix("/").removesuffix(SIGNATURE), errors="surrogateescape"), reader, writer
            )
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name, _, rest = path.partition("/")
        if name == "redirect":
            _write_head(writer, "302 Found", f"Location: {rest}")
        elif name == "loop":
            _write_head(writer, "301 Moved Permanently", f"Location: /loop/{len(self.paths)}")
        elif name == "hops":
            _write_head(writer, "307 Moved", f"Location: {'/picture' if rest == '1' else f'/hops/{int(rest) - 1}'}")
        elif name == "status":
            _write_head(writer, f"{rest} Whatever")
        elif name == "silent":
            await reader.read()
            self.left.set()
        elif name == "slow":
            await _drip(writer, b"HTTP/1.1 200 OK\r\nX: ")
        elif name == "drip":
            _write_head(writer, "200 OK", "Content-Length: 50000")
            await _drip(writer, self._picture[:20])
        else:
            await self._write_body(name, rest, writer)

    async def _write_body(self, name: str, rest: str, writer: asyncio.StreamWriter) -> None:
        body, fields = self._picture, [f"Content-Type: {rest or 'image/png'}"]
        if name == "long":  # there is more than it says
            fields.append(f"Content-Length: {len(body) // 2}")
        elif name == "short":  # there is less than it says
            fields.append(f"Content-Length: {len(body) + 1000}")
        elif name == "huge":
            fields.append(f"Content-Length: {10**12}")
        elif name == "lengths":
            fields += ["Content-Length: 1", f"Content-Length: {len(body)}"]
        elif name == "digits":
            fields.append(f"Content-Length: {'9' * 5000}")
        elif name == "gzip":
            body = gzip.compress(b"\0" * 10**7)
            fields.append("Content-Encoding: gzip")
        elif name == "html":
            body = b"<!DOCTYPE html><html><body><img src=a.png></body></html>"
        elif name == "headers":
            fields += [f"X-{i}: y" for i in range(20_000)]
        elif name == "header":
            fields.append(f"X: {'y' * 10**6}")
        elif name == "crumbs":
            fields.append("Transfer-Encoding: chunked")
            body = b"1\r\nx\r\n" * 100_000
        elif name == "extensions":
            fields.append("Transfer-Encoding: chunked")
            body = (b"1;" + b"x" * 30_000 + b"\r\nx\r\n") * 1000
        elif name == "zeros":
            _write_head(writer, "200 OK")
            await _pour(writer, b"\0" * 65536)
        elif name == "hints":
            await _pour(writer, b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000)
        elif name == "garbage":
            writer.write(b"this is not HTTP\r\n\r\n")
            return
        _write_head(writer, "200 OK", *fields)
        writer.write(body)


class Canary:
    """An inner service. Every connection is one too many, also where nothing is sent over it."""

    def __init__(self) -> None:
        self.connections = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._count, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._server.close()

    async def _count(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.close()


class NameServer(BaseResolver):
    """DNS over UDP. A name's answers are given in turn, the last one again and again.

    Args:
        answers: by name, the addresses of each answer.
    """

    def __init__(self, answers: Mapping[str, Sequence[Sequence[str]]]) -> None:
        self._answers = answers
        self.asked: list[str] = []

    def __enter__(self) -> Self:
        self._server = DNSServer(self, port=0, address="127.0.0.1", logger=DNSLogger(logf=lambda line: None))
        # The server's own thread looks only twice a second whether it should end.
        self._thread = threading.Thread(target=self._server.server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.server.shutdown()
        self._server.server.server_close()
        self._thread.join()

    def resolve(self, request: DNSRecord, handler: Any) -> DNSRecord:
        """Answer a query with all addresses, of whichever family: a name server says what it likes."""
        name = str(request.q.qname).removesuffix(".")
        reply = request.reply()
        answers = self._answers.get(name, [()])
        self.asked.append(name)
        for address in answers[min(self.asked.count(name), len(answers)) - 1]:
            record, kind = (
                (AAAA(tuple(IPv6Address(address).packed)), QTYPE.AAAA) if ":" in address else (A(address), QTYPE.A)
            )
            reply.add_answer(RR(name, kind, rdata=record, ttl=0))
        return reply

    async def ask(self, host: str, port: int) -> list[str]:
        """Look a name up, over the socket."""
        question = DNSRecord.question(host)
        at = self._server.server.server_address[1]
        reply = DNSRecord.parse(await asyncio.to_thread(question.send, "127.0.0.1", at, timeout=5))
        if not reply.rr:
            raise OSError("no such name")
        return [str(record.rdata) for record in reply.rr]


class SmallInternet(httpcore.AsyncNetworkBackend):
    """A network on which some public addresses are servers of the test's; no packet leaves the machine.

    Args:
        servers: by address, the port on the loopback that stands for all of its ports.
    """

    def __init__(self, servers: Mapping[str, int]) -> None:
        self._servers = servers
        self._tcp = httpcore.AnyIOBackend()
        self.connections: list[str] = []

    async def connect_tcp(self, host: str, port: int, *options: Any, **named: Any) -> httpcore.AsyncNetworkStream:
        self.connections.append(host)
        if host not in self._servers:
            raise httpcore.ConnectError("unreachable")
        return await self._tcp.connect_tcp("127.0.0.1", self._servers[host], *options, **named)


def _write_head(writer: asyncio.StreamWriter, status: str, *fields: str) -> None:
    writer.write(
        "\r\n".join([f"HTTP/1.1 {status}", "Connection: close", *fields, "", ""]).encode(errors="surrogateescape")
    )


async def _drip(writer: asyncio.StreamWriter, content: bytes) -> None:
    """Always one more byte, never the last."""
    for byte in content:
        writer.write(bytes([byte]))
        await writer.drain()
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


async def _pour(writer: asyncio.StreamWriter, content: bytes) -> None:
    while True:
        writer.write(content)
        await writer.drain()
