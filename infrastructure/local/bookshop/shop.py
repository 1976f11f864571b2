"""The bookshop as it has always been: one program, one database, SQL where it is needed.

python3 shop.py PORT DATABASE_URL
"""

import json
import re
import sys
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import postgres

TABLES = [
    """CREATE TABLE IF NOT EXISTS tbl_book (
        id integer PRIMARY KEY,
        title varchar(200) NOT NULL,
        author varchar(200) NOT NULL,
        price_cents integer NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS tbl_review (
        id varchar(36) PRIMARY KEY,
        book_id integer NOT NULL REFERENCES tbl_book (id),
        stars smallint NOT NULL CHECK (stars BETWEEN 1 AND 5),
        txt text,
        who varchar(80) NOT NULL,
        ts timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'))""",
    "CREATE INDEX IF NOT EXISTS tbl_review_book ON tbl_review (book_id)",
]
ROWS = [
    """INSERT INTO tbl_book
        SELECT n, 'Book ' || n, 'Author ' || n % 7, 500 + n * 37 % 4000 FROM generate_series(1, 40) AS n
        ON CONFLICT DO NOTHING""",
    """INSERT INTO tbl_review (id, book_id, stars, txt, who, ts)
        SELECT md5(b || '/' || n)::uuid::text, b, 1 + (b * n) % 5, NULLIF('Reading ' || n, 'Reading 3'),
               'reader ' || n, timestamp '2024-03-01 12:00:00' + n * interval '1 hour'
        FROM generate_series(1, 40) AS b, generate_series(1, 7) AS n
        ON CONFLICT DO NOTHING""",
]

mine = threading.local()


def sql(statement, *values):
    if not hasattr(mine, "connection"):
        mine.connection = postgres.Connection(sys.argv[2])
    return mine.connection.run(statement, *values)


class Shop(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        book = re.fullmatch(r"/books/(\d+)(/reviews)?", self.path)
        if self.path == "/healthz":
            self.answer(200, {"shop": "open"})
        elif self.path == "/books":
            rows = sql("SELECT id, title FROM tbl_book ORDER BY id")
            self.answer(200, {"books": [{"id": int(id), "title": title} for id, title in rows]})
        elif book and book[2]:
            self.answer(200, reviews(int(book[1])))
        elif book:
            rows = sql("SELECT id, title, author, price_cents FROM tbl_book WHERE id = $1", book[1])
            if rows:
                id, title, author, cents = rows[0]
                self.answer(200, {"id": int(id), "title": title, "author": author, "price": int(cents) / 100})
            else:
                self.answer(404, {"error": "no such book"})
        else:
            self.answer(404, {"error": "nothing here"})

    def do_POST(self):
        book = re.fullmatch(r"/books/(\d+)/reviews", self.path)
        said = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        if not book:
            return self.answer(404, {"error": "nothing here"})
        id = str(uuid.uuid4())
        try:
            sql(
                "INSERT INTO tbl_review (id, book_id, stars, txt, who) VALUES ($1, $2, $3, $4, $5)",
                id, book[1], said.get("stars"), said.get("text"), said.get("by"),
            )
        except postgres.Refused as refused:
            return self.answer(400, {"error": str(refused)})
        self.answer(201, {"id": id})

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def reviews(book):
    rows = sql(
        """SELECT id, stars, txt, who, to_char(ts, 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
           FROM tbl_review WHERE book_id = $1 ORDER BY ts, id""",
        book,
    )
    stars = [int(row[1]) for row in rows]
    return {
        "book": book,
        "average": round(sum(stars) / len(stars), 1) if stars else None,
        "reviews": [
            {"id": id, "stars": int(stars), "text": text, "by": who, "at": at} for id, stars, text, who, at in rows
        ],
    }


for statement in TABLES:
    sql(statement)
# Once: later the table may be another's, and refuse what is written here.
if not sql("SELECT FROM tbl_review LIMIT 1"):
    for statement in ROWS:
        sql(statement)
ThreadingHTTPServer.request_queue_size = 128
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Shop).serve_forever()
