#!/usr/bin/env python3
"""Verifies the signed hop with an independent implementation of RFC 9421: no code of the project.

    make up
    python3 -m venv .run/venv && .run/venv/bin/pip install --quiet http-message-signatures requests
    .run/venv/bin/python tests/independent/verify_hop.py
    make down

It starts a second edge, configured as the one of the platform that is up but for its cores' addresses,
which lead to a small server in here. What the edge sends there is captured and verified: the signature
with `http-message-signatures`, the content digest with hashlib. Each captured request is then changed
in every part that is covered, one at a time, and must no longer verify. Last, the captured record goes
to a real core, which must take it.

One line a check. Ends with 1 if any of them failed.
"""

import base64
import hashlib
import hmac
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

try:
    import requests
    from http_message_signatures import HTTPMessageVerifier, HTTPSignatureKeyResolver, algorithms
    from http_message_signatures.exceptions import HTTPMessageSignaturesException
except ImportError as missing:
    sys.exit(f"{missing.name} is missing: set up the virtual environment as {__file__} says at its top")

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / ".run"
RECORD_COMPONENTS = ["@method", "@path", "content-digest", "x-smp-country", "x-smp-region",
                     "x-smp-connection", "x-smp-verdict", "x-smp-route-version"]
PROXIED_COMPONENTS = ["@method", "@path", "@query", "x-smp-country", "x-smp-region", "x-smp-route-version"]

failures = 0


def check(what, passed, detail=""):
    global failures
    passed = bool(passed)
    failures += not passed
    print(f"{'ok' if passed else 'FAIL':<4} {what}{': ' + str(detail) if detail and not passed else ''}")


def read_environment():
    try:
        text = (RUN / "platform.env").read_text()
    except FileNotFoundError:
        sys.exit(".run/platform.env is missing: run 'make up'")
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))


class Capture(http.server.BaseHTTPRequestHandler):
    """Keeps each request as it came, and answers as a core that has kept a record."""

    protocol_version = "HTTP/1.1"
    captured = []

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        host = self.headers["host"]
        request = requests.Request(self.command, f"http://{host}{self.path}", headers=dict(self.headers), data=body)
        request.repeated = [name for name in set(self.headers) if len(self.headers.get_all(name)) > 1]
        self.captured.append(request)
        answer = b'{"status":"accepted","event_id":"01900000-0000-7000-8000-000000000000"}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = handle_any

    def log_message(self, *arguments):
        pass


class Keys(HTTPSignatureKeyResolver):
    def __init__(self, secrets):
        self.secrets = secrets

    def resolve_public_key(self, key_id):
        return self.secrets[key_id].encode()


def verify(request, secrets):
    """The verified components by name, or None."""
    # Prepared without a Session: nothing is added to what was captured.
    prepared = request.prepare()
    verifier = HTTPMessageVerifier(signature_algorithm=algorithms.HMAC_SHA256, key_resolver=Keys(secrets))
    try:
        results = verifier.verify(prepared)
    except (HTTPMessageSignaturesException, KeyError):
        return None
    [result] = results
    if "content-digest" in request.headers:
        digest = base64.b64encode(hashlib.sha256(request.data or b"").digest()).decode()
        if request.headers["content-digest"] != f"sha-256=:{digest}:":
            return None
    return result.covered_components


def changed(request, **changes):
    """The request with another method, url or data, or with another value of a header."""
    copy = requests.Request(request.method, request.url, headers=dict(request.headers), data=request.data)
    for name, value in changes.items():
        if name in ("method", "url", "data"):
            setattr(copy, name, value)
        else:
            name = name.replace("_", "-")
            assert copy.headers[name] != value, f"{name} is not changed"
            copy.headers[name] = value
    return copy


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start_edge(core_port):
    """The Worker as `platform up` has configured it, before another core. Gives process and URL."""
    directory = RUN / "verify-hop"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    # wrangler's debug log holds whole URLs and cannot be turned off.
    (directory / "debug.log").symlink_to("/dev/null")
    config = (RUN / "wrangler.toml").read_text()
    config, origins = re.subn(r'origin = "[^"]*"', f'origin = "http://127.0.0.1:{core_port}"', config)
    if origins < 2:
        sys.exit(".run/wrangler.toml has no two regions")
    (directory / "wrangler.toml").write_text(config)
    secrets = os.open(directory / ".dev.vars", os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(secrets, (RUN / ".dev.vars").read_bytes())
    os.close(secrets)
    port = free_port()
    command = ["node", str(ROOT / "node_modules/wrangler/bin/wrangler.js"), "dev", "--local", "--ip", "127.0.0.1",
               "--show-interactive-dev-session=false", "--log-level=warn", "--config",
               str(directory / "wrangler.toml"), "--port", str(port), "--inspector-port", str(free_port()),
               "--persist-to", str(directory / "state")]
    environment = os.environ | {"WRANGLER_SEND_METRICS": "false", "CLOUDFLARE_CF_FETCH_ENABLED": "false", "CI": "1",
                                "WRANGLER_LOG_PATH": str(directory / "debug.log"),
                                "XDG_CONFIG_HOME": str(directory / "config")}
    log = open(directory / "edge.log", "wb")
    edge = subprocess.Popen(command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=log,
                            stderr=log, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and edge.poll() is None:
        try:
            if requests.get(f"{url}/healthz", timeout=5).ok:
                return edge, url
        except requests.ConnectionError:
            time.sleep(0.05)
    stop(edge)
    sys.exit(f"the edge did not start: see {directory}/edge.log")


def stop(edge):
    try:
        os.killpg(edge.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    edge.wait()


def post_webhook(edge_url, environment, country):
    body = json.dumps({"id": str(uuid.uuid4()), "name": "Nguyễn Thị Hồng", "phone_number": "0901234567"},
                      ensure_ascii=False).encode()
    timestamp = str(int(time.time()))
    secret = environment[f"PANCAKE_{country}_SECRET"].encode()
    signature = hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    answer = requests.post(f"{edge_url}/api/pancake/record/{environment[f'PANCAKE_{country}_TOKEN']}", data=body,
                           headers={"x-pancake-timestamp": timestamp, "x-pancake-signature": signature}, timeout=10)
    assert answer.json()["status"] == "accepted", f"{answer.status_code} {answer.text}"
    request = Capture.captured.pop()
    assert not Capture.captured and request.data == body
    return request


def other_base64(text):
    """Another value of the same form: the first character within the colons is another."""
    before, inside, after = text.split(":")
    return f"{before}:{'B' if inside[0] == 'A' else 'A'}{inside[1:]}:{after}"


def check_hop(name, request, components, keyid, secrets):
    found = verify(request, secrets)
    check(f"{name}: verifies by RFC 9421, over exactly what the design says",
          found is not None and [part.strip('"') for part in found] == [*components, "@signature-params"], found)
    signature_input = request.headers["signature-input"]
    parameters = re.search(r'\);created=(\d+);keyid="([^"]*)";alg="hmac-sha256"$', signature_input)
    check(f"{name}: created now, with the region's key, by hmac-sha256",
          parameters and abs(int(parameters[1]) - time.time()) < 60 and parameters[2] == keyid, signature_input)
    earlier = signature_input.replace(f"created={parameters[1]}", f"created={int(parameters[1]) - 1}")
    check(f"{name}: no header of it is sent twice", not request.repeated, request.repeated)
    check(f"{name}: not with another secret", verify(request, {keyid: "x" * 64}) is None)
    changes = {
        "method": "PUT",
        "url": request.url.replace("/records", "/recordz").replace("/region", "/regiom"),
        "x_smp_country": "SG",
        "x_smp_region": "smp-else",
        "x_smp_route_version": "999",
        "signature": other_base64(request.headers["signature"]),
        "signature_input": earlier,
    }
    if "content-digest" in components:
        changes |= {"x_smp_connection": "else-main", "x_smp_verdict": "stale", "data": request.data + b" ",
                    "content_digest": other_base64(request.headers["content-digest"])}
    for what, value in changes.items():
        check(f"{name}: not with another {what.replace('_', '-')}", verify(changed(request, **{what: value}), secrets) is None)
    if "@query" in components:
        # One more character of the query; or a query where there was none, not another path.
        other = request.url + ("1" if "?" in request.url else "?1")
        check(f"{name}: not with another query", verify(changed(request, url=other), secrets) is None)


def main():
    environment = read_environment()
    secrets = {environment[f"{prefix}_HOP_KEYID"]: environment[f"{prefix}_HOP_SECRET"]
               for prefix in ("SMP_ASIA", "SMP_CHINA")}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Capture)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    edge, edge_url = start_edge(server.server_port)
    try:
        for country, region in (("VN", "SMP_ASIA"), ("CN", "SMP_CHINA")):
            keyid = environment[f"{region}_HOP_KEYID"]
            record = post_webhook(edge_url, environment, country)
            check_hop(f"record of {country}", record, RECORD_COMPONENTS, keyid, secrets)
            hop = {name: value for name, value in record.headers.items()
                   if name.startswith(("x-smp-", "signature", "content-digest"))}
            path = record.url.split("/", 3)[3]
            taken = requests.post(f"{environment[f'{region}_CORE_URL']}/{path}", data=record.data, headers=hop, timeout=10)
            check(f"record of {country}: a real core takes the very same request",
                  taken.status_code == 200 and taken.json()["status"] == "accepted", taken.text)
            for query in ("", "?from=1&to=%2F"):
                requests.get(f"{edge_url}/api/region{query}", headers={"x-country-code": country}, timeout=15)
                proxied = Capture.captured.pop()
                name = f"proxied request of {country} {'with' if query else 'without'} a query"
                check_hop(name, proxied, PROXIED_COMPONENTS, keyid, secrets)
    finally:
        stop(edge)
        server.shutdown()
        (RUN / "verify-hop/.dev.vars").unlink()
    print(f"{failures} failed")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
