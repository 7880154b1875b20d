"""What the kernel says of this machine: file systems, and what may be watched.

Owns the reading of /proc; every function gives None or nothing where it cannot be known.
"""

from __future__ import annotations

from pathlib import Path

# Where SQLite's shared memory does not work between the machines, or locks are not to be trusted.
NETWORK = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre"),
        *("fuse.sshfs", "fuse.s3fs", "fuse.rclone", "fuse.glusterfs", "ocfs2", "gfs2"),
    }
)
FLEETING = frozenset({"tmpfs", "ramfs", "overlay"})


def file_system(path: Path) -> str:
    """The kind of the file system where `path` lies, as mount(8) calls it; "" when unknown."""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        wanted = path.resolve()
    except OSError:
        return ""
    best, kind = -1, ""
    for line in lines:
        before, _, after = line.partition(" - ")
        place = Path(before.split()[4].encode().decode("unicode_escape"))
        # Of several mounts on one place the last one counts.
        if wanted.is_relative_to(place) and len(place.parts) >= best:
            best, kind = len(place.parts), after.split()[0]
    return kind


def inotify_watches() -> int | None:
    """How many folders each account may watch."""
    try:
        return int(Path("/proc/sys/fs/inotify/max_user_watches").read_text())
    except (OSError, ValueError):
        return None
