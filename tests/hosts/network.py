"""Network namespaces, and the bridge that connects them with the machine, by ip(8)."""

import ipaddress
import json
import random

import leftovers
from processes import LabError, call


def unused() -> ipaddress.IPv4Network:
    """A private network that no interface and no route of this machine has to do with."""
    links = json.loads(call("ip", "-json", "-4", "address"))
    taken = [f"{each['local']}/{each['prefixlen']}" for link in links for each in link["addr_info"]]
    taken += [route["dst"] for route in json.loads(call("ip", "-json", "-4", "route")) if route["dst"] != "default"]
    used = [ipaddress.IPv4Network(each, strict=False) for each in taken]
    for number in random.sample(range(2**16), 1000):
        network = ipaddress.IPv4Network((f"10.{number // 256}.{number % 256}.0", 24))
        if not any(network.overlaps(each) for each in used):
            return network
    raise LabError("10.0.0.0/8 is in use altogether, by `ip address` and `ip route`")


def add_bridge(name: str, address: str) -> None:
    """A bridge at which the machine has an address, with the length of its network."""
    call("ip", "link", "add", name, "type", "bridge")
    call("ip", "address", "add", address, "dev", name)
    switch(name, "up")


def add_namespace(name: str) -> None:
    call("ip", "netns", "add", name)
    call("ip", "-n", name, "link", "set", "lo", "up")


def plug(link: str, bridge: str, namespace: str, address: str) -> None:
    """A cable from a bridge to a namespace, whose end there is eth0 and has an address."""
    call("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", namespace)
    call("ip", "link", "set", link, "master", bridge, "up")
    call("ip", "-n", namespace, "address", "add", address, "dev", "eth0")
    call("ip", "-n", namespace, "link", "set", "eth0", "up")


def switch(link: str, state: str) -> None:
    """Sets an interface `up` or `down`."""
    call("ip", "link", "set", link, state)


def remove_link(name: str) -> None:
    """Deletes an interface, if it is there."""
    if name in leftovers.names_of("link"):
        call("ip", "link", "delete", name)


def remove_namespace(name: str) -> None:
    """Deletes a network namespace, if it is there."""
    if name in leftovers.names_of("netns", "list"):
        call("ip", "netns", "delete", name)
