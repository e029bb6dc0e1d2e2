"""What `recsys init` concludes of some files or a database, and an ingest by it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from jobs.ingest.commit import TableCount
from jobs.ingest.ingest import ingest
from jobs.lake.lake import Lake
from jobs.mapping_inference.draft import DraftedSettings, draft_settings
from jobs.mapping_inference.questions import Question
from jobs.mapping_inference.settings_file import render
from recsys.settings import Settings, load_settings

NOW = datetime(2025, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class InferredSources:
    """Settings that were concluded, the questions that were asked, and the lake that they lead to."""

    drafted: DraftedSettings
    settings: Settings
    questions: list[str]
    lake: Lake
    counts: dict[str, TableCount]

    @property
    def recipes(self) -> set[str]:
        """Return the recipes that tables are taken from."""
        return {each.recipe for each in self.drafted.draft.inference.conclusions}


def infer_and_ingest(directory: Path, *sources: str | Path, **answers: str) -> InferredSources:
    """Conclude how sources are read, and ingest them; a question with a key of `answers` gets its value."""
    questions: list[str] = []

    def ask(question: Question) -> str:
        questions.append(question.text)
        return next((answer for words, answer in answers.items() if words in question.text), question.default)

    scratch = directory / "scratch"
    scratch.mkdir()
    settings = Settings(directory=directory / "var")
    drafted = draft_settings([*map(str, sources)], settings, ask, directory, scratch, NOW)
    file = directory / "recsys.toml"
    file.write_text(render(drafted.draft))
    uris = {
        f"RECSYS_SOURCES_CONNECTIONS_{name.upper()}": str(sources[0]) for name in drafted.draft.secret_connections
    }
    written = load_settings(file, uris)
    lake = Lake(directory / "lake")
    counts = ingest(written.sources.paths, written.sources, lake, NOW, queries=bool(written.sources.queries))
    return InferredSources(drafted, written, questions, lake, {count.table: count for count in counts})


Infer = Callable[..., InferredSources]
