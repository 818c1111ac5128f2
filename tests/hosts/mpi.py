"""MPI's launchers, without MPI: the processes that Open MPI's mpirun and MPICH's mpiexec start on this machine."""

import os
import subprocess
from collections.abc import Sequence
from typing import Any

import leftovers
from processes import clean_environment, snapshot

# What a process says to MPICH's mpiexec at PMI_FD before it may ask for more, and the question for the name of its job.
# It has to say so when it ends: mpiexec kills the others of one that began and left without.
PMI_BEGIN = "cmd=init pmi_version=1 pmi_subversion=1"
PMI_JOB = "cmd=get_my_kvsname"
PMI_END = "cmd=finalize"

LAUNCHERS = frozenset({"mpirun.openmpi", "mpiexec.hydra", "hydra_pmi_proxy"})


class Mpi(leftovers.Part):
    """The launchers with a folder for what they leave behind, which ends whatever they started: also what left its group.

    That is much: of an mpirun that is killed, all tasks; of each task that ends, the children in sessions of their own.
    """

    kind = "mpi"

    def mpirun(self, arguments: Sequence[object], command: Sequence[object], **popen) -> subprocess.Popen:
        """`mpirun`, whose processes are known."""
        session = ["--mca", "orte_tmpdir_base", self.folder]
        return mpirun([*session, *arguments], command, **self._marked(popen))

    def mpiexec_mpich(self, arguments: Sequence[object], command: Sequence[object], **popen) -> subprocess.Popen:
        """`mpiexec_mpich`, whose processes are known."""
        return mpiexec_mpich(arguments, command, **self._marked(popen))

    def processes(self) -> list[int]:
        """Tasks and what they started, without the launchers."""
        known = snapshot()
        return sorted(pid for pid in leftovers.marked(self.folder) if pid in known and known[pid].command not in LAUNCHERS)

    def build(self) -> None:
        """There is nothing to make but the folder."""

    def _marked(self, popen: dict[str, Any]) -> dict[str, Any]:
        environment = popen.get("env") or clean_environment()
        return {**popen, "env": {**environment, "LAB_FOLDER": os.fspath(self.folder)}}


def mpirun(arguments: Sequence[object], command: Sequence[object], **popen) -> subprocess.Popen:
    """Starts Open MPI's mpirun, as root and with more processes than processors. Where it is killed, its tasks go on."""
    return launch(["mpirun.openmpi", "--allow-run-as-root", "--oversubscribe"], arguments, command, popen)


def mpiexec_mpich(arguments: Sequence[object], command: Sequence[object], **popen) -> subprocess.Popen:
    """Starts MPICH's mpiexec. Standard input is that of rank 0 alone; for the others it is a pipe that does not end."""
    return launch(["mpiexec.hydra", "-launcher", "fork"], arguments, command, popen)


def launch(launcher: list[str], arguments: Sequence[object], command: Sequence[object], popen: dict[str, Any]) -> subprocess.Popen:
    popen.setdefault("env", clean_environment())
    popen.setdefault("text", True)
    return subprocess.Popen([*launcher, *map(str, arguments), *map(str, command)], **popen)
