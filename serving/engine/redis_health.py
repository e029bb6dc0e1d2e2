"""What is wrong with the data in Redis although it answers, such as emptied, evicting, or of other pseudonyms."""

from collections.abc import Callable
from typing import Final, Literal, get_args

import structlog

Problem = Literal["empty", "restored", "evicting", "replica", "no_word", "pseudonym_key"]
EMPTY: Final = "Redis has lost its lists: publish them again (`recsys publish`)"
RESTORED: Final = "Redis has lost data, as after a restored backup: publish again (`recsys nightly`)"
PROBLEMS: Final[tuple[Problem, ...]] = get_args(Problem)

log = structlog.get_logger()


class RedisHealth:
    """The problems of the data in Redis now; each is logged once when it begins, and once when it ends."""

    def __init__(self, on_problem: Callable[[Problem], None] = lambda _problem: None) -> None:
        """Create it without problems; `on_problem` is called when one begins."""
        self._on_problem = on_problem
        self._messages: dict[Problem, str] = {}

    @property
    def is_sound(self) -> bool:
        """Return whether there is no problem."""
        return not self._messages

    @property
    def messages(self) -> list[str]:
        """Return in words what is wrong."""
        return [self._messages[problem] for problem in PROBLEMS if problem in self._messages]

    def report(self, problem: Problem, message: str | None) -> None:
        """Note that there is a problem, or with None that there is not."""
        if message is None:
            if self._messages.pop(problem, None) is not None:
                log.info("Redis is well again", problem=problem)
            return
        if problem not in self._messages:
            log.error(message, problem=problem)
            self._on_problem(problem)
        self._messages[problem] = message
