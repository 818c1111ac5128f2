"""The manifests of deploy/ by Kubernetes' own schemas, in which unknown fields are refused, and by what has to agree in them: numbers,
names and ports. That each rule can fail is tried with a damaged manifest. Then the scenario, and the batch script for Slurm, as far as a
shell can tell. JobSet's schema is not among Kubernetes': its own fields are held against those that are used here, its Jobs against a
Job's schema. Usage: deploy_check.py RUNNER"""

import pathlib
import re
import shutil
import subprocess
import sys

import jsonschema
import kubernetes_validate
import yaml

try:
    import tomllib
except ImportError:
    import tomli as tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
# the oldest that has what the manifests use switched on, and the newest that the package knows
VERSIONS = ("1.29", kubernetes_validate.latest_version())


def table(required, **optional):
    """The schema of a table that has these keys and no others."""
    return {
        "type": "object",
        "properties": {**required, **optional},
        "required": list(required),
        "additionalProperties": False,
    }


TEXT, NUMBER, TABLE = {"type": "string"}, {"type": "integer"}, {"type": "object"}
# jobset.x-k8s.io/v1alpha2, as far as it is used
JOBSET = table(
    {
        "apiVersion": {"const": "jobset.x-k8s.io/v1alpha2"},
        "kind": {"const": "JobSet"},
        "metadata": table({"name": TEXT}),
        "spec": table(
            {
                "network": table(
                    {"enableDNSHostnames": {"const": True}, "publishNotReadyAddresses": {"const": True}}, subdomain=TEXT
                ),
                "replicatedJobs": {
                    "type": "array",
                    "minItems": 1,
                    "items": table({"name": TEXT, "replicas": NUMBER, "template": table({"spec": TABLE}, metadata=TABLE)}),
                },
            }
        ),
    }
)


class Refused(Exception):
    """What is wrong with a manifest."""


class Loader(yaml.SafeLoader):
    """YAML of which no key is given twice: Kubernetes refuses that, and PyYAML takes the last one."""


def unique(loader, node):
    keys = [key.value for key, _ in node.value]
    if len(keys) != len(set(keys)):
        raise Refused(f"a key is given twice: {keys}")
    return loader.construct_mapping(node, deep=True)


Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, unique)


def jobs_of(document):
    """A document's Jobs: its own, or those that a JobSet makes."""
    if document["kind"] == "Job":
        return [document]
    replicated = document["spec"]["replicatedJobs"] if document["kind"] == "JobSet" else []
    return [{"apiVersion": "batch/v1", "kind": "Job", "metadata": {}, **job["template"]} for job in replicated]


def check_schemas(document):
    try:
        if document["kind"] == "JobSet":
            jsonschema.validate(document, JOBSET)
        for part in jobs_of(document) or [document]:
            for version in VERSIONS:
                kubernetes_validate.validate(part, version, strict=True)
    except jsonschema.ValidationError as error:
        # without the schema itself, which is long
        raise Refused(f"{document['kind']}, {error.json_path}: {error.message}") from None


def expect(what, found, expected):
    if found != expected:
        raise Refused(f"{what}: {found}, expected {expected}")


def check_agreement(documents, commands):
    """What has to agree within a file, and with the commands that make its Secret and its ConfigMap. Gives the Job, without the
    leader's name."""
    kinds = {document["kind"]: document for document in documents}
    owner = kinds.get("JobSet") or kinds["Job"]
    (job,) = jobs_of(owner)
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    labels = spec["template"]["metadata"]["labels"]
    env = {variable["name"]: variable for variable in container["env"]}
    name = owner["metadata"]["name"]

    expect("completions", spec["completions"], spec["parallelism"])
    expect("RUNNER_SIZE", env["RUNNER_SIZE"]["value"], str(spec["completions"]))
    expect("completionMode", spec["completionMode"], "Indexed")
    expect("restartPolicy", pod["restartPolicy"], "Never")
    expect("retries", (spec.get("backoffLimitPerIndex"), spec.get("backoffLimit")), (0, None))

    host, port = env["RUNNER_LEADER"]["value"].split(":")
    if owner["kind"] == "JobSet":
        (replicated,) = owner["spec"]["replicatedJobs"]
        expect("replicas", replicated["replicas"], 1)
        leader = f"{name}-{replicated['name']}-0-0.{owner['spec']['network'].get('subdomain', name)}"
    else:
        service = kinds["Service"]
        expect("clusterIP", service["spec"]["clusterIP"], "None")
        expect("the Service's selector", service["spec"]["selector"].items() <= labels.items(), True)
        expect("the Service's ports", [entry["port"] for entry in service["spec"]["ports"]], [int(port)])
        expect("subdomain", pod["subdomain"], service["metadata"]["name"])
        leader = f"{name}-0.{pod['subdomain']}"
    expect("RUNNER_LEADER's name", host, leader)

    policy = kinds["NetworkPolicy"]["spec"]
    (rule,) = policy["ingress"]
    expect("who is guarded", policy["podSelector"]["matchLabels"], labels)
    expect("who may come", rule["from"], [{"podSelector": {"matchLabels": labels}}])
    expect("the policy's ports", rule["ports"], [{"protocol": "TCP", "port": int(port)}])
    expect("containerPort", [entry["containerPort"] for entry in container["ports"]], [int(port)])

    apart = pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0]
    expect("what pods stay apart by", apart["topologyKey"], "kubernetes.io/hostname")
    expect("which pods stay apart", apart["labelSelector"]["matchLabels"], labels)
    expect("limits", container["resources"]["limits"], container["resources"]["requests"])
    expect("whole CPUs", container["resources"]["limits"]["cpu"].isdigit(), True)

    secret = env["RUNNER_TOKEN"]["valueFrom"]["secretKeyRef"]
    expect("the Secret is made", commands.get(("secret generic", secret["name"])), secret["key"])
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    expect("mounted volumes", set(mounts), set(volumes))
    writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    expect("where the program may write", writable, {"/runner/results", "/tmp"})
    scenario = commands.get(("configmap", volumes["scenario"]["configMap"]["name"]))
    expect("the scenario", f"/runner/{container['args'][0]}", f"{mounts['scenario']}/{scenario}")

    pod.pop("subdomain", None)
    del env["RUNNER_LEADER"]
    container["env"] = env
    return spec


def check(text, commands):
    documents = list(yaml.load_all(text, Loader))
    for document in documents:
        check_schemas(document)
    return check_agreement(documents, commands)


# a pattern in a manifest, what is put in its place, and what is then said
DAMAGE = [
    (r"completionMode:", "completionsMode:", "'completionsMode' was unexpected"),
    (r"restartPolicy:", "restartpolicy:", "'restartpolicy' was unexpected"),
    (r"secretKeyRef:", "secretRef:", "'secretRef' was unexpected"),
    (r"readOnlyRootFilesystem:", "readOnlyRootFileSystem:", "'readOnlyRootFileSystem' was unexpected"),
    (r"policyTypes:", "policytypes:", "'policytypes' was unexpected"),
    (r'value: "4"', "value: 4", "4 is not of type"),
    (r"completions: 4", "completions: four", "'four' is not of type"),
    (r"( +)restartPolicy: Never", r"\1restartPolicy: Never\n\1restartPolicy: Never", "a key is given twice"),
    (r"completions: 4", "completions: 8", "completions: 8, expected 4"),
    (r'value: "4"', 'value: "8"', "RUNNER_SIZE: 8, expected 4"),
    (r"completionMode: Indexed", "completionMode: NonIndexed", "completionMode: "),
    (r"restartPolicy: Never", "restartPolicy: OnFailure", "restartPolicy: "),
    (r"backoffLimitPerIndex: 0", "backoffLimit: 0", "retries: "),
    (r"-0\.runner:7800", "-1.runner:7800", "RUNNER_LEADER's name: "),
    (r"\.runner:7800", ".runner:7801", "ports: "),
    (r"(TCP\n +port: )7800", r"\g<1>7801", "the policy's ports: "),
    (r"containerPort: 7800", "containerPort: 7801", "containerPort: "),
    (r"(\n  podSelector:\n +matchLabels:\n +app.kubernetes.io/name: )runner", r"\1other", "who is guarded: "),
    (r"(- podSelector:\n +matchLabels:\n +app.kubernetes.io/name: )runner", r"\1other", "who may come: "),
    (r"topologyKey: kubernetes.io/hostname", "topologyKey: topology.kubernetes.io/zone", "what pods stay apart by: "),
    (r"(labelSelector:\n +matchLabels:\n +app.kubernetes.io/name: )runner", r"\1other", "which pods stay apart: "),
    (r"memory: 4Gi(?=\n +limits)", "memory: 2Gi", "limits: "),
    (r'cpu: "4"', 'cpu: "3.5"', "whole CPUs: "),
    (r"name: runner-token", "name: runner-secret", "the Secret is made: None"),
    (r"key: token", "key: secret", "the Secret is made: token"),
    (r"name: runner-scenario", "name: scenario", "the scenario: "),
    (r"scenario/hosts.toml", "scenario/other.toml", "the scenario: "),
    (r"- name: results(?=\n +mountPath)", "- name: result", "mounted volumes: "),
    (r"mountPath: /runner/results", "mountPath: /results", "where the program may write: "),
]
DAMAGE_OF_ONE = {
    "indexed-job.yaml": [
        (r"publishNotReadyAddresses:", "publishNotReady:", "'publishNotReady' was unexpected"),
        (r"clusterIP: None", "clusterIP: 10.0.0.1", "clusterIP: "),
        (r"(  selector:\n +app.kubernetes.io/name: )runner", r"\1other", "the Service's selector: "),
        (r"(- name: leader\n +port: )7800", r"\g<1>7801", "the Service's ports: "),
        (r"subdomain: runner", "subdomain: other", "subdomain: "),
    ],
    "jobset.yaml": [
        (r"enableDNSHostnames:", "enableDnsHostnames:", "'enableDNSHostnames' is a required property"),
        (r"replicatedJobs:", "replicatedjobs:", "'replicatedJobs' is a required property"),
        (r"( +)replicas: 1", r"\1replicas: 1\n\1completions: 4", "'completions' was unexpected"),
        (r"replicas: 1", "replicas: 4", "replicas: "),
        (r"subdomain: runner", "subdomain: other", "RUNNER_LEADER's name: "),
        (r"- name: host", "- name: worker", "RUNNER_LEADER's name: "),
    ],
}


def check_damage(name, text, commands):
    damage = DAMAGE + DAMAGE_OF_ONE[name]
    for pattern, replacement, told in damage:
        damaged, count = re.subn(pattern, replacement, text)
        assert count, f"{name} has no {pattern} to damage"
        try:
            check(damaged, commands)
        except Refused as error:
            assert told in str(error), f"{name} with {replacement!r} is refused for another reason: {error}"
        else:
            raise AssertionError(f"{name} with {replacement!r} is taken")
    return len(damage)


def check_scenario(runner, jobs):
    """The program takes the scenario, and the Jobs have as many hosts as it asks for."""
    path = DEPLOY / "hosts.toml"
    subprocess.run([runner, path, "--list"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    hosts = max(tomllib.loads(path.read_text())["matrix"]["hosts"])
    expect("hosts", [job["completions"] for job in jobs], [hosts] * len(jobs))


def check_batch_script():
    script = DEPLOY / "slurm.sbatch"
    subprocess.run(["bash", "-n", script], check=True)
    lines = script.read_text().splitlines()
    options = [number for number, line in enumerate(lines) if line.startswith("#SBATCH ")]
    commands = [number for number, line in enumerate(lines) if line and not line.startswith("#")]
    assert options and options[-1] < commands[0], "sbatch does not read #SBATCH below the first command"
    shellcheck = shutil.which("shellcheck")
    if shellcheck:
        subprocess.run([shellcheck, script], check=True)
    return "" if shellcheck else " (without shellcheck, which is not here)"


def main():
    readme = (DEPLOY / "README.md").read_text()
    made = re.findall(r"kubectl create (secret generic|configmap) (\S+) --from-(?:literal|file)=([^=\s]+)=", readme)
    commands = {(kind, name): key for kind, name, key in made}
    manifests = sorted(DEPLOY.glob("*.yaml"))
    expect("manifests", [path.name for path in manifests], sorted(DAMAGE_OF_ONE))

    damaged, jobs = 0, []
    for path in manifests:
        text = path.read_text()
        jobs.append(check(text, commands))
        damaged += check_damage(path.name, text, commands)
    assert jobs[0] == jobs[1], "the manifests' Jobs differ in more than the leader's name"

    check_scenario(sys.argv[1], jobs)
    unchecked = check_batch_script()
    print(
        f"{len(manifests)} manifests are valid for Kubernetes {' and '.join(VERSIONS)}, and {damaged} damaged ones are refused; "
        f"hosts.toml is taken, slurm.sbatch is well formed{unchecked}"
    )


main()
