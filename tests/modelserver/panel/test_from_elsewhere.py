"""What other sites can't do to the page: send orders, frame it, rebind a name to it, or find a gap in its headers."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from playwright.sync_api import Browser

from tests.modelserver.server.serving_process import Serving

EVERYTHING = [
    "/dormouse",
    "/dormouse/",
    "/dormouse/panel/app.js",
    "/dormouse/v1/panel",
    "/dormouse/v1/gpu-memory",
    "/dormouse/v1/events",
    "/dormouse/v1/models",
    "/dormouse/v1/models/tts",
    "/dormouse/metrics",
    "/metrics",
]
ORDERS = [("residency", {"desired": "GPU"}), ("pin", {"pinned": True}), ("policy", {"validForSeconds": 60})]
each_order = pytest.mark.parametrize(("what", "body"), ORDERS, ids=[what for what, _ in ORDERS])


def put(server: Serving, what: str, body: object, **headers: str) -> httpx.Response:
    url = f"{server.url}/dormouse/v1/models/tts/{what}"
    return httpx.put(url, json=body, headers={name.replace("_", "-"): value for name, value in headers.items()})


def untouched(server: Serving) -> bool:
    seen = server.get("/dormouse/v1/models/tts").json()
    return seen["residency"] == "Unloaded" and seen["transition"] is None and not seen["pinned"]


@each_order
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Origin": "http://evil.example"}, id="origin"),
        pytest.param({"Origin": "null"}, id="sandboxed frame"),
        pytest.param({"Origin": "http://127.0.0.1:1"}, id="another port"),
        pytest.param({"Sec_Fetch_Site": "cross-site"}, id="cross-site"),
        pytest.param({"Sec_Fetch_Site": "same-site"}, id="same-site"),
        pytest.param({"Sec_Fetch_Site": "none"}, id="typed address"),
        pytest.param({"Host": "evil.example"}, id="rebound name"),
        pytest.param({"Host": "127.0.0.1.evil.example"}, id="name that begins like ours"),
        pytest.param({"Host": "localhost@evil.example"}, id="name with a user in front"),
        pytest.param({"Host": "localhost/evil.example"}, id="name with a path"),
    ],
)
def test_an_order_from_elsewhere_is_refused(server: Serving, what: str, body: object, headers: dict[str, str]) -> None:
    response = put(server, what, body, **headers)
    assert (response.status_code, response.json()["reason"]) == (403, "NotAuthorised")
    assert response.headers["content-type"] == "application/problem+json"
    assert untouched(server)


@each_order
def test_a_page_sends_json_or_nothing(server: Serving, what: str, body: object) -> None:
    response = put(server, what, body, Origin=server.url, Content_Type="text/plain")
    assert response.status_code == 415
    assert untouched(server)


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}], ids=str)
def test_another_sites_page_ends_no_use(server: Serving, headers: dict[str, str]) -> None:
    response = httpx.delete(f"{server.url}/dormouse/v1/models/tts/uses/1", headers=headers)
    assert (response.status_code, response.json()["reason"]) == (403, "NotAuthorised")


def test_the_end_of_a_use_that_has_ended_changes_nothing(server: Serving) -> None:
    ended = httpx.delete(f"{server.url}/dormouse/v1/models/tts/uses/999999")
    assert (ended.status_code, ended.json()["inFlight"]) == (200, 0)
    assert httpx.delete(f"{server.url}/dormouse/v1/models/nobody/uses/1").status_code == 404
    assert httpx.delete(f"{server.url}/dormouse/v1/models/tts/uses/first").status_code == 404


def test_the_page_itself_and_programs_are_let_in(server: Serving) -> None:
    order = {"desired": "CPU"}
    assert put(server, "residency", order).status_code == 200, "curl"
    assert put(server, "residency", order, Origin=server.url).status_code == 200, "a browser without Sec-Fetch"
    proxied = {"Origin": "https://gpu.example", "Sec_Fetch_Site": "same-origin"}
    assert put(server, "residency", order, **proxied).status_code == 200, "behind a proxy that sets the Host"


@pytest.mark.parametrize("path", EVERYTHING[1:])
def test_a_rebound_name_reads_nothing(server: Serving, path: str) -> None:
    response = httpx.get(server.url + path, headers={"Host": "evil.example"})
    assert response.status_code == 403
    assert "tts" not in response.text


@pytest.mark.parametrize("path", EVERYTHING[:-1])
def test_each_answer_is_secured(server: Serving, path: str) -> None:
    with httpx.stream("GET", server.url + path) as response:
        policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["form-action"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert response.headers["x-frame-options"] == "DENY"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/dormouse/nothing", 404),
        ("GET", "/dormouse/panel/index.html", 404),
        ("GET", "/dormouse/panel/..%2f..%2f__init__.py", 404),
        ("GET", "/dormouse/v1/models/tts/pin", 405),
        ("DELETE", "/dormouse/v1/models/tts", 405),
        ("POST", "/dormouse/", 405),
        ("OPTIONS", "/dormouse/v1/models/tts/residency", 405),
        ("PROPFIND", "/dormouse/v1/panel", 405),
    ],
)
def test_what_is_not_there_is_a_problem_too(server: Serving, method: str, path: str, status: int) -> None:
    response = httpx.request(method, server.url + path)
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    assert response.json()["status"] == status
    assert ("allow" in response.headers) is (status == 405)


@pytest.fixture
def evil(server: Serving) -> Iterator[str]:
    """A site on another port of this machine, which a browser lets nearer to the page than any other."""
    page = f"""<!doctype html><title>evil</title><iframe src="{server.url}/dormouse/"></iframe>
        <script>
        const say = (what) => document.title = what;
        fetch("{server.url}/dormouse/v1/models/tts/residency", {{method: "PUT", body: '{{"desired": "GPU"}}',
            headers: {{"Content-Type": "application/json"}}}}).then(() => say("let in"), () => say("refused"));
        </script>""".encode()

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *arguments: object) -> None:
            pass

    site = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    yield f"http://localhost:{site.server_address[1]}/"
    site.shutdown()
    site.server_close()


def test_a_page_on_another_port_can_neither_order_nor_frame(server: Serving, browser: Browser, evil: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(evil)
    page.wait_for_function("document.title !== 'evil'")
    assert page.title() == "refused"
    page.wait_for_function("window.frames.length === 1")
    framed = page.frames[1]
    assert framed.url.startswith("chrome-error://"), "the browser shows an error in the frame"
    assert framed.locator("article").count() == 0
    context.close()
    assert untouched(server)
