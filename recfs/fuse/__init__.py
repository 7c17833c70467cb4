"""The kernel's side: requests translated for `vfs.Filesystem`. Only here is pyfuse3 imported."""
