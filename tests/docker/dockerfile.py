"""A Dockerfile's instructions, by stage."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Instruction:
    """One instruction: its flags, as in --from=build, and the rest of it in one line."""

    name: str
    flags: dict[str, str]
    text: str

    @property
    def words(self) -> list[str]:
        """The words of an exec form, or of a line without quotes."""
        return json.loads(self.text) if self.text.startswith("[") else self.text.split()


@dataclass(frozen=True)
class Stage:
    """What one FROM begins."""

    image: str
    name: str | None
    instructions: list[Instruction] = field(default_factory=list[Instruction])

    def all(self, name: str) -> list[Instruction]:
        """Its instructions of a name, in order."""
        return [each for each in self.instructions if each.name == name]

    def only(self, name: str) -> Instruction:
        """Its one instruction of a name."""
        (result,) = self.all(name)
        return result


def read_dockerfile(file: Path) -> list[Stage]:
    """The stages of a Dockerfile."""
    lines = [line for line in file.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    stages: list[Stage] = []
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).split("\n"):
        instruction = _read(line)
        if instruction.name == "FROM":
            image, _, name = instruction.text.partition(" AS ")
            stages.append(Stage(image, name or None))
        else:
            stages[-1].instructions.append(instruction)
    return stages


def _read(line: str) -> Instruction:
    name, _, rest = line.partition(" ")
    assert name in {"ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "RUN", "USER",
                    "VOLUME", "WORKDIR"}  # fmt: skip
    flags: dict[str, str] = {}
    while result := re.match(r"--([a-z-]+)=(\S+)\s+", rest):
        flags[result[1]] = result[2]
        rest = rest[result.end() :]
    return Instruction(name, flags, rest.strip())
