"""Every example of README.md and docs/ runs against the demo's server."""

import re
import shlex
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from jobs.ingest.mapping import check_table
from recsys.settings import Settings
from recsys.store.embedded import stop_server
from tests.commands import run_recsys
from tests.docs.demo_server import DemoServer
from tests.docs.pages import CodeBlock, Example, code_blocks, examples
from tests.serving.processes import serving

USER = "30"
NODE_MODULES = Path("/usr/share/nodejs")
"""Debian's packages put modules here."""

NOT_RUN = {
    "make demo": "the demo's own tests run it on a slice of its data",
    "make test": "this is it",
    "docker compose": "there is no Docker engine; tests/docker checks the files",
    "recsys features --as-of": "tests/jobs/cli/test_distributed.py runs these three",
    "recsys init": "tests/jobs/cli/test_init.py runs these three",
    "recsys check": "tests/jobs/cli/test_init.py runs these three",
    "recsys nightly": "tests/jobs/cli/test_init.py runs these three",
    "recsys erase": "tests/jobs/erasure/test_erase.py runs these",
    "recsys users export": "tests/jobs/test_user_export.py runs this",
    "recsys pseudonyms": "tests/jobs/pseudonyms/test_rotation.py runs this",
    "torchrun": "tests/jobs/cli/test_distributed.py runs these three",
}
COMMAND = re.compile(r"^(make|docker|recsys|torchrun|pip|curl|redis-cli|python|\.venv/bin/\w+)\b.*$", re.MULTILINE)


def ids(blocks: list[CodeBlock]) -> list[str]:
    return [block.id for block in blocks]


CONSOLE = code_blocks("console")
PYTHON = code_blocks("python")
JAVASCRIPT = code_blocks("javascript")
TOML = code_blocks("toml")


@pytest.mark.parametrize("block", CONSOLE, ids=ids(CONSOLE))
def test_console_example(block: CodeBlock, demo_server: DemoServer, tmp_path: Path) -> None:
    for program in ("redis-cli", "curl"):
        if program in block.code and shutil.which(program) is None:
            pytest.skip(f"{program} is not on the PATH")
    shown = examples(block)
    # A key would close the server to the examples that send none.
    directory = tmp_path / "var" if "recsys keys" in block.code else demo_server.directory
    is_shell = any(not each.command.startswith("recsys ") for each in shown)
    try:
        if is_shell:
            printed = print_in_a_shell([each.command for each in shown], demo_server, tmp_path, directory)
        else:
            printed = [print_here(each.command, tmp_path, directory) for each in shown]
    finally:
        for name in ("var", "shop-var"):
            stop_server(tmp_path / name / "valkey")
    for example, (output, status, errors) in zip(shown, printed, strict=True):
        assert_as_shown(example, output, status, errors)


def print_in_a_shell(
    commands: list[str], demo_server: DemoServer, work_directory: Path, directory: Path
) -> list[tuple[str, int, str]]:
    """Run commands one after another; return the output and the status of each, and the errors of all."""
    script = "\n".join(f'{demo_server.localize(command)}\necho "@@ $?"' for command in commands)
    curl = 'curl() { command curl -sS --fail-with-body "$@"; }\n'
    done = demo_server.run(["bash", "-c", curl + script], work_directory, RECSYS_DIRECTORY=str(directory))
    printed = re.split(r"@@ (\d+)\n", done.stdout)
    assert len(printed) == 2 * len(commands) + 1, done.stdout + done.stderr
    return [(output, int(status), done.stderr) for output, status in zip(printed[::2], printed[1::2], strict=False)]


def print_here(command: str, work_directory: Path, directory: Path) -> tuple[str, int, str]:
    """Run `recsys` without a shell; return the output, the status and the errors."""
    done = run_recsys(work_directory, directory, *shlex.split(command)[1:])
    return done.stdout, done.returncode, done.stderr


def assert_as_shown(example: Example, output: str, status: int, errors: str) -> None:
    """Compare exit status and JSON fields with what the page shows; values differ from shop to shop."""
    is_refused = example.output.startswith('{"field"')
    assert (status != 0) == is_refused, (example.command, output, errors)
    if example.output:
        assert output.strip() not in ("", "(nil)"), (example.command, errors)
    fields = set(re.findall(r'"(\w+)":', example.output))
    assert fields <= set(re.findall(r'"(\w+)":', output)), (example.command, output)


@pytest.mark.parametrize("block", PYTHON, ids=ids(PYTHON))
def test_python_example(block: CodeBlock, demo_server: DemoServer) -> None:
    names: dict[str, Any] = {}
    exec(demo_server.localize(block.code), names)
    items = names["recommend"](USER, 2) if "recommend" in names else names["items"]
    assert len(items) == (2 if "recommend" in names else 10)
    if "recommend" in names:
        assert len(names["recommend"]("nobody", 3)) == 3


@pytest.mark.parametrize("block", JAVASCRIPT, ids=ids(JAVASCRIPT))
def test_javascript_example(block: CodeBlock, demo_server: DemoServer, tmp_path: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("node is not on the PATH")
    if not (NODE_MODULES / "redis").is_dir():
        pytest.skip(f"the package node-redis is not in {NODE_MODULES}")
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "redis").symlink_to(NODE_MODULES / "redis")
    (tmp_path / "recipe.mjs").write_text(demo_server.localize(block.code))
    (tmp_path / "use.mjs").write_text(
        'import { recommend } from "./recipe.mjs";\n'
        f'console.log((await recommend("{USER}", 2)).length, (await recommend("nobody", 3)).length);\n'
        "process.exit();\n"
    )
    done = demo_server.run(["node", "use.mjs"], tmp_path, NODE_PATH=str(NODE_MODULES))
    assert done.stdout.split() == ["2", "3"], done.stderr


@pytest.mark.parametrize("block", TOML, ids=ids(TOML))
def test_settings_example(block: CodeBlock) -> None:
    settings = TypeAdapter(Settings).validate_python(tomllib.loads(block.code))
    for table in settings.sources.tables:
        check_table(table)
    if "[schedule]" in block.code:
        assert settings == Settings()


def test_a_server_starts_with_the_settings_of_every_example(tmp_path: Path) -> None:
    """Some settings are checked by libraries with threads, which must not keep a worker from starting."""
    files: list[str] = []
    for code in sorted((block.code for block in TOML), key=lambda code: code.lstrip().startswith("[")):
        together = "\n".join([*files[-1:], code])
        try:
            TypeAdapter(Settings).validate_python(tomllib.loads(together))
        except (tomllib.TOMLDecodeError, ValidationError):  # the last file has one of these settings already
            files.append(code)
        else:
            files[-1:] = [together]
    assert len(files) < len(TOML)
    for number, text in enumerate(files):
        with serving(tmp_path / str(number), text) as served:
            assert served.http.get("/live").json() == {"status": "live"}


def test_every_other_command_is_run_elsewhere() -> None:
    commands = [match[0] for block in code_blocks("") for match in COMMAND.finditer(block.code)]
    assert commands
    for command in commands:
        assert any(command.startswith(prefix) for prefix in NOT_RUN), command
    for prefix in NOT_RUN:
        assert any(command.startswith(prefix) for command in commands), prefix
