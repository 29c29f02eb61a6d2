"""Every claim of README.md that can go wrong, proven. A test a claim."""

import ast
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import (
    CHAT,
    ENVIRONMENT,
    KEY,
    NO_KEY,
    ROOT,
    SUMMARY,
    UV,
    SharedRun,
    check_no_server,
    completion,
    edit,
    greet,
    servers,
)
from fastmcp import Client, Context, FastMCP
from pytest_httpserver import HTTPServer
from test_failures import FAILED, INPUTS, MODEL_FAILURES, NO_SERVER, NO_TEXT

README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL))


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_sections_stand_in_this_order_and_the_page_is_short():
    assert list(SECTIONS) == [
        "Run it",
        "Expected output",
        "What sampling is",
        "The flow",
        "What to notice in the code",
        "Layout",
        "Use the parts elsewhere",
        "Where sampling stands",
        "When something goes wrong",
        "Caveats",
    ]
    assert len(README.splitlines()) <= 200


def test_the_commands_work_in_their_order_without_a_key(clone: Path):
    (clone / "my-document.txt").write_text("Every star is a sun.", encoding="utf-8")
    commands = "".join(blocks("sh")).splitlines()
    assert commands == [
        "uv sync",
        "uv run client.py",
        "uv run pytest",
        "cp .env.example .env",
        "uv run client.py",
    ]
    assert "`uv run client.py my-document.txt`" in README
    commands[-1] += " my-document.txt"
    for command in commands:
        if command == "uv run pytest":
            continue  # this is it; .ci/run holds it too, see below
        words = shlex.split(command)
        if words[0] == "cp":
            shutil.copy(clone / words[1], clone / words[2])
            continue
        run = subprocess.run(
            words, cwd=clone, env={**ENVIRONMENT, **UV}, capture_output=True, encoding="utf-8"
        )
        assert run.returncode == 0, run.stderr
        if "client.py" in command:
            assert run.stdout == blocks("text")[0]


def test_what_ci_runs_is_what_the_page_says():
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert "uv run pytest" in lines
    assert "command -v uv >/dev/null || pip install uv" in lines
    assert "`pip install uv`" in README


def test_the_expected_output_without_a_key_is_that_of_a_run(keyless: SharedRun):
    assert blocks("text")[0] == keyless.stdout


def test_the_expected_output_with_a_key_is_that_of_a_run(keyed: SharedRun):
    assert blocks("text")[1] == keyed.stdout.replace(SUMMARY, "…")


def find(script: str, kind: type, text: str) -> ast.AST:
    """The one node of a kind in a script whose source begins with text."""
    source = (ROOT / script).read_text(encoding="utf-8")
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, kind)]
    (found,) = [n for n in nodes if (ast.get_source_segment(source, n) or "").startswith(text)]
    return found


ROWS = {
    # words of the row: what its lines must hold, from the first node to the last, and no more
    "The request": [("server.py", ast.Assign, "completion = await ctx.sample(")],
    "Where the client refuses": [("server.py", ast.ExceptHandler, "except (McpError, ValueError)")],
    "How hints become a model": [("client.py", ast.FunctionDef, "def choose_model")],
    "The handler that answers": [("client.py", ast.AsyncFunctionDef, "async def sampling_handler")],
    "Where the key is read": [("client.py", ast.Assign, "api_key = os.getenv")],
    "Where a failed model call": [
        ("client.py", ast.ExceptHandler, "except Exception as error:\n        # The provider's")
    ],
    "The client, made from": [("client.py", ast.Assign, "client = Client(")],
    "The life of the session": [
        ("client.py", ast.AsyncWith, "async with client:"),
        ("client.py", ast.Expr, 'print(f"Connected?'),
    ],
}


def table(section: str) -> list[list[str]]:
    rows = [line for line in SECTIONS[section].splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[2:]]


@pytest.mark.parametrize("row", table("What to notice in the code"), ids=lambda row: row[1][:25])
def test_each_line_reference_points_at_what_its_row_names(row: list[str]):
    link, words = row
    label, target = re.fullmatch(r"\[`(.+?)`\]\((.+?)\)", link).groups()
    assert label == target
    (things,) = [things for start, things in ROWS.items() if words.startswith(start)]
    nodes = [find(*thing) for thing in things]
    first, last = nodes[0].lineno, nodes[-1].end_lineno
    lines = f"#L{first}-L{last}" if first != last else f"#L{first}"
    assert target == things[0][0] + lines


def test_every_thing_to_notice_has_its_row():
    assert len(table("What to notice in the code")) == len(ROWS) >= 7


def test_the_layout_lists_what_is_tracked_at_the_top_level():
    git = ["git", "-C", str(ROOT), "ls-files"]
    listing = subprocess.run(git, capture_output=True, encoding="utf-8")
    if listing.returncode != 0:
        pytest.skip("not a git checkout")
    tracked = {line.split("/")[0] + "/" * ("/" in line) for line in listing.stdout.splitlines()}
    listed = re.findall(r"^- `(.+?)`: \S", SECTIONS["Layout"], re.MULTILINE)
    assert sorted(listed) == sorted(tracked)


def test_the_messages_are_those_of_the_program():
    """Each of them is checked, by its real cause, in test_failures, test_run or test_server."""
    unknown_file = "Error: " + INPUTS["missing"][1].format("my-document.txt")
    assert [row[0].strip("`").rstrip() for row in table("When something goes wrong")] == [
        NO_KEY,
        MODEL_FAILURES["401"][2],
        MODEL_FAILURES["429"][2],
        MODEL_FAILURES["404"][2],
        MODEL_FAILURES["500"][2],
        f"{FAILED} (TimeoutError)",
        NO_TEXT,
        unknown_file.rstrip(),
        f"{NO_SERVER}Connection closed",
        "Sampling failed: Client does not support sampling",
    ]
    assert "within 120 seconds" in SECTIONS["When something goes wrong"]
    assert "\nMODEL_TIMEOUT = 120 " in (ROOT / "client.py").read_text(encoding="utf-8")


def test_the_entry_for_other_hosts_starts_the_server(clone: Path, tmp_path: Path):
    (entry,) = json.loads(blocks("json")[0])["mcpServers"].values()
    args = [arg.replace("/path/to/sampling-mcp", str(clone)) for arg in entry["args"]]
    greet([entry["command"], *args], tmp_path, {**ENVIRONMENT, **UV})
    check_no_server(clone)


def test_two_lines_lead_to_another_provider(project: Path, httpserver: HTTPServer, run_here):
    models, api_key = re.findall(r"as in `(.+?)`", SECTIONS["Use the parts elsewhere"])
    edit(project / "client.py", 'MODELS = ["gpt-4o", "gpt-4o-mini"]', models)
    edit(project / "client.py", 'api_key = os.getenv("OPENAI_API_KEY", "").strip()', api_key)
    answer = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [{"type": "text", "text": "Another summary."}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    httpserver.expect_request("/v1/messages").respond_with_json(answer)
    run = run_here(
        OPENAI_API_KEY="sk-of-openai",
        ANTHROPIC_API_KEY=KEY,
        ANTHROPIC_API_BASE=httpserver.url_for("/"),
    )
    assert "\nSummary:\nAnother summary.\n" in run.stdout
    ((request, _),) = httpserver.log
    assert request.headers["x-api-key"] == KEY
    assert request.json["model"] == models.partition("anthropic/")[2].rstrip('"]')
    assert "sk-of-openai" not in str(request.headers)


def test_a_model_on_this_machine_under_its_own_name(project: Path, httpserver, run_here):
    """The two lines of .env are those of the keyed run; here is the name."""
    (names,) = re.findall(r"`(MODELS = \[\"openai/the-name\"\])`", README)
    edit(project / "client.py", 'MODELS = ["gpt-4o", "gpt-4o-mini"]', names)
    httpserver.expect_request(CHAT).respond_with_json(completion("From here."))
    lines = dict(line.split("=", 1) for line in blocks("ini")[0].splitlines())
    assert lines["OPENAI_BASE_URL"].endswith("/v1")
    lines["OPENAI_BASE_URL"] = httpserver.url_for("/v1")
    run = run_here(**lines)
    assert "\nSummary:\nFrom here.\n" in run.stdout
    assert httpserver.log[0][0].json["model"] == "the-name"


def test_the_sequence_diagram_declares_its_participants_and_its_arrows_are_well_formed():
    kind, number, *lines = blocks("mermaid")[0].splitlines()
    assert (kind, number.strip()) == ("sequenceDiagram", "autonumber")
    declared = [re.fullmatch(r"    participant (\w+) as [^:;]+", line) for line in lines]
    participants = [match[1] for match in declared if match]
    arrows = [line for line, match in zip(lines, declared, strict=True) if not match]
    assert participants == ["script", "fastmcp", "handler", "model", "server"]
    assert len(arrows) >= 10
    for arrow in arrows:
        match = re.fullmatch(r"    (\w+)-{1,2}>>(\w+): [^;#]+", arrow)
        assert match and {match[1], match[2]} <= set(participants), arrow
    assert "start" in arrows[1] and arrows[-1].endswith("print Connected?: False")


def test_the_flowchart_declares_its_parts_and_its_arrows_are_well_formed():
    kind, *lines = blocks("mermaid")[1].splitlines()
    assert kind == "flowchart TB"
    stripped = [line.strip() for line in lines]
    nodes = [m[1] for line in stripped if (m := re.fullmatch(r"(\w+)\[[^\[\]()]+\]", line))]
    arrows = [m for line in stripped if (m := re.fullmatch(r'(\w+) -- "[^"]+" --> (\w+)', line))]
    subgraphs = [line for line in stripped if re.fullmatch(r"subgraph \w+\[[^\[\]()]+\]", line)]
    assert len(subgraphs) == stripped.count("end") == 2
    assert len(nodes) + len(arrows) + 2 * len(subgraphs) == len(stripped)
    assert {name for arrow in arrows for name in arrow.groups()} == set(nodes)


def test_every_link_into_the_repository_leads_somewhere():
    targets = re.findall(r"\]\(([^)]+)\)", README)
    for target in targets:
        path, _, anchor = target.partition("#")
        if path.startswith("https://"):
            continue
        if path:
            assert (ROOT / path).is_file(), target
        else:
            assert anchor in {name.lower().replace(" ", "-") for name in SECTIONS}, target
    assert "#where-sampling-stands" in targets


async def test_a_handler_that_returns_a_string_is_reported_under_a_name_of_fastmcp():
    probe = FastMCP("Probe")

    @probe.tool
    async def which_model(ctx: Context) -> str:
        step = await ctx.sample_step("Hello")
        return step.response.model

    async with Client(probe, sampling_handler=lambda *request: "Hi") as client:
        assert (await client.call_tool("which_model")).data == "fastmcp-slim"
    assert "reports `fastmcp-slim` to the server as the model" in SECTIONS["Caveats"]


async def test_the_server_process_outlives_the_block_of_the_client(project: Path):
    client = Client(project / "server.py")
    async with client:
        assert len(servers(project)) == 1
    assert not client.is_connected()
    assert len(servers(project)) == 1
    await client.close()
    check_no_server(project)


def test_the_lock_names_an_earlier_litellm_with_hashes_and_waits_seven_days():
    lock = (ROOT / "uv.lock").read_text(encoding="utf-8")
    (block,) = [b for b in lock.split("[[package]]\n") if b.startswith('name = "litellm"\n')]
    (version,) = re.findall(r'^version = "(\d+)\.(\d+)\.(\d+)"', block, re.MULTILINE)
    assert (1, 82, 8) < tuple(map(int, version)) < (1, 107, 0)
    assert 'hash = "sha256:' in block
    assert 'exclude-newer-span = "P7D"' in lock
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'exclude-newer = "7 days"' in project
    assert '"litellm>=1.105.1,!=1.107.0,<2"' in project
    assert '"fastmcp>=3.4,<4"' in project
