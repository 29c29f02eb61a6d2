"""client.py as a process of its own, over real HTTP to a stand-in for the OpenAI API."""

import sys
from pathlib import Path
from types import SimpleNamespace

import conftest as c
import litellm
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request

SUMMARY = "Astronomy explains where we come from, serves society and is open to everyone."


def result(summary: str) -> list[str]:
    """What a run prints when the tool has returned."""
    text = f"Summary:\n{summary}"
    return [
        f"CallToolResult(content=[TextContent(type='text', text={text!r}, annotations=None, "
        f"meta=None)], structured_content={{'result': {text!r}}}, "
        f"meta={{'fastmcp': {{'wrap_result': True}}}}, data={text!r}, is_error=False)",
        "Summary:",
        summary,
        "Connected?: False",
    ]


REQUEST = ["Model: gpt-4o", "Temperature: 0.7", "Max tokens: 300"]


@pytest.mark.xdist_group("uv")
def test_without_a_key_a_run_tells_its_story_in_order_on_one_pipe(keyless: c.Run):
    assert keyless.status == 0
    start, rest, *lines = keyless.stdout.splitlines()
    assert "Starting MCP server 'Document" in start
    assert "Assistant' with transport 'stdio'" in rest
    assert lines == [*c.STEPS[:3], *REQUEST, c.STEPS[3], *result(c.NO_KEY)]


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A run with the key in .env; in the folder above LiteLLM, and in the current, lie others."""
    folder = tmp_path_factory.mktemp("keyed")
    clone = c.copy_clone(folder)
    hooks, log = c.log_connections(folder)
    for name in ("elsewhere", "packages"):
        (folder / name).mkdir()
        c.write_env(folder / name, OPENAI_API_KEY=f"sk-of-{name}")
    if sys.platform != "win32":  # where it takes a right to make a symbolic link
        (folder / "packages" / "litellm").symlink_to(Path(litellm.__file__).parent)
        hooks["PYTHONPATH"] += f":{folder / 'packages'}"
    with HTTPServer() as httpserver:
        environments: list[dict[str, str]] = []  # of the server, while the model is called

        def answer(request: Request) -> dict:
            environments.extend(server.environ() for server in c.servers(clone))
            return c.completion(f"\n{SUMMARY}\n")

        c.respond(httpserver, answer)
        c.write_env(clone, **c.with_key(httpserver))
        run = c.finish(c.start_client(clone, cwd=folder / "elsewhere", **hooks))
    log = log.read_text(encoding="utf-8").splitlines()
    return SimpleNamespace(**vars(run), server=httpserver, environments=environments, log=log)


@pytest.mark.xdist_group("keyed")
class TestWithAKey:
    def test_each_process_prints_what_it_does_and_no_key(self, keyed: SimpleNamespace):
        assert keyed.status == 0
        assert keyed.stdout.splitlines() == [c.STEPS[0], c.STEPS[2], *REQUEST, *result(SUMMARY)]
        assert keyed.stderr.splitlines()[2:] == [c.STEPS[1], c.STEPS[3]]
        assert c.KEY not in keyed.stdout + keyed.stderr

    def test_the_provider_is_sent_this_to_the_letter(self, keyed: SimpleNamespace):
        ((request, _),) = keyed.server.log
        assert request.headers["Authorization"] == f"Bearer {c.KEY}"
        system = {"role": "system", "content": c.SYSTEM_PROMPT}
        assert request.json == {
            "model": "gpt-4o",
            "messages": [system, {"role": "user", "content": c.PROMPT + c.SAMPLE}],
            "temperature": 0.7,
            "max_tokens": 300,
        }

    def test_the_key_and_the_connection_are_the_provider_s_alone(self, keyed: SimpleNamespace):
        assert keyed.log
        assert all(f", {keyed.server.port}" in address for address in keyed.log)
        (environment,) = keyed.environments
        assert "PATH" in environment
        assert "OPENAI_API_KEY" not in environment
        assert c.KEY not in "".join(environment.values())


def test_a_foreign_name_a_code_page_and_the_key_of_the_environment(
    clone: Path, tmp_path: Path, httpserver: HTTPServer
):
    """From the folder of the file; the environment's key wins over .env."""
    document, summary = "Ein Satz — “drei”.\n東京", "要約: 東京 — “été” 🔭"
    c.respond(httpserver, c.completion(summary))
    c.write_env(clone, OPENAI_API_KEY="sk-from-the-file")
    (tmp_path / "Überblick 東京.txt").write_text(document, encoding="utf-8")
    env = {"PYTHONIOENCODING": "cp1252", **c.with_key(httpserver)}
    run = c.finish(c.start_client(clone, "Überblick 東京.txt", cwd=tmp_path, **env))
    assert run.status == 0
    assert run.stdout.splitlines() == [c.STEPS[0], c.STEPS[2], *REQUEST, *result(summary)]
    ((request, _),) = httpserver.log
    assert request.headers["Authorization"] == f"Bearer {c.KEY}"
    assert request.json["messages"][1]["content"] == c.PROMPT + document
