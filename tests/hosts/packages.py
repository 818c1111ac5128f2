"""What the lab needs of Debian, or of what is like it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Collection

from processes import PATH

# the packages by the part that needs them, with a program or a file of each that shows that it is there
NEEDED = {
    "hosts": {"iproute2": "ip", "openssh-server": "sshd", "openssh-client": "ssh", "gcc": "cc", "libc6-dev": "/usr/include/stdlib.h"},
    "slurm": {"slurm-wlm": "slurmctld", "munge": "munged"},
    "mpi": {"openmpi-bin": "mpirun.openmpi", "mpich": "mpiexec.hydra"},
}


def missing(parts: Collection[str]) -> list[str]:
    """The packages of these parts that are not there."""
    return [package for part in parts for package, sign in NEEDED[part].items() if not is_there(sign)]


def is_there(sign: str) -> bool:
    """Whether a file is there, or a program, which has no slash."""
    return os.path.exists(sign) if "/" in sign else shutil.which(sign, path=PATH) is not None


def install(packages: Collection[str]) -> None:
    """Installs packages; ends the program where that fails."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    if subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", *packages], env=environment).returncode != 0:
        sys.exit("lab: apt-get failed; remedy: apt-get update, if its lists are old")


def require(parts: Collection[str], may_install: bool = False) -> None:
    """Ends the program, with the remedy, where something is missing that these parts need."""
    if os.geteuid() != 0:
        sys.exit("lab: namespaces, mounts and Slurm's daemons need root; remedy: run it as root")
    lacking = missing(parts)
    if lacking and may_install:
        install(lacking)
    elif lacking:
        sys.exit(f"lab: missing: {', '.join(lacking)}; remedy on Debian and Ubuntu: apt-get install {' '.join(lacking)}, or --install")
