"""The errors a user of the software sees; each prints as one line and ends the command with status 2."""


class RecsysError(Exception):
    """A mistake or condition the user can act on; the message is one line, complete in itself."""


class SettingsError(RecsysError):
    """A setting has a name or a value that is not accepted."""


class SourceError(RecsysError):
    """A source file cannot be read or does not have the columns its mapping names."""


class NotEnoughDataError(RecsysError):
    """There is too little data for the step that was asked for."""


class ModelError(RecsysError):
    """A model could not be fitted, saved or loaded."""


class StoreError(RecsysError):
    """Redis cannot be reached, refuses a write, or holds something other than what was written."""


class ServingError(RecsysError):
    """The address to serve on cannot be used."""


class ApiKeyError(RecsysError):
    """An API key cannot be made or found, or the file of keys cannot be read."""


class NothingPublishedError(StoreError):
    """No version is live yet."""


class RunError(RecsysError):
    """A run directory cannot be used as it is: locked, finished, or made with other settings."""


class BusyError(RecsysError):
    """Another process is doing the same job."""
