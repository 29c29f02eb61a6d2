"""The fixtures that the tests share."""

import gc
import importlib
import os
import runpy
import shutil
import sys

import helpers as h
import pytest


@pytest.fixture
def clone(tmp_path):
    """A copy of the project, but for its tests, as a reader has it: without a .env."""
    folder = tmp_path.resolve() / "clone"
    shutil.copytree(h.ROOT, folder, ignore=shutil.ignore_patterns(".*", "__pycache__", "tests"))
    shutil.copy(h.ROOT / ".env.example", folder)
    return folder


@pytest.fixture
def fail(clone, monkeypatch, capfd):
    """Run client.py, in this process. Returns its last line, or status, and what was printed."""
    # LiteLLM is imported before a limit of time starts, and as client.py does.
    os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_MODE="PRODUCTION")
    importlib.import_module("litellm")

    def run(**env):
        monkeypatch.chdir(clone.parent)
        monkeypatch.setattr(sys, "argv", ["client.py"])
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as exit:
            runpy.run_path(str(clone / "client.py"), run_name="__main__")
        h.check_no_server(clone)
        code, (out, err) = exit.value.code, capfd.readouterr()
        assert "Summary:" not in out and "Traceback" not in out + err
        assert h.KEY not in f"{code}{out}{err}"
        del exit
        gc.collect()  # where a server was killed, asyncio's words on it come now, and are captured
        return code, out, err

    return run
