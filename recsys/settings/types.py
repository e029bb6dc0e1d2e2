"""Types of settings: ranges, names, addresses that may hold secrets, time zones, memory sizes."""

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import polars as pl
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, PlainSerializer
from pydantic_core import PydanticCustomError

from recsys.cron import Cron
from recsys.schema import MIN_TIMESTAMP

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


def _check_polars_zone(name: str) -> str:
    try:
        pl.select(pl.lit(MIN_TIMESTAMP).dt.convert_time_zone(name))
    except pl.exceptions.PolarsError:
        raise PydanticCustomError("time_zone", "expected a time zone such as Europe/London") from None
    return name


def check_clock_zone(name: str) -> str:
    """Return the name of a time zone; raises an error if the standard library does not have it."""
    try:
        ZoneInfo(name)
    except (OSError, ValueError):
        raise PydanticCustomError("time_zone", "expected a time zone of this system's database") from None
    return name


def _check_cron(expression: str) -> str:
    if expression:
        try:
            Cron.parse(expression)
        except ValueError as error:
            raise PydanticCustomError("cron", "{problem}", {"problem": str(error)}) from None
    return expression


def _check_distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    repeated = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if repeated is not None:
        raise PydanticCustomError("distinct", "{name} is listed twice", {"name": repr(repeated)})
    return names


def _check_network(network: str) -> str:
    try:
        return str(ip_network(network))
    except ValueError:
        raise PydanticCustomError("network", "expected a network such as 10.0.0.0/8") from None


def _check_host_name(host: str) -> str:
    name = host.lower()
    if name == ANY or re.fullmatch(r"[a-z0-9._-]{1,253}|\[?[0-9a-f:.]{2,45}\]?", name):
        return name.strip("[]")
    raise PydanticCustomError("host_name", "expected a host name or address without scheme and port, or *")


def _check_origin(origin: str) -> str:
    parts = urlsplit(origin.lower())
    if origin == ANY or (parts.scheme in ("http", "https") and parts.netloc and not (parts.path or parts.query)):
        return origin.lower()
    raise PydanticCustomError("origin", "expected an origin such as https://shop.example, or *")


def _check_path(value: Any) -> Any:
    if isinstance(value, str) and not value.strip():
        raise PydanticCustomError("path", "expected a path")
    return value


def redact_address(address: str) -> str:
    """Return an address without user, password and query, which may be secret; other text is returned unchanged."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address
    try:
        parts = urlsplit(f"//{rest}")
    except ValueError:
        return f"{scheme}://{REDACTED}"
    return f"{scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


REDACTED = "(not shown)"
ANY = "*"
Secret = Annotated[str, PlainSerializer(lambda _value: REDACTED, return_type=str, when_used="json")]
SourceAddress = Annotated[str, PlainSerializer(redact_address, return_type=str, when_used="json")]
TimeZone = Annotated[str, AfterValidator(_check_polars_zone)]
Network = Annotated[str, AfterValidator(_check_network)]
HostName = Annotated[str, AfterValidator(_check_host_name)]
Origin = Annotated[str, AfterValidator(_check_origin)]
CronOrNever = Annotated[str, AfterValidator(_check_cron)]
Share = Annotated[float, Field(ge=0, le=1)]
FilePath = Annotated[Path, BeforeValidator(_check_path)]
Names = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_check_distinct)]
Positive = Annotated[int, Field(gt=0)]
Length = Annotated[int, Field(ge=1, le=1000)]
OptionalLength = Annotated[int, Field(ge=0, le=1000)]
Days = Annotated[float, Field(gt=0)]
DaysOrForever = Annotated[float, Field(ge=0, le=36_500)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Device = Literal["auto", "cpu", "cuda"]
MEMORY_UNITS = {"": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}


def _memory_bytes(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) *([KMGT]B)?", value.strip().upper())
    if match is None:
        raise PydanticCustomError("memory", "expected bytes, or text such as 512MB or 8GB")
    return int(float(match[1]) * MEMORY_UNITS[match[2] or ""])


Memory = Annotated[int, BeforeValidator(_memory_bytes), Field(gt=0)]
