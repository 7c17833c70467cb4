"""File-system semantics over a backing directory, without a kernel in sight.

`Filesystem` carries one method per FUSE request. It works on numbers and nodes; `fuse/` translates.
"""
