"""The audit log as commands write it: the user of the operating system, on this host."""

import os
import pwd
import socket
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from recsys.audit.chain import Action, Actor
from recsys.audit.log import AuditLog
from recsys.event_ids import new_id
from recsys.settings import Settings

ROTATED_PREFIX: Final = "audit-"


def audit(
    settings: Settings,
    action: str,
    *,
    user_id: str | None = None,
    subject: str | None = None,
    detail: str | None = None,
) -> None:
    """Add what a command is about to do to the audit log; `user_id` is the id under which the user is stored.

    Raises `AuditError` if that cannot be written: the command then does nothing.
    """
    AuditLog(settings.directory).add(command_actor(), action, user_id=user_id, subject=subject, detail=detail)


def audit_users(settings: Settings, action: str, users: Iterable[str], detail: str | None = None) -> None:
    """Add a line for each of some users, as `audit`, all of them together."""
    actor = command_actor()
    AuditLog(settings.directory).add_all([Action(actor, action, user_id, detail=detail) for user_id in users])


def rotate_audit_log(settings: Settings) -> str | None:
    """Move the log to a directory of its own; return its name below the data directory, None without a log."""
    name = f"{ROTATED_PREFIX}{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    moved = AuditLog(settings.directory).rotate(command_actor(), name)
    return None if moved is None else name


def command_actor() -> Actor:
    """Return who runs this command."""
    return Actor("command", _system_user(), socket.gethostname(), new_id())


def _system_user() -> str:
    """Return the name of the user of the process, whatever the environment says."""
    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
