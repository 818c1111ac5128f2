"""Several hosts, a Slurm and MPI's launchers on one machine, for tests of what runs across hosts. Linux, as root, without Docker.

    from lab import Namespaces, Slurm, Mpi

Each is a context manager; none leaves anything behind, and what a killed program left, the next one takes away.
Run alone, it checks itself in less than a minute and prints what variables the launchers set: lab.py [PART..] [--install]
With --hold it starts hosts and Slurm, says how to reach them, and waits for Ctrl-C.
"""

import argparse
import contextlib
import signal
import sys
from typing import NoReturn

from check import check
from mpi import Mpi, mpiexec_mpich, mpirun
from namespaces import Addresses, Namespaces
from packages import NEEDED, require
from processes import LabError, signals_unwind
from slurm import Slurm

__all__ = ["Addresses", "LabError", "Mpi", "Namespaces", "Slurm", "mpiexec_mpich", "mpirun", "require", "signals_unwind"]


def hold(parts: list[str]) -> NoReturn:
    """Starts hosts and Slurm for a person, until Ctrl-C."""
    with contextlib.ExitStack() as stack:
        if "hosts" in parts:
            hosts = stack.enter_context(Namespaces())
            print(f"ssh -F {hosts.ssh_config} {hosts.names[0]}", flush=True)
        if "slurm" in parts:
            print(f"SLURM_CONF={stack.enter_context(Slurm()).configuration} srun -n4 hostname", flush=True)
        print("Ctrl-C ends it", flush=True)
        while True:
            signal.pause()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(NEEDED)}; all by default")
    parser.add_argument("--install", action="store_true", help="install what is missing with apt-get")
    parser.add_argument("--hold", action="store_true", help="start hosts and Slurm, and wait")
    options = parser.parse_args()
    parts = options.parts or list(NEEDED)
    if unknown := set(parts) - set(NEEDED):
        parser.error(f"no part of the lab: {', '.join(sorted(unknown))}; there are {', '.join(NEEDED)}")
    require(parts, options.install)
    try:
        with signals_unwind():
            if options.hold:
                hold(parts)
            return check(parts)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
