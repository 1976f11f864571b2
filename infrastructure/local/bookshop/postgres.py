"""As much of PostgreSQL's protocol as the two programs of the shop need, so that they need no package.

A connection is for one thread at a time. Values go as text beside the statement, never inside of it.
"""

import base64
import hashlib
import hmac
import secrets
import socket
import struct
import urllib.parse


class Refused(Exception):
    """What the server said."""


class Connection:
    def __init__(self, url):
        place = urllib.parse.urlparse(url)
        self.password = urllib.parse.unquote(place.password or "")
        self.socket = socket.create_connection((place.hostname, place.port or 5432))
        self.stream = self.socket.makefile("rb")
        words = ["user", urllib.parse.unquote(place.username), "database", place.path.lstrip("/"), ""]
        body = struct.pack("!i", 196608) + b"".join(word.encode() + b"\0" for word in words)
        self.socket.sendall(struct.pack("!i", len(body) + 4) + body)
        while self._receive()[0] != b"Z":
            pass

    def run(self, statement, *values):
        """The rows of a statement, as lists of text and None."""
        wanted = struct.pack("!h", len(values))
        for value in values:
            text = None if value is None else str(value).encode()
            wanted += struct.pack("!i", -1) if text is None else struct.pack("!i", len(text)) + text
        self._send(b"P", b"\0" + statement.encode() + b"\0" + struct.pack("!h", 0))
        self._send(b"B", b"\0\0" + struct.pack("!h", 0) + wanted + struct.pack("!h", 0))
        self._send(b"E", b"\0" + struct.pack("!i", 0))
        self._send(b"S", b"")
        rows, refused = [], None
        while True:
            try:
                kind, body = self._receive()
            except Refused as error:
                refused = error
                continue
            if kind == b"D":
                rows.append(_row(body))
            elif kind == b"Z":
                if refused:
                    raise refused
                return rows

    def _send(self, kind, body):
        self.socket.sendall(kind + struct.pack("!i", len(body) + 4) + body)

    def _receive(self):
        head = self.stream.read(5)
        if len(head) < 5:
            raise ConnectionError("PostgreSQL has closed the connection")
        body = self.stream.read(struct.unpack("!i", head[1:])[0] - 4)
        if head[:1] == b"E":
            fields = {part[:1]: part[1:].decode() for part in body.split(b"\0") if part}
            raise Refused(fields.get(b"M", "no reason given"))
        if head[:1] == b"R":
            self._prove(struct.unpack("!i", body[:4])[0], body[4:])
        return head[:1], body

    def _prove(self, step, said):
        """SCRAM-SHA-256 (RFC 5802, RFC 7677), without a channel binding."""
        if step == 10:
            self.first = "n=,r=" + secrets.token_urlsafe(18)
            text = ("n,," + self.first).encode()
            self._send(b"p", b"SCRAM-SHA-256\0" + struct.pack("!i", len(text)) + text)
        elif step == 11:
            fields = dict(part.split("=", 1) for part in said.decode().split(","))
            salted = hashlib.pbkdf2_hmac(
                "sha256", self.password.encode(), base64.b64decode(fields["s"]), int(fields["i"])
            )
            client = hmac.digest(salted, b"Client Key", "sha256")
            final = "c=biws,r=" + fields["r"]
            signed = f"{self.first},{said.decode()},{final}".encode()
            signature = hmac.digest(hashlib.sha256(client).digest(), signed, "sha256")
            proof = bytes(one ^ other for one, other in zip(client, signature))
            self._send(b"p", f"{final},p={base64.b64encode(proof).decode()}".encode())
        elif step not in (0, 12):
            raise ConnectionError("this server wants another proof than SCRAM-SHA-256")


def _row(body):
    values, place = [], 2
    for _ in range(struct.unpack("!h", body[:2])[0]):
        (length,) = struct.unpack("!i", body[place : place + 4])
        place += 4
        values.append(None if length < 0 else body[place : place + length].decode())
        place += max(length, 0)
    return values
