"""A collector that misbehaves, over HTTP/1 and over gRPC: one function for each way, on bare sockets, so that it can do
what no server's library does. Listens on 127.0.0.1 alone. Needs nothing but Python's library.
"""

from __future__ import annotations

import base64
import gzip
import itertools
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

MEGABYTE = 1 << 20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 5, 6, 7, 8, 9
END_STREAM, END_HEADERS = 1, 4

# What is done with a connection before a byte of it is read, with the settings of HTTP/2, and with a request that was
# read. Yields what is sent; `Close` and `Reset` end the connection.
ON_CONNECTION: dict[str, Callable[[], Iterator[object]]] = {}
ON_HTTP: dict[str, Callable[[], Iterator[object]]] = {}
ON_SETTINGS: dict[str, Callable[[], Iterator[object]]] = {}
ON_GRPC: dict[str, Callable[[int], Iterator[object]]] = {}


class Close:
    """Ends the connection."""


class Reset:
    """Ends it with a TCP reset."""


def way(of: dict, name: str | None = None):
    def add(function):
        of[name or function.__name__] = function
        return function

    return add


# Connections.


@way(ON_CONNECTION)
def resets_at_once():
    yield Reset


@way(ON_CONNECTION)
def says_nothing():
    while True:
        time.sleep(0.02)
        yield b""


@way(ON_CONNECTION)
def begins_with_noise():
    yield os.urandom(4096)
    time.sleep(0.1)
    yield Close


# HTTP/1.

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\n"


def whole(head: bytes, body: bytes = b"") -> bytes:
    return head + b"content-length: %d\r\n\r\n" % len(body) + body


def bytes_field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2]) + varint(len(value)) + value


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def partial_success(rejected: int, message: bytes) -> bytes:
    return bytes_field(1, b"\x08" + varint(rejected % (1 << 64)) + bytes_field(2, message))


for status in (101, 199, 204, 206, 301, 307, 404, 418, 500, 599, 999):
    ON_HTTP[f"status_{status}"] = lambda status=status: iter([whole(b"HTTP/1.1 %d What\r\n" % status)])
for name, value in {
    "far": b"18446744073709551615",
    "past": b"-5",
    "noise": b"\xff\xfe",
    "old_date": b"Wed, 21 Oct 2015 07:28:00 GMT",
}.items():
    head = b"HTTP/1.1 503 What\r\nretry-after: " + value + b"\r\n"
    if name != "far":
        ON_HTTP[f"come_back_{name}"] = lambda head=head: iter([whole(head)])
for name, answer in {
    "half_a_status": b"HTTP/1.1 20",
    "half_a_header": OK + b"content-le",
    "half_a_body": OK + b"content-length: 100\r\n\r\nabc",
    "http_0_9": b"hello\n",
    "nothing": b"",
}.items():
    ON_HTTP[name] = lambda answer=answer: iter([answer, Close])
for name, answer in {
    "a_length_below_zero": OK + b"content-length: -1\r\n\r\n",
    "two_lengths": OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
    "two_answers": whole(OK) * 3,
    "a_status_of_noise": os.urandom(200) + b"\r\n\r\n",
    "an_answer_of_noise": whole(OK, os.urandom(5000)),
    "more_rejected_than_sent": whole(OK, partial_success((1 << 63) - 1, b"\x1b[31m\r\n" + b"A" * 3000)),
    "fewer_than_none_rejected": whole(OK, partial_success(-1, b"no")),
    "an_answer_packed_unasked": whole(OK + b"content-encoding: gzip\r\n", gzip.compress(bytes(10 * MEGABYTE))),
}.items():
    ON_HTTP[name] = lambda answer=answer: iter([answer])


@way(ON_HTTP)
def resets():
    yield Reset


@way(ON_HTTP)
def a_huge_answer():
    yield OK + b"content-length: %d\r\n\r\n" % (100 * MEGABYTE)
    yield from itertools.repeat(bytes(1 << 16), 1600)


@way(ON_HTTP)
def a_refusal_without_end():
    yield b"HTTP/1.1 400 What\r\n\r\n"
    yield from itertools.repeat(b"x" * (1 << 16))


@way(ON_HTTP)
def a_chunk_for_each_byte():
    yield OK + b"transfer-encoding: chunked\r\n\r\n"
    while True:
        time.sleep(0.002)
        yield b"1\r\nx\r\n"


@way(ON_HTTP)
def headers_without_end():
    yield b"HTTP/1.1 200 OK\r\n"
    yield from (b"x-%d: %s\r\n" % (number, b"y" * 1000) for number in itertools.count())


@way(ON_HTTP)
def a_header_byte_by_byte():
    yield b"HTTP/1.1 200 OK\r\n"
    while True:
        time.sleep(0.02)
        yield b"x"


@way(ON_HTTP)
def hundred_continue_without_end():
    while True:
        time.sleep(0.0005)
        yield b"HTTP/1.1 100 Continue\r\n\r\n"


# gRPC.


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload


def literal(*headers: tuple[str, str | bytes]) -> bytes:
    """HPACK without a table and without packing."""

    def text(value: str | bytes) -> bytes:
        value = value.encode() if isinstance(value, str) else value
        if len(value) < 127:
            return bytes([len(value)]) + value
        return b"\x7f" + varint(len(value) - 127) + value

    return b"".join(b"\0" + text(name) + text(value) for name, value in headers)


HEAD = (":status", "200"), ("content-type", "application/grpc")


def begin(stream: int, *more: tuple[str, str]) -> bytes:
    return frame(HEADERS, END_HEADERS, stream, literal(*HEAD, *more))


def message(stream: int, payload: bytes = b"", flag: int = 0, length: int | None = None) -> bytes:
    prefix = bytes([flag]) + struct.pack("!I", len(payload) if length is None else length)
    whole = prefix + payload
    parts = [whole[at : at + 16384] for at in range(0, len(whole), 16384)]
    return b"".join(frame(DATA, 0, stream, part) for part in parts)


def end(stream: int, *trailers: tuple[str, str | bytes]) -> bytes:
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, literal(*trailers))


def refuse(stream: int, *trailers: tuple[str, str | bytes]) -> bytes:
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, literal(*HEAD, *trailers))


def retry_info(seconds: int, nanos: int = 0) -> str:
    delay = b"\x08" + varint(seconds % (1 << 64)) + b"\x10" + varint(nanos % (1 << 64))
    detail = bytes_field(1, b"type.googleapis.com/google.rpc.RetryInfo") + bytes_field(2, bytes_field(1, delay))
    return base64.b64encode(b"\x08\x0e" + bytes_field(3, detail)).decode()


for name, settings in {
    "no_window": struct.pack("!HI", 4, 0),
    "no_streams": struct.pack("!HI", 3, 0),
    "a_frame_size_of_one": struct.pack("!HI", 5, 1),
    "half_a_setting": b"\0",
}.items():
    ON_SETTINGS[name] = lambda settings=settings: iter([frame(SETTINGS, 0, 0, settings)])


@way(ON_SETTINGS)
def leaves_before_it_begins():
    yield frame(SETTINGS, 0, 0)
    yield frame(GOAWAY, 0, 0, struct.pack("!II", 0, 0) + b"\x1b[2Jgo away\n" * 10)
    time.sleep(0.05)
    yield Close


@way(ON_SETTINGS)
def settings_without_end():
    yield from itertools.repeat(frame(SETTINGS, 0, 0, struct.pack("!HI", 4, 65535)) * 50)


@way(ON_SETTINGS)
def pings_without_end():
    yield frame(SETTINGS, 0, 0)
    while True:
        time.sleep(0.001)
        yield frame(PING, 0, 0, b"12345678") * 50


@way(ON_SETTINGS)
def a_window_that_overflows():
    yield frame(SETTINGS, 0, 0) + frame(WINDOW_UPDATE, 0, 0, struct.pack("!I", 0x7FFFFFFF))


@way(ON_SETTINGS)
def answers_in_http_1():
    yield b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"
    yield Close


for reason in (0, 1, 2, 7, 8, 11, 13, 99):
    ON_GRPC[f"resets_the_stream_{reason}"] = lambda stream, reason=reason: iter(
        [frame(RST_STREAM, 0, stream, struct.pack("!I", reason))]
    )
for details in ("!!!!notbase64", "AAAA,AAAA", "-_-_", "AAAA ", "AAAAA", ""):
    ON_GRPC[f"details_{details!r}"] = lambda stream, details=details: iter(
        [refuse(stream, ("grpc-status", "14"), ("grpc-status-details-bin", details))]
    )
for name, arguments in {"past": (-5, -999999999), "nowhere": (0, 2**31 - 1)}.items():
    ON_GRPC[f"come_back_{name}"] = lambda stream, arguments=arguments: iter(
        [refuse(stream, ("grpc-status", "14"), ("grpc-status-details-bin", retry_info(*arguments)))]
    )
for name, answer in {
    "no_trailers": lambda stream: begin(stream) + frame(DATA, END_STREAM, stream),
    "no_status": lambda stream: begin(stream) + message(stream) + end(stream, ("x", "y")),
    "a_status_that_is_none": lambda stream: refuse(
        stream, ("grpc-status", "abc"), ("grpc-message", b"%ZZ%1b[31m%0aevil%ff")
    ),
    "a_status_of_999": lambda stream: refuse(stream, ("grpc-status", "999")),
    "a_message_of_noise": lambda stream: begin(stream) + message(stream, os.urandom(3000)) + end(stream, TAKEN),
    "a_length_that_lies": lambda stream: begin(stream) + message(stream, b"x" * 9, 0, 0xFFFFFFFF) + end(stream, TAKEN),
    "packed_without_a_word": lambda stream: begin(stream) + message(stream, b"x", 1) + end(stream, TAKEN),
    "packed_in_no_known_way": lambda stream: (
        begin(stream, ("grpc-encoding", "br")) + message(stream, b"x", 1) + end(stream, TAKEN)
    ),
    "a_packed_bomb": lambda stream: (
        begin(stream, ("grpc-encoding", "gzip"))
        + message(stream, gzip.compress(bytes(50 * MEGABYTE)), 1)
        + end(stream, TAKEN)
    ),
    "a_proxy_answers": lambda stream: frame(
        HEADERS, END_HEADERS | END_STREAM, stream, literal((":status", "503"), ("retry-after", "0"))
    ),
    "a_page_answers": lambda stream: (
        frame(HEADERS, END_HEADERS, stream, literal((":status", "200"), ("content-type", "text/html")))
        + frame(DATA, END_STREAM, stream, b"<html>")
    ),
    "frames_of_noise": lambda _: os.urandom(20000),
    "headers_of_noise": lambda stream: frame(HEADERS, END_HEADERS, stream, os.urandom(200)),
    "a_promise": lambda stream: frame(PUSH_PROMISE, END_HEADERS, stream, struct.pack("!I", 2) + literal(*HEAD)),
    "an_answer_to_nobody": lambda stream: begin(stream + 100) + end(stream + 100, TAKEN),
    "silence": lambda _: b"",
}.items():
    ON_GRPC[name] = lambda stream, answer=answer: iter([answer(stream)])
TAKEN = ("grpc-status", "0")


@way(ON_GRPC)
def leaves_gracefully(stream):
    yield frame(GOAWAY, 0, 0, struct.pack("!II", max(stream - 2, 0), 0))
    time.sleep(0.05)
    yield Close


@way(ON_GRPC)
def leaves_and_wants_calm(stream):
    yield frame(GOAWAY, 0, 0, struct.pack("!II", stream, 11) + b"ENHANCE_YOUR_CALM")
    time.sleep(0.02)
    yield Close


@way(ON_GRPC)
def resets_the_connection(_stream):
    yield Reset


@way(ON_GRPC)
def huge_trailers(stream):
    yield begin(stream) + message(stream)
    block = literal(TAKEN, ("grpc-message", "A" * 2_000_000))
    parts = [block[at : at + 16384] for at in range(0, len(block), 16384)]
    for number, part in enumerate(parts):
        flags = (END_STREAM if number == 0 else 0) | (END_HEADERS if number == len(parts) - 1 else 0)
        yield frame(CONTINUATION if number else HEADERS, flags, stream, part)


@way(ON_GRPC)
def headers_that_go_on_without_end(stream):
    yield frame(HEADERS, 0, stream, literal(*HEAD))
    for number in itertools.count():
        yield frame(CONTINUATION, 0, stream, literal((f"x-{number}", "y" * 2000)))


@way(ON_GRPC)
def a_huge_message(stream):
    yield begin(stream) + frame(DATA, 0, stream, b"\0" + struct.pack("!I", 100 * MEGABYTE))
    yield from itertools.repeat(frame(DATA, 0, stream, bytes(16384)), 6400)


@way(ON_GRPC)
def empty_frames_without_end(stream):
    yield begin(stream)
    while True:
        time.sleep(0.001)
        yield frame(DATA, 0, stream)


WAYS = {
    "http/protobuf": [*ON_CONNECTION, *ON_HTTP],
    "grpc": [*ON_CONNECTION, *ON_SETTINGS, *ON_GRPC],
}


class Misbehaving:
    """Takes everything while `way` is None."""

    def __init__(self) -> None:
        self.way: str | None = None
        self.taken = 0
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.settimeout(20)
                if self.way in ON_CONNECTION and self._act(connection, ON_CONNECTION[self.way]()):
                    return
                first = self._exactly(connection, len(PREFACE))
                (self._grpc if first == PREFACE else self._http)(connection, first)
            except OSError:
                pass

    def _act(self, connection: socket.socket, actions: Iterator[object]) -> bool:
        """True: the connection has ended. Breaks off when another way is set."""
        way = self.way
        for action in actions:
            if self.way != way:
                return True
            if action is Reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if action in (Close, Reset):
                return True
            connection.sendall(action)
        return False

    @staticmethod
    def _exactly(connection: socket.socket, count: int) -> bytes:
        read = b""
        while len(read) < count:
            more = connection.recv(count - len(read))
            if not more:
                raise OSError
            read += more
        return read

    def _http(self, connection: socket.socket, read: bytes) -> None:
        while True:
            while b"\r\n\r\n" not in read:
                read += self._exactly(connection, 1)
            head, _, body = read.partition(b"\r\n\r\n")
            [length] = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            missing = int(length.split(b":")[1]) - len(body)
            body += self._exactly(connection, missing) if missing > 0 else b""
            read = b""
            if self.way in ON_HTTP:
                if self._act(connection, ON_HTTP[self.way]()):
                    return
            else:
                self.taken += 1
                connection.sendall(whole(OK))

    def _grpc(self, connection: socket.socket, _preface: bytes) -> None:
        if self.way in ON_SETTINGS:
            if self._act(connection, ON_SETTINGS[self.way]()):
                return
        else:
            connection.sendall(frame(SETTINGS, 0, 0))
        while True:
            head = self._exactly(connection, 9)
            length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            stream = int.from_bytes(head[5:9], "big")
            payload = self._exactly(connection, length)
            if kind in (SETTINGS, PING) and not flags & 1:
                connection.sendall(frame(kind, 1, 0, payload if kind == PING else b""))
            elif kind == DATA:
                if length and self.way != "no_window":
                    connection.sendall(frame(WINDOW_UPDATE, 0, 0, struct.pack("!I", length)))
                if flags & END_STREAM and self._answer(connection, stream):
                    return

    def _answer(self, connection: socket.socket, stream: int) -> bool:
        if self.way in ON_GRPC:
            return self._act(connection, ON_GRPC[self.way](stream))
        self.taken += 1
        connection.sendall(begin(stream) + message(stream) + end(stream, TAKEN))
        return False
