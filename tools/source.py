"""The source that is built."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def commit():
    """The commit that is checked out, and whether it was modified since."""
    command = ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=-modified"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip() or "unknown"
