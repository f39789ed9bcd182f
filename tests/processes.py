"""Processes that may end while they are looked at."""

import psutil


def command_of(process: psutil.Process) -> str:
    """Its command line; empty for one that has ended, waited for or not."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
