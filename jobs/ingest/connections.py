"""Where the queries of tables run."""

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from recsys.errors import SettingsError
from recsys.settings import Sources, Table
from recsys.settings.types import REDACTED, redact_address

SCHEMES = ("postgresql", "postgres", "mysql", "mariadb", "sqlite")


@dataclass(frozen=True)
class Connection:
    """A database, under the name that messages give it."""

    name: str
    uri: str

    @property
    def scheme(self) -> str:
        """Which kind of database it is."""
        return self.uri.partition("://")[0]

    def without_secrets(self, text: str) -> str:
        """What a driver says, without what it may repeat of the URI."""
        password = urlsplit(self.uri).password or ""
        for secret in (self.uri, password, unquote(password)):
            text = text.replace(secret, REDACTED) if secret else text
        return text


def resolve_connection(table: Table, sources: Sources) -> Connection:
    """Where a table's query runs; raises `SettingsError` when it is not said, or in no form that is understood."""
    named = table.connection or ""
    setting = f"sources.connections.{named}" if "://" not in named else f"sources.tables.{table.name}.connection"
    uri = named if "://" in named else sources.connections.get(named)
    if uri is None:
        known = ", ".join(sources.connections) or "none"
        raise SettingsError(
            f"sources.tables.{table.name}.connection = {named!r}: expected a name of sources.connections "
            f"(there: {known}) or a URI"
        )
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme not in SCHEMES:
        raise SettingsError(f"{setting}: expected a URI that begins with one of {', '.join(SCHEMES)}://")
    place = rest.partition("?")[0]
    user_and_host = place.partition("/")[0]
    try:
        _ = urlsplit(uri).port
        readable = place.count("@") == user_and_host.count("@") <= 1
    except ValueError:
        readable = False
    if scheme != "sqlite" and not readable:
        raise SettingsError(f"{setting}: not a URI; in a password @ is written %40, / is %2F and : is %3A")
    if scheme == "sqlite" and not rest.startswith("/"):
        raise SettingsError(f"{setting}: expected a path after sqlite:///, an absolute one after sqlite:////")
    return Connection(redact_address(named), uri)
