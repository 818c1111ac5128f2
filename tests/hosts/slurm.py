"""Slurm on one machine: its controller, and a slurmd for each of several nodes, which are all this machine.

    with Slurm() as slurm:
        slurm.srun(["-N", "2", "-n", "4", "--overcommit"], ["hostname"]).wait()

Nothing of a Slurm that is installed here is used but its programs: key, configuration and state are the lab's. What a node's tasks
can tell it by is SLURMD_NODENAME; `hostname` is the machine's.
"""

import os
import secrets
import shutil
import subprocess
from collections.abc import Sequence

import leftovers
from processes import PATH, LabError, clean_environment, descendants, environment, free_ports, start, stop, wait_until

CONFIGURATION = """ClusterName=lab
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
KillWait={kill_wait_s}
{nodes}PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODE = "NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs={cpus} State=UNKNOWN\n"


class Slurm(leftovers.Part):
    """`nodes` nodes, node1 and so on, of `cpus` each: with one, `srun -n4` takes four nodes, and `-N1 -n4 --overcommit` one.

    `kill_wait_s` is how long Slurm waits between the signal that asks and the one that kills; 30 is its own default.
    """

    kind = "slurm"

    def __init__(self, nodes: int = 4, cpus: int = 1, kill_wait_s: int = 30) -> None:
        super().__init__()
        self.nodes = [f"node{number}" for number in range(1, nodes + 1)]
        self.cpus = cpus
        self.kill_wait_s = kill_wait_s

    def env(self, **more: str) -> dict[str, str]:
        """The variables with which srun, sbatch and scancel find this Slurm."""
        return clean_environment(SLURM_CONF=str(self.configuration), **more)

    def srun(self, arguments: Sequence[object], command: Sequence[object], **popen) -> subprocess.Popen:
        """Starts srun."""
        return self.popen("srun", *arguments, *command, **popen)

    def popen(self, program: str, *arguments: object, **popen) -> subprocess.Popen:
        """Starts any program of Slurm's, or one that asks it."""
        popen.setdefault("env", self.env())
        popen.setdefault("text", True)
        return subprocess.Popen([program, *map(str, arguments)], **popen)

    def ask(self, program: str, *arguments: object) -> str:
        """What a program of Slurm's says that has to end well."""
        asked = self.popen(program, *arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        said, errors = asked.communicate()
        if asked.returncode != 0:
            raise LabError(f"{program} {' '.join(map(str, arguments))}: code {asked.returncode}: {errors.strip()}")
        return said

    def sbatch(self, arguments: Sequence[object], script: str | os.PathLike[str]) -> int:
        """Submits a script; the id of its job."""
        return int(self.ask("sbatch", "--parsable", *arguments, script).split(";")[0])

    def jobs(self) -> dict[int, str]:
        """The jobs that have not ended, and their states: RUNNING, COMPLETING and so on."""
        return {int(job): state for job, state in (line.split() for line in self.ask("squeue", "-h", "-o", "%A %T").splitlines())}

    def scancel(self, job: int, *arguments: object) -> None:
        """Cancels a job, or with `-s SIGNAL` sends it a signal."""
        self.ask("scancel", *arguments, job)

    def processes(self, node: str | None = None) -> list[int]:
        """The processes of all job steps, or of those on one node: tasks, what they started, and batch scripts; not slurmstepd.

        Also those that left their group and whose parents ended, by the variables that they began with.
        """
        mark = f"SLURMD_NODENAME={node}" if node else "SLURMD_NODENAME="
        # slurmstepd sets SLURM_CONF for whatever it starts, so that all have the mark of the folder
        tasks = [pid for pid in leftovers.marked(self.folder) if any(each.startswith(mark.encode()) for each in environment(pid))]
        return sorted({*tasks, *descendants(tasks)})

    def build(self) -> None:
        self.configuration = self.folder / "slurm.conf"
        self._munge()
        (self.folder / "state").mkdir()
        control, *ports = free_ports(1 + len(self.nodes))
        nodes = "".join(NODE.format(name=name, port=port, cpus=self.cpus) for name, port in zip(self.nodes, ports))
        self.configuration.write_text(CONFIGURATION.format(port=control, folder=self.folder, nodes=nodes, kill_wait_s=self.kill_wait_s))
        self._daemon("slurmctld", "-D")
        for node in self.nodes:
            (self.folder / f"spool-{node}").mkdir()
            self._daemon("slurmd", "-D", "-N", node)
        wait_until(self._words, self._is_ready, pause_s=0.1)

    def _munge(self) -> None:
        """The service by which the programs of Slurm trust each other, with a key of its own."""
        key = self.folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(128))
        files = [f"--{kind}-file={self.folder}/munge.{kind}" for kind in ("key", "pid", "log", "seed")]
        self._daemon("munged", "--foreground", f"--socket={self.folder}/munge.socket", *files)
        wait_until(lambda: f"munged listens, which said: {self._log('munged')}", (self.folder / "munge.socket").exists)

    def _daemon(self, program: str, *arguments: object) -> None:
        path = shutil.which(program, path=PATH)
        if not path:
            raise LabError(f"{program} is not there")
        daemon = start([path, *arguments], self.folder / f"{program}.words", env=self.env())
        # SIGKILL: they would write their state and wait for their jobs, of which nothing is kept
        self.stack.callback(stop, daemon, 0)

    def _is_ready(self) -> bool:
        try:
            return self.ask("sinfo", "-h", "-o", "%T %D").split() == ["idle", str(len(self.nodes))]
        except LabError:
            return False  # the controller does not listen yet

    def _words(self) -> str:
        return "all nodes are idle; said was: " + "; ".join(f"{name}: {self._log(name)}" for name in ("slurmctld", "slurmd"))

    def _log(self, program: str) -> str:
        path = self.folder / f"{program}.words"
        return path.read_text(errors="replace").strip()[-2000:] if path.exists() else "nothing"
