"""A server on this machine that answers for all others, so that downloads go through the real stack."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
import requests


@contextmanager
def serve(files: Mapping[str, bytes], cut: Mapping[str, int] | None = None) -> Iterator[list[str]]:
    """Answer any address by the last part of its path; yields the list of what was asked for.

    Args:
        files: what is served.
        cut: how many bytes of a file arrive before the connection breaks.
    """
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            if name not in files:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(files[name])))
            self.end_headers()
            self.wfile.write(files[name][: (cut or {}).get(name)])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    get = requests.get

    def redirected(url: str, **options: Any) -> requests.Response:
        asked.append(url)
        return get(f"http://127.0.0.1:{server.server_port}/{url.rpartition('/')[2]}", **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requests, "get", redirected)
        patch.setenv("NO_PROXY", "127.0.0.1")
        try:
            yield asked
        finally:
            server.shutdown()
            server.server_close()
