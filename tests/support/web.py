"""Servers on 127.0.0.1 that commands get files from."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest import mock

PAGES = {
    "/files/one.txt": b"one\n",
    "/files/two words.txt": b"two\n",
    "/large": os.urandom(3_000_000),
    "/empty": b"",
}


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path = self.path.replace("%20", " ")
        if path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/files/one.txt")
            self.end_headers()
            return
        if path == "/cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"not a thousand bytes")
            return
        if path not in PAGES:
            self.send_error(500 if path == "/broken" else 404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(PAGES[path])))
        self.end_headers()
        self.wfile.write(PAGES[path])

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def web_server() -> Iterator[str]:
    """A web server with PAGES; gives its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, name="web server")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def s3_server(*buckets: str) -> Iterator[None]:
    """moto's S3 server, with these buckets, and the environment variables that lead to it."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    variables = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        with mock.patch.dict(os.environ, variables):
            import boto3

            client = boto3.client("s3")
            for bucket in buckets:
                client.create_bucket(Bucket=bucket)
            yield
    finally:
        server.stop()
