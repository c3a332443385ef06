"""The version of the distribution, and of the layout of saved engines."""

__version__ = "0.1.0"

#: raised when a saved engine of the last version can no longer be read
FORMAT_VERSION = 3
