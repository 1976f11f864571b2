"""What is to become of the shop's reviews: a service of its own, a WSGI application over a small store.

python3 reviews.py PORT DATABASE_URL SETTINGS.JSON [--own]

With --own the database is the service's and it makes its table; without, it works on the schema `reviews` that the
shared stage has put over the shop's tables, and never knows. The settings are read anew for each request.
"""

import json
import queue
import sys
import uuid
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import postgres

PORT, URL, SETTINGS = sys.argv[1:4]
TABLE = [
    "CREATE SCHEMA IF NOT EXISTS reviews",
    """CREATE TABLE IF NOT EXISTS reviews.review (
        id uuid PRIMARY KEY,
        book integer NOT NULL,
        rating smallint NOT NULL CHECK (rating BETWEEN 1 AND 5),
        body text,
        author varchar(80) NOT NULL,
        posted_at timestamptz NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS review_book ON reviews.review (book)",
]


class Store:
    """The table behind a few connections that requests share: a server of WSGI makes a thread for each request."""

    def __init__(self):
        self.idle = queue.LifoQueue()

    def of_book(self, book):
        return self.run(
            """SELECT id, rating, body, author, to_char(posted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
               FROM reviews.review WHERE book = $1 ORDER BY posted_at, id::text""",
            book,
        )

    def add(self, book, rating, body, author):
        id = uuid.uuid4()
        self.run(
            """INSERT INTO reviews.review (id, book, rating, body, author, posted_at)
               VALUES ($1, $2, $3, $4, $5, now())""",
            id, book, rating, body, author,
        )
        return str(id)

    def run(self, statement, *values):
        try:
            connection = self.idle.get_nowait()
        except queue.Empty:
            connection = postgres.Connection(URL)
        try:
            rows = connection.run(statement, *values)
        except postgres.Refused:
            self.idle.put(connection)
            raise
        self.idle.put(connection)
        return rows


def average(ratings):
    if not ratings:
        return None
    with open(SETTINGS) as settings:
        way = ROUND_DOWN if json.load(settings)["average"] == "cut" else ROUND_HALF_EVEN
    exact = Decimal(sum(ratings)) / len(ratings)
    return float(exact.quantize(Decimal("0.1"), rounding=way))


def listing(book, _):
    rows = store.of_book(book)
    found = [{"id": id, "stars": int(r), "text": body, "by": who, "at": at} for id, r, body, who, at in rows]
    return "200 OK", {"book": book, "average": average([one["stars"] for one in found]), "reviews": found}


def adding(book, said):
    try:
        return "201 Created", {"id": store.add(book, said.get("stars"), said.get("text"), said.get("by"))}
    except postgres.Refused as refused:
        return "400 Bad Request", {"error": str(refused)}


def application(environ, start):
    method, parts = environ["REQUEST_METHOD"], environ["PATH_INFO"].strip("/").split("/")
    if parts == ["healthz"]:
        status, answer = "200 OK", {"reviews": "open"}
    elif len(parts) == 3 and parts[0] == "books" and parts[2] == "reviews" and parts[1].isdigit():
        said = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        act = adding if method == "POST" else listing
        status, answer = act(int(parts[1]), json.loads(said or "{}"))
    else:
        status, answer = "404 Not Found", {"error": "nothing here"}
    body = json.dumps(answer).encode()
    start(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


store = Store()
if "--own" in sys.argv:
    for statement in TABLE:
        store.run(statement)
make_server("127.0.0.1", int(PORT), application, Server, Quiet).serve_forever()
