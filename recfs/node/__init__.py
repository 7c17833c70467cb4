"""The composition root: settings, then parts, then run, then close in reverse.

`mount` and `restore` are what the command line calls, and what a program that embeds recfs may.
"""

from .mounting import mount
from .restoring import restore

__all__ = ["mount", "restore"]
