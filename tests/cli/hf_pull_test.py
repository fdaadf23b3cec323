# SPDX-License-Identifier: Apache-2.0
"""onebeat pull hf:OWNER/REPO/FILE against a server of this test that answers as Hugging Face does: large files lie on
another server and are named by their SHA-256, small ones by git's name of their content."""

import hashlib
import http.server
import json
import os
import signal
import subprocess
import threading
import time

import program

BIG = bytes(i * 7919 % 251 for i in range(3_000_000))
SMALL = b'{"a": 1}\n'
TOKEN = "hf_verySecretToken"


def git_name(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """What a test sets decides how it answers; what it saw is kept."""

    daemon_threads = True

    def __init__(self, handler):
        super().__init__(("127.0.0.1", 0), handler)
        self.seen = []  # (method, path, range, authorization)
        self.address = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def note(self):
        self.server.seen.append((self.command, self.path, self.headers.get("Range"), self.headers.get("Authorization")))

    def answer(self, code, body=b"", **headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self):
        self.do_GET()


class Storage(Handler):
    """Where large files lie. server.cut: connections end after so many bytes; server.ranges: knows them."""

    def do_GET(self):
        self.note()
        content, begin, code = self.server.content, 0, 200
        if self.server.ranges and self.headers.get("Range"):
            begin, code = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")), 206
            if begin >= len(content):
                return self.answer(416)
        body = content[begin:]
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        if code == 206:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.server.cut is not None:
            body = body[:self.server.cut]
            self.close_connection = True
        if self.server.slow:
            for at in range(0, len(body), 65536):
                self.wfile.write(body[at:at + 65536])
                time.sleep(0.05)
        else:
            self.wfile.write(body)


class Hub(Handler):

    def do_GET(self):
        self.note()
        hub = self.server
        place = self.path.removeprefix("/owner/repo/resolve/main/")
        if hub.private and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401)
        if place == "big.gguf":
            return self.answer(302, b"Found", Location=hub.storage.address + "/blob", ETag='"a tag of no meaning"',
                               X_Linked_Etag=f'"{hub.checksum}"', X_Linked_Size=str(hub.size))
        if place == "config.json":
            return self.answer(200, SMALL, ETag=f'W/"{git_name(SMALL)}"')
        if place == "deep/er/config.json":
            return self.answer(307, Location="/owner/repo/resolve/main/config.json")
        if place == "circle":
            return self.answer(307, Location=self.path)
        if place == "untagged":
            return self.answer(200, SMALL)
        return self.answer(404, b"not here")


class HfPull(program.ProgramTest):

    def setUp(self):
        super().setUp()
        self.storage, self.hub = Server(Storage), Server(Hub)
        self.addCleanup(self.storage.close)
        self.addCleanup(self.hub.close)
        self.storage.content, self.storage.cut, self.storage.ranges, self.storage.slow = BIG, None, True, False
        self.hub.storage, self.hub.private = self.storage, False
        self.hub.checksum, self.hub.size = hashlib.sha256(BIG).hexdigest(), len(BIG)
        self.kept = self.cache / "hf" / "owner" / "repo"

    def pull(self, file, **changes):
        changes.setdefault("HF_TOKEN", "")
        changes.setdefault("HF_ENDPOINT", self.hub.address)
        return self.run_program("pull", "hf:owner/repo/" + file, **changes)

    def assert_pulled(self, file, content, **changes):
        result = self.pull(file, **changes)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual((self.kept / file).read_bytes(), content)
        self.assertIn(str(self.kept / file), result.stdout)
        self.assert_no_parts()
        return result

    def assert_pull_fails(self, words, file, **changes):
        result = self.pull(file, **changes)
        self.assertEqual((result.returncode, result.stdout), (1, ""), result.stderr)
        last = result.stderr.splitlines()[-1]
        for word in [words] if isinstance(words, str) else words:
            self.assertIn(word, last)
        self.assertNotIn(TOKEN, result.stderr)
        self.assertFalse((self.kept / file).exists())
        return result

    def parts(self):
        return [path for path in self.kept.rglob("*.part")]

    def assert_no_parts(self):
        self.assertEqual(self.parts(), [])

    def test_large_file(self):
        self.assert_pulled("big.gguf", BIG)
        listed = json.loads(self.output_of("ls", "--format", "json"))
        self.assertEqual(listed, [{"name": "hf:owner/repo/big.gguf", "path": str(self.kept / "big.gguf"),
                                   "size": len(BIG)}])
        # It is a model's name now, if not a model.
        self.assert_error(1, "big.gguf", "tokenize", "-m", "hf:owner/repo/big.gguf", "x")
        # Once there it is only checked.
        self.storage.seen.clear()
        self.assert_pulled("big.gguf", BIG)
        self.assertEqual(self.storage.seen, [])

    def test_small_files_and_redirections(self):
        self.assert_pulled("config.json", SMALL)
        self.assert_pulled("deep/er/config.json", SMALL)
        self.assertEqual(self.storage.seen, [])
        option = self.run_program("pull", "hf:owner/repo/config.json", "--endpoint", self.hub.address + "/",
                                  HF_ENDPOINT="http://127.0.0.1:1")
        self.assertEqual(option.returncode, 0, option.stderr)

    def test_changed_file_is_fetched_anew(self):
        self.assert_pulled("big.gguf", BIG)
        self.storage.content = BIG[::-1]
        self.hub.checksum = hashlib.sha256(BIG[::-1]).hexdigest()
        self.assert_pulled("big.gguf", BIG[::-1])

    def test_truncated_body_is_gone_on_with(self):
        self.storage.cut = 1_300_000
        self.assert_pulled("big.gguf", BIG)
        gets = [entry[2] for entry in self.storage.seen if entry[0] == "GET"]
        self.assertEqual(gets, [None, "bytes=1300000-", "bytes=2600000-"])

    def test_a_later_call_goes_on(self):
        self.storage.slow = True
        with subprocess.Popen([program.BINARY, "pull", "hf:owner/repo/big.gguf"], stderr=subprocess.PIPE, text=True,
                              env=program.clean_environment(ONEBEAT_CACHE=str(self.cache), HF_TOKEN="",
                                                            HF_ENDPOINT=self.hub.address)) as process:
            deadline = time.monotonic() + 60
            while not (self.parts() and self.parts()[0].stat().st_size > 300_000) and time.monotonic() < deadline:
                time.sleep(0.01)
            # Meanwhile nobody else writes there.
            self.assert_pull_fails("another process", "big.gguf")
            process.send_signal(signal.SIGINT)
            error = process.stderr.read()
            self.assertEqual(process.wait(timeout=60), 1, error)
        self.assertIn("goes on from there", error.splitlines()[-1])
        have = self.parts()[0].stat().st_size
        self.assertTrue(300_000 < have < len(BIG))
        self.storage.slow = False
        self.storage.seen.clear()
        self.assert_pulled("big.gguf", BIG)
        self.assertEqual([entry[2] for entry in self.storage.seen], [f"bytes={have}-"])

    def test_a_server_without_ranges_starts_again(self):
        self.storage.ranges, self.storage.cut = False, 1_000_000
        self.assert_pull_fails(["1000000 of 3000000 bytes", "goes on from there"], "big.gguf")
        self.storage.cut = None
        self.assert_pulled("big.gguf", BIG)

    def test_wrong_content(self):
        self.storage.content = b"X" + BIG[1:]
        self.assert_pull_fails([hashlib.sha256(b"X" + BIG[1:]).hexdigest(), self.hub.checksum], "big.gguf")
        self.assert_no_parts()
        self.storage.content = BIG + b"more"
        self.assert_pull_fails("more than the 3000000 bytes", "big.gguf")

    def test_server_that_stops_early(self):
        self.hub.size = len(BIG) + 10
        self.assert_pull_fails("3000000 of 3000010 bytes", "big.gguf")

    def test_refusals(self):
        self.assert_pull_fails(["404", "hf:owner/repo/nothing.gguf"], "nothing.gguf")
        self.assert_pull_fails("circles", "circle")
        self.assert_pull_fails("no checksum", "untagged")
        self.assert_pull_fails("127.0.0.1:1", "config.json", HF_ENDPOINT="http://127.0.0.1:1")
        self.assert_pull_fails("http or https", "config.json", HF_ENDPOINT="ftp://127.0.0.1")
        for name in ["hf:owner/repo", "hf:owner", "hf:", "hf:owner/repo/../x", "hf:owner/repo/.x", "hf:owner//x",
                     "hf:owner/repo/x?y", "hf:owner/repo/a b"]:
            self.assert_error(1, "hf:OWNER/REPO/FILE", "pull", name, HF_ENDPOINT=self.hub.address)
        self.assert_error(1, ["has not been fetched", "onebeat pull hf:owner/repo/x.gguf"], "tokenize", "-m",
                          "hf:owner/repo/x.gguf", "x")

    def test_token_goes_to_the_endpoint_alone_and_is_never_shown(self):
        self.hub.private = True
        self.assert_pull_fails(["401", "HF_TOKEN"], "big.gguf")
        result = self.assert_pulled("big.gguf", BIG, HF_TOKEN=TOKEN)
        self.assertNotIn(TOKEN, result.stderr + result.stdout)
        self.assertIn(f"Bearer {TOKEN}", [entry[3] for entry in self.hub.seen])
        self.assertEqual({entry[3] for entry in self.storage.seen}, {None})
        self.assert_pull_fails("characters", "config.json", HF_TOKEN=TOKEN + "\nX-Other: 1")
        self.assert_pull_fails(["readable on its way", "https"], "config.json", HF_TOKEN=TOKEN,
                               HF_ENDPOINT="http://192.0.2.1")

    def test_unwritable_folder(self):
        self.cache.write_text("a file")
        self.assert_pull_fails("ONEBEAT_CACHE", "config.json")


if __name__ == "__main__":
    program.main()
