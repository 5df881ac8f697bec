"""A containerd of its own, and what a kubelet says to it: the Container Runtime Interface."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest
from engines import eventually, image, runtime

IMAGE = "localhost/kokon:test"
"""Busybox. Also of what holds a pod together: its command sleeps."""

CNI = "/usr/lib/cni"

CONFIG = """
version = 2
root = "{place}/root"
state = "{place}/state"
[grpc]
address = "{place}/socket"
[plugins."io.containerd.internal.v1.opt"]
path = "{place}/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{image}"
# Below zero only with CAP_SYS_RESOURCE, which a machine for tests may not have.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{cni}"
conf_dir = "{place}/net.d"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kokon]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kokon.options]
BinaryName = "{runtime}"
"""

NETWORK: dict[str, Any] = {
    "cniVersion": "0.4.0", "name": "pods", "plugins": [
        {"type": "bridge", "bridge": "pods0", "isGateway": True, "ipam": {
            "type": "host-local", "ranges": [[{"subnet": "10.99.0.0/24"}]],
            "routes": [{"dst": "0.0.0.0/0"}]}},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}  # fmt: skip


def archive(place: Path) -> str:
    """The image, as ``docker save`` writes one."""
    layer = Path(image(place)).read_bytes()
    config = {
        "architecture": os.uname().machine.replace("x86_64", "amd64").replace("aarch64", "arm64"),
        "os": "linux", "config": {"Cmd": ["sleep", "10000"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
    }  # fmt: skip
    manifest = [{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]
    with tarfile.open(place / "archive.tar", "w") as tar:
        for name, content in (
            ("config.json", json.dumps(config).encode()), ("layer.tar", layer),
            ("manifest.json", json.dumps(manifest).encode()),
        ):  # fmt: skip
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return str(place / "archive.tar")


class Kubelet:
    """containerd in a network and a mount namespace of its own, called as a kubelet calls it.

    :ivar place: a directory; its name is that of the control group of all pods.
    :ivar daemon: containerd, through whose pid its namespaces are seen.
    """

    def __init__(self) -> None:
        import grpc  # type: ignore[import-not-found]

        self.messages, services = grpc.protos_and_services("cri.proto")
        self.place = Path(tempfile.mkdtemp(prefix="kokon-cri-", dir="/var/tmp"))
        (self.place / "net.d").mkdir()
        (self.place / "net.d/pods.conflist").write_text(json.dumps(NETWORK))
        (self.place / "config.toml").write_text(
            CONFIG.format(place=self.place, image=IMAGE, cni=CNI, runtime=runtime(self.place))
        )
        # Shims, networks and their namespaces have fixed places in /run and /var/lib.  As on a
        # machine with systemd, mounts are shared, without which there is no propagation.
        script = (
            f"mount --bind {self.place} {self.place} && mount --make-shared {self.place} &&"
            " mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/lib && ip link set lo up &&"
            f" exec containerd --config {self.place}/config.toml"
        )
        with (self.place / "log").open("w") as log:
            self.daemon = subprocess.Popen(
                ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", script],
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._channel = grpc.insecure_channel(f"unix://{self.place}/socket")
        self._stubs = (
            services.RuntimeServiceStub(self._channel), services.ImageServiceStub(self._channel),
        )  # fmt: skip
        self.failure = grpc.RpcError
        self.count = 0

    def begin(self) -> None:
        """Waits for containerd, and gives it the image."""
        command = ["ctr", "--address", f"{self.place}/socket", "--namespace", "k8s.io"]
        words = [*command, "images", "import", archive(self.place)]

        def up() -> bool:
            if self.daemon.poll() is not None:
                return True
            return subprocess.run([*command, "version"], capture_output=True).returncode == 0

        eventually(up, 20)
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            log = (self.place / "log").read_text()
            pytest.skip(f"containerd does not work here: {done.stderr}{log[-300:]}")
        assert eventually(lambda: self.call("ImageStatus", image={"image": IMAGE}).image.id)

    def call(self, method: str, **fields: Any) -> Any:
        """Any call; its message is written as JSON is.

        :raises grpc.RpcError: it fails.
        """
        from google.protobuf.json_format import ParseDict

        message = ParseDict(fields, getattr(self.messages, f"{method}Request")())
        stub = next(stub for stub in self._stubs if hasattr(stub, method))
        return getattr(stub, method)(message, timeout=60)

    def inside(self, *words: str) -> str:
        """What a command says in containerd's namespaces."""
        into = ["nsenter", "--target", str(self.daemon.pid), "--net", "--mount"]
        return subprocess.run([*into, *words], capture_output=True, text=True).stdout

    def pod(self, handler: str = "kokon", **config: Any) -> Pod:
        """A new pod.

        :param config: further fields of its PodSandboxConfig.
        """
        self.count += 1
        return Pod(self, f"pod{self.count}", handler, config)

    def end(self) -> None:
        """Ends containerd."""
        self._channel.close()
        self.daemon.send_signal(signal.SIGTERM)
        self.daemon.wait(30)


class Pod:
    """A pod, removed at the end of ``with``.

    :ivar identity: of its sandbox.
    """

    def __init__(self, kubelet: Kubelet, name: str, handler: str, config: dict[str, Any]) -> None:
        linux = {"cgroup_parent": f"/{kubelet.place.name}", **config.pop("linux", {})}
        self.kubelet = kubelet
        self.logs = kubelet.place / "logs" / name
        self.config = {
            "metadata": {"name": name, "uid": name, "namespace": "test"},
            "log_directory": str(self.logs), "linux": linux, **config,
        }  # fmt: skip
        self.count = 0
        self.identity: str = kubelet.call(
            "RunPodSandbox", config=self.config, runtime_handler=handler
        ).pod_sandbox_id

    def __enter__(self) -> Pod:
        return self

    def __exit__(self, *problem: object) -> None:
        self.kubelet.call("StopPodSandbox", pod_sandbox_id=self.identity)
        self.kubelet.call("RemovePodSandbox", pod_sandbox_id=self.identity)

    def create(self, *words: str, security: dict[str, Any] | None = None, **config: Any) -> str:
        """A container that is not started yet.

        :param security: its LinuxContainerSecurityContext; as from a kubelet, it has a pid
            namespace of its own, if that says nothing else.
        :param config: further fields of its ContainerConfig; ``resources`` those of Linux.
        """
        self.count += 1
        security = {"namespace_options": {"pid": "CONTAINER"}, **(security or {})}
        full = {
            "metadata": {"name": f"c{self.count}"}, "image": {"image": IMAGE},
            "command": list(words), "log_path": f"{self.count}.log",
            "linux": {"resources": config.pop("resources", {}), "security_context": security},
            **config,
        }  # fmt: skip
        created = self.kubelet.call(
            "CreateContainer", pod_sandbox_id=self.identity, config=full, sandbox_config=self.config
        )
        identity: str = created.container_id
        return identity

    def start(self, *words: str, **config: Any) -> str:
        """A container that runs; see ``create``."""
        identity = self.create(*words, **config)
        self.kubelet.call("StartContainer", container_id=identity)
        return identity

    def status(self, identity: str) -> Any:
        """The ContainerStatus."""
        return self.kubelet.call("ContainerStatus", container_id=identity).status

    def ended(self, identity: str) -> Any:
        """The same, when the container has ended."""
        assert eventually(lambda: self.status(identity).state == 2), self.status(identity)
        return self.status(identity)

    def log(self) -> str:
        """What the latest container has written, as a kubelet shows it."""
        lines = (self.logs / f"{self.count}.log").read_text().splitlines()
        return "\n".join(line.split(" ", 3)[3] for line in lines)

    def said(self, *words: str, **config: Any) -> str:
        """What a container that succeeds says."""
        status = self.ended(self.start(*words, **config))
        assert status.exit_code == 0, (status, self.log())
        return self.log()

    def run(self, identity: str, *words: str) -> Any:
        """A program in a container that runs: ExecSyncResponse."""
        return self.kubelet.call("ExecSync", container_id=identity, cmd=words, timeout=10)

    def output(self, identity: str, *words: str) -> str:
        """What it says, when it succeeds."""
        done = self.run(identity, *words)
        assert done.exit_code == 0, done
        text: str = done.stdout.decode()
        return text.strip()
