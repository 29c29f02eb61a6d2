"""client.py as a process of its own, over real HTTP to a stand-in for the OpenAI API."""

import importlib.util
import sys
from pathlib import Path
from subprocess import STDOUT

import helpers as h
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

DOCUMENT, SUMMARY = "Ein Satz — “drei”.\n東京", "要約: 東京 — “été” 🔭"


def result(summary: str) -> list[str]:
    """What a run prints when the tool has returned: the text in one place, then as it is."""
    text = f"Summary:\n{summary}"
    return [
        f"CallToolResult(content=[TextContent(type='text', text={text!r}, annotations=None, "
        "meta=None)], structured_content=None, meta=None, data=None, is_error=False)",
        *text.splitlines(),
        "Connected?: False",
    ]


def test_without_a_key_a_run_tells_its_story_as_readme_md_does(clone: Path, tmp_path: Path):
    """In order, where both processes print to one pipe."""
    env, log = h.watch(tmp_path)
    h.write_env(tmp_path, OPENAI_API_KEY="of the folder above")
    run = h.run(["uv", "run", "client.py"], clone, stderr=STDOUT, **env)
    h.check_no_server(clone)
    _, _, *lines = run.stdout.splitlines()  # FastMCP's own line takes two
    stand_in = h.STAND_IN.format(len(h.SYSTEM_PROMPT + h.PROMPT + h.SAMPLE))
    assert lines == [*h.STEPS[:3], *h.REQUEST, h.NO_KEY, h.STEPS[3], *result(stand_in)]
    assert lines == h.readme_blocks("text")[0].splitlines()
    assert log.read_text(encoding="utf-8") == ""  # LiteLLM is not imported, no connection made


def test_with_a_key_the_provider_alone_is_sent_it_with_this_request(
    clone: Path, tmp_path: Path, httpserver: HTTPServer
):
    """Whatever other .env files there are, the document's name, and the system's code page."""
    elsewhere, packages = tmp_path / "elsewhere", tmp_path / "packages"
    for folder in (elsewhere, packages):
        folder.mkdir()
        h.write_env(folder, OPENAI_ORGANIZATION="of somebody else")
    (elsewhere / "Überblick 東京.txt").write_text(DOCUMENT, encoding="utf-8-sig")
    env, log = h.watch(tmp_path)
    if sys.platform != "win32":  # where it takes a right to make a symbolic link
        (packages / "litellm").symlink_to(Path(importlib.util.find_spec("litellm").origin).parent)
        env["PYTHONPATH"] += f":{packages}"

    environments: list[dict[str, str]] = []  # of the server, while the model is called

    def answer(request: Request) -> Response:
        environments.extend(server.environ() for server in h.servers(clone))
        return h.completion(f"\n{SUMMARY}\n")

    h.respond(httpserver, answer)
    h.write_env(clone, **{**h.with_key(httpserver), "OPENAI_API_KEY": "sk-from-the-file"})
    env |= {"OPENAI_API_KEY": h.KEY, "PYTHONIOENCODING": "cp1252"}  # this key wins
    run = h.run([sys.executable, clone / "client.py", "Überblick 東京.txt"], elsewhere, **env)

    assert run.returncode == 0
    assert run.stdout.splitlines() == [h.STEPS[0], h.STEPS[2], *h.REQUEST, *result(SUMMARY)]
    assert run.stderr.splitlines()[2:] == [h.STEPS[1], h.STEPS[3]]
    assert h.KEY not in run.stdout + run.stderr
    ((request, _),) = httpserver.log
    assert request.headers["Authorization"] == f"Bearer {h.KEY}"
    assert "OpenAI-Organization" not in request.headers
    system = {"role": "system", "content": h.SYSTEM_PROMPT}
    assert request.json == {
        "model": "gpt-4o",
        "messages": [system, {"role": "user", "content": h.PROMPT + DOCUMENT}],
        "temperature": 0.7,
        "max_tokens": 300,
    }
    lines = log.read_text(encoding="utf-8").splitlines()
    connections = [line for line in lines if line.startswith("socket.connect ")]
    assert "import litellm" in lines and connections
    assert all(f", {httpserver.port}" in address for address in connections)
    (environment,) = environments
    assert "PATH" in environment and "OPENAI_API_KEY" not in environment
    assert h.KEY not in "".join(environment.values())
