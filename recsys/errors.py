"""Errors reported to the user; each prints as one line and ends the command with exit status 2."""


class RecsysError(Exception):
    """A mistake or condition that the user can act on; the message is one self-contained line."""


class SettingsError(RecsysError):
    """A setting has a name or a value that is not accepted."""


class SourceError(RecsysError):
    """A source cannot be read, or lacks columns that its mapping names."""


class StateError(RecsysError):
    """A file in which recsys keeps its own state is damaged."""


class NotEnoughDataError(RecsysError):
    """There is too little data for the requested step."""


class ModelError(RecsysError):
    """A model could not be fitted, saved or loaded."""


class StoreError(RecsysError):
    """Redis is unavailable, refuses a write, or holds something other than what was written."""


class ServingError(RecsysError):
    """The address to serve on cannot be used."""


class ApiKeyError(RecsysError):
    """An API key cannot be created or found, or the file of keys cannot be read."""


class AuditError(RecsysError):
    """The audit log cannot be written or read, or has been changed."""


class NothingPublishedError(StoreError):
    """No version is live yet."""


class RunError(RecsysError):
    """A run directory cannot be used: it is locked, finished, or was made with other settings."""


class BusyError(RecsysError):
    """Another process is doing the same job."""
