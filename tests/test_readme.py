"""What can rot in README.md, held to the code. A test a claim."""

import ast
import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import conftest as c
import pytest
from pytest_httpserver import HTTPServer

README = (c.ROOT / "README.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL))


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def table(section: str) -> list[list[str]]:
    rows = [line for line in SECTIONS[section].splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[2:]]


@pytest.mark.xdist_group("uv")
def test_the_output_without_a_key_is_that_of_a_run(keyless: c.Run):
    pattern = re.escape(blocks("text")[0]).replace("…", ".*")
    assert re.fullmatch(pattern, "".join(keyless.stdout.splitlines(keepends=True)[2:]))


@pytest.mark.xdist_group("uv")
async def test_the_commands_that_need_no_key_and_the_entry_for_other_hosts(clone, tmp_path):
    (clone / "my-document.txt").write_text("Every star is a sun.", encoding="utf-8")
    run_client, copy_env = "".join(blocks("sh")).splitlines()
    assert run_client == "uv run client.py"  # it is the keyless run
    command, *paths = copy_env.split()
    assert command == "cp"
    shutil.copy(*(clone / path for path in paths))
    (own,) = re.findall(r"`(uv run client\.py .+?)`", README)
    env = {**c.ENVIRONMENT, **c.UV}
    run = subprocess.run(own.split(), cwd=clone, env=env, capture_output=True)
    assert run.returncode == 0 and b"OPENAI_API_KEY is not set" in run.stdout
    (alone,) = re.findall(r"`(uv run server\.py)`", README)
    (entry,) = json.loads(blocks("json")[0])["mcpServers"].values()
    args = [arg.replace("/path/to/sampling-mcp", str(clone)) for arg in entry["args"]]
    await c.greet(tmp_path / "log.txt", entry["command"], args, tmp_path, **env)
    await c.greet(tmp_path / "log.txt", "uv", alone.split()[1:], clone, **env)
    assert "uv run pytest\n" in (c.ROOT / ".ci" / "run").read_text(encoding="utf-8")


ROWS = [
    # per row of the table, what its lines must hold, from the first node to the last, and no more
    ("server.py", (ast.Assign, "completion = await ctx.sample(")),
    ("server.py", (ast.ExceptHandler, "except (McpError, ValueError)")),
    ("client.py", (ast.AsyncFunctionDef, "async def sampling_handler")),
    ("client.py", (ast.FunctionDef, "def choose_model")),
    ("client.py", (ast.Assign, "api_key = os.getenv")),
    ("client.py", (ast.ExceptHandler, "except Exception as error:\n        # The provider's")),
    ("client.py", (ast.Assign, "transport ="), (ast.Assign, "client = Client(")),
    ("client.py", (ast.AsyncWith, "async with client:"), (ast.Expr, 'print(f"Connected?')),
]


def test_each_line_reference_points_at_what_its_row_names():
    expected = []
    for script, *things in ROWS:
        source = (c.ROOT / script).read_text(encoding="utf-8")
        found = [
            node
            for kind, start in things
            for node in ast.walk(ast.parse(source))
            if isinstance(node, kind)
            and (ast.get_source_segment(source, node) or "").startswith(start)
        ]
        assert len(found) == len(things)
        first, last = found[0].lineno, found[-1].end_lineno
        target = f"{script}#L{first}" + (f"-L{last}" if last != first else "")
        expected.append(f"[`{target}`]({target})")
    assert [row[0] for row in table("What to notice in the code")] == expected
    others = re.findall(r"\]\((?!https://|server\.py|client\.py)([^)]+)\)", README)
    assert others == ["#where-sampling-stands"] and "Where sampling stands" in SECTIONS


def test_the_layout_lists_what_is_tracked_at_the_top_level():
    git = ["git", "-C", str(c.ROOT), "ls-files"]
    listing = subprocess.run(git, capture_output=True, encoding="utf-8")
    if listing.returncode != 0:
        pytest.skip("not a git checkout")
    tracked = {line.split("/")[0] + "/" * ("/" in line) for line in listing.stdout.splitlines()}
    assert {line.split()[0] for line in blocks("text")[1].splitlines()} == tracked


def test_the_messages_are_those_of_the_program():
    messages = [row[0].strip("`") for row in table("When something goes wrong")]
    tests = [path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_[cf]*")]
    assert len(messages) == 5 and all(message in "".join(tests) for message in messages)


def test_two_edits_lead_to_another_provider(clone: Path, httpserver: HTTPServer, run_here):
    models, _ = re.findall(r"`(MODELS = .+?)`", README)
    (api_key,) = re.findall(r"`(api_key = .+?)`", README)
    c.edit(clone / "client.py", 'MODELS = ["gpt-4o", "gpt-4o-mini"]', models)
    c.edit(clone / "client.py", 'api_key = os.getenv("OPENAI_API_KEY", "").strip()', api_key)
    answer = {"id": "1", "type": "message", "role": "assistant", "model": "claude"}
    answer["content"] = [{"type": "text", "text": "Another summary."}]
    answer |= {"stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}}
    httpserver.expect_request("/v1/messages").respond_with_json(answer)
    base = {"ANTHROPIC_API_BASE": httpserver.url_for("/")}
    run = run_here(OPENAI_API_KEY="sk-of-openai", ANTHROPIC_API_KEY=c.KEY, **base)
    assert "\nSummary:\nAnother summary.\n" in run.stdout
    assert "\nTemperature: 0.7\n" in run.stdout
    ((request, _),) = httpserver.log
    assert request.headers["x-api-key"] == c.KEY
    assert request.json["model"] == "claude-sonnet-5"
    assert "temperature" not in request.json  # which this model does not take
    assert "sk-of-openai" not in str(request.headers)


def test_a_model_on_this_machine_under_its_own_name(clone: Path, httpserver, run_here):
    _, models = re.findall(r"`(MODELS = .+?)`", README)
    c.edit(clone / "client.py", 'MODELS = ["gpt-4o", "gpt-4o-mini"]', models)
    c.respond(httpserver, c.completion("From here."))
    lines = dict(line.split("=", 1) for line in blocks("ini")[0].splitlines())
    assert lines["OPENAI_BASE_URL"] + "/chat/completions" == f"http://localhost:11434{c.CHAT}"
    lines["OPENAI_BASE_URL"] = httpserver.url_for("/v1")
    assert "\nSummary:\nFrom here.\n" in run_here(**lines).stdout
    assert httpserver.log[0][0].json["model"] == "the-name"


def test_the_settings_lead_to_releases_that_work():
    project = tomllib.loads((c.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["requires-python"] == ">=3.11,<3.15"
    assert project["tool"]["uv"] == {"exclude-newer": "2026-10-15T00:00:00Z"}
    assert {"fastmcp>=3.4,<4", "litellm>=1.105.1,<2"} < set(project["project"]["dependencies"])
    lock = tomllib.loads((c.ROOT / "uv.lock").read_text(encoding="utf-8"))
    (litellm,) = [package for package in lock["package"] if package["name"] == "litellm"]
    assert litellm["version"] == "1.105.1"
    assert all("hash" in wheel for wheel in litellm["wheels"])
