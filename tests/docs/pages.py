"""Read the code blocks of README.md, CONTRIBUTING.md and docs/."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class CodeBlock:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    code: str

    @property
    def id(self) -> str:
        """Name the block in the output of pytest."""
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Example:
    """A command of a console block and the output that the page shows."""

    command: str
    output: str


def code_blocks(language: str) -> list[CodeBlock]:
    """Find the blocks of a language in all pages."""
    return [block for page in PAGES for block in _blocks(page) if block.language == language]


def examples(block: CodeBlock) -> list[Example]:
    """Split a console block into commands, which start with `$ `, and their output."""
    parts = re.split(r"^\$ ", block.code, flags=re.MULTILINE)
    assert not parts[0].strip(), f"{block.id} starts with output"
    return [Example(*_split_once(part)) for part in parts[1:]]


def _split_once(part: str) -> tuple[str, str]:
    command, _, output = part.partition("\n")
    return command, output


def _blocks(page: Path) -> list[CodeBlock]:
    text = page.read_text()
    return [
        CodeBlock(page.relative_to(ROOT).as_posix(), text.count("\n", 0, match.start()) + 1, match[1], match[2])
        for match in _FENCE.finditer(text)
    ]
