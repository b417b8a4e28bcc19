"""Puts digests on a connection for an initiator that knows none of its own (libiscsi 1.19 has no data digests, and its
conformance tool cannot be made to ask for header digests).

Picture: tool -- PDUs without digests --> proxy -- the same PDUs with them --> target, and back. In the login the proxy asks for
CRC-32C on behalf of the tool and tells it that there is none. Every digest of the target's is checked.
"""

import ctypes
import re
import socket
import struct
import threading

LOGIN, LOGIN_RESPONSE = 0x03, 0x23
FULL_FEATURE = 3
KEYS = (b"HeaderDigest", b"DataDigest")


def crc32c():
    function = ctypes.CDLL("libext2fs.so.2").ext2fs_crc32c_le
    function.argtypes = [ctypes.c_uint32, ctypes.c_char_p, ctypes.c_size_t]
    function.restype = ctypes.c_uint32
    return lambda data: struct.pack("<I", function(0xFFFFFFFF, data, len(data)) ^ 0xFFFFFFFF)


class Wrong(Exception):
    """The target did not do as RFC 7143 says."""


class DigestProxy:
    """Listens until it is left; `url` leads to it."""

    def __init__(self, url):
        found = re.match(r"iscsi://([^:/]+):(\d+)/(.*)$", url)
        self.address = (found[1], int(found[2]))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"iscsi://127.0.0.1:{self.listener.getsockname()[1]}/{found[3]}"
        self.crc32c = crc32c()
        self.faults = []
        self.checked = [0, 0]
        self.lock = threading.Lock()

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.close()

    def check(self):
        """That the target sent digests, and none was wrong."""
        if self.faults or 0 in self.checked:
            raise SystemExit(f"conformance: digests: {self.checked} of headers and data were right; {self.faults[:5]}")

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            link = Link(self, client, socket.create_connection(self.address))
            for direction in (link.to_target, link.to_client):
                threading.Thread(target=link.run, args=(direction,), daemon=True).start()

    def count(self, digest):
        with self.lock:
            self.checked[digest] += 1


class Link:
    """One connection."""

    def __init__(self, proxy, client, target):
        self.proxy, self.client, self.target = proxy, client, target
        self.on = False
        for end in (client, target):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def run(self, direction):
        try:
            direction()
        except Wrong as wrong:
            self.proxy.faults.append(str(wrong))
        except (OSError, EOFError):
            pass  # One side is gone: the other one goes as well.
        for end in (self.client, self.target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def to_target(self):
        stream = self.client.makefile("rb")
        while True:
            header = read(stream, 48)
            header += read(stream, header[4] * 4)
            data = read(stream, padded(data_length(header)))
            if header[0] & 0x3F == LOGIN:
                header, data = self.edit(header, data, b"CRC32C")
            if self.on:
                header += self.proxy.crc32c(header)
                data += self.proxy.crc32c(data) if data else b""
            self.target.sendall(header + data)

    def to_client(self):
        stream = self.target.makefile("rb")
        while True:
            header = read(stream, 48)
            header += read(stream, header[4] * 4)
            if self.on:
                self.verify(header, read(stream, 4), 0)
            data = read(stream, padded(data_length(header)))
            if self.on and data:
                self.verify(data, read(stream, 4), 1)
            if header[0] & 0x3F == LOGIN_RESPONSE:
                header, data = self.login_response(header, data)
            self.client.sendall(header + data)

    def verify(self, what, digest, which):
        if self.proxy.crc32c(what) != digest:
            raise Wrong(f"a digest of {len(what)} bytes is {digest.hex()}")
        self.proxy.count(which)

    def login_response(self, header, data):
        for key in KEYS:
            answer = re.search(key + rb"=([^\0]*)", data)
            if answer and answer[1] != b"CRC32C":
                raise Wrong(f"the target answers {answer[0].decode()}")
        done = header[36] == 0 and header[1] & 0x80 and header[1] & 3 == FULL_FEATURE
        self.on = bool(done)
        return self.edit(header, data, b"None")

    def edit(self, header, data, value):
        """The PDU with another value for both keys, where they stand in it."""
        text = data[: data_length(header)]
        for key in KEYS:
            text = re.sub(rb"(^|\0)" + key + rb"=[^\0]*", rb"\1" + key + b"=" + value, text)
        header = header[:5] + len(text).to_bytes(3, "big") + header[8:]
        return header, text.ljust(padded(len(text)), b"\0")


def read(stream, count):
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data


def data_length(header):
    return int.from_bytes(header[5:8], "big")


def padded(length):
    return (length + 3) // 4 * 4
