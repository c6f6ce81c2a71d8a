"""The systemd units of the API and the agent, and the files beside them: what `linkspan install` writes.

`docs/installation.md` says of each line that leaves the agent exposed why it is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final

import msgspec

NAMES: Final = ("api", "agent")
USER: Final = "linkspan"
"""The user of the API."""
SETTINGS: Final = {"api": "/etc/linkspan/api.toml", "agent": "/etc/linkspan/agent.toml"}
STATES: Final = {"api": "/var/lib/linkspan", "agent": "/var/lib/linkspan-agent"}
CREDENTIALS: Final = {
    "api": ("api.tls_cert", "api.tls_key", "api.key_file", "keystone.password_file"),
    "agent": ("agent.token_file", "agent.ca_file"),
}
"""The settings whose files systemd can hand over (`LoadCredential=`), so that only root reads the original."""
_HOMES: Final = ("/home", "/root", "/run/user")

_API: Final = """\
[Unit]
Description=Linkspan API
Wants=network-online.target
After=network-online.target time-sync.target postgresql.service
Before=linkspan-agent.service

[Service]
Type=exec
User=linkspan
Group=linkspan
ExecStart={program} api --config %d/api.toml
LoadCredential=api.toml:/etc/linkspan/api.toml
{credentials}Restart=always
RestartSec=1
TimeoutStopSec=30
LimitNOFILE=65536
OOMScoreAdjust=-300
StateDirectory=linkspan
StateDirectoryMode=0700
UMask=0077

CapabilityBoundingSet=
AmbientCapabilities=
NoNewPrivileges=yes
ProtectSystem=strict
{homes}PrivateTmp=yes
PrivateDevices=yes
PrivateUsers=yes
PrivateIPC=yes
PrivateMounts=yes
ProtectHostname=yes
ProtectClock=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectProc=invisible
ProcSubset=pid
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
KeyringMode=private
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources

[Install]
WantedBy=multi-user.target
"""

_AGENT: Final = """\
[Unit]
Description=Linkspan agent
Wants=network-online.target
After=network-online.target time-sync.target nftables.service

[Service]
Type=exec
ExecStart={program} agent --config /etc/linkspan/agent.toml
{credentials}Restart=always
RestartSec=1
# Only the agent ends: the tunnels go on, and the next agent adopts them.
KillMode=process
OOMPolicy=continue
OOMScoreAdjust=-600
TimeoutStopSec=30
LimitNOFILE=1048576
TasksMax=infinity
ConfigurationDirectory=linkspan
StateDirectory=linkspan-agent
StateDirectoryMode=0700
UMask=0077

CapabilityBoundingSet={capabilities}
NoNewPrivileges=yes
ProtectSystem=strict
{homes}PrivateTmp=yes
PrivateMounts=yes
PrivateDevices=yes
DeviceAllow=/dev/net/tun rw
BindPaths=-/dev/net/tun
ProtectHostname=yes
ProtectClock=yes
ProtectKernelTunables=yes
ReadWritePaths=/proc/sys/net /proc/sys/user
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=net user mnt pid ipc uts
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service @mount
SystemCallFilter=~@resources

[Install]
WantedBy=multi-user.target
"""

CAPABILITIES: Final = (
    "CAP_NET_ADMIN",
    "CAP_SYS_ADMIN",
    "CAP_SYS_PTRACE",
    "CAP_SYS_CHROOT",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_KILL",
    "CAP_SETUID",
    "CAP_SETGID",
)
"""Those of the agent."""

_SYSUSERS: Final = f'u {USER} - "Linkspan API" {STATES["api"]}\n'
_TMPFILES: Final = "d /run/netns 0755 root root\n"


class InstalledFile(msgspec.Struct, frozen=True):
    """A file to install. `kept`: it belongs to the administrator once it is there."""

    path: str
    text: str
    mode: int = 0o644
    kept: bool = False


def files(
    names: Sequence[str], program: Sequence[str], folders: Sequence[str], credentials: Mapping[str, str]
) -> list[InstalledFile]:
    """Returns the files of these units. `program`: the command that runs linkspan; `folders`: those that it is in;
    `credentials`: files by the settings that name them."""
    result = []
    for name in names:
        unit = {"api": _API, "agent": _AGENT}[name].format(
            program=" ".join(_argument(word) for word in program),
            homes=_homes(folders),
            credentials=_credentials(name, credentials),
            capabilities=" ".join(CAPABILITIES),
        )
        result.append(InstalledFile(f"/etc/systemd/system/linkspan-{name}.service", unit))
        result.append(InstalledFile(SETTINGS[name], f'state = "{STATES[name]}"\n', 0o600, kept=True))
    result.append(InstalledFile("/etc/sysusers.d/linkspan.conf", _SYSUSERS))
    result.append(InstalledFile("/etc/tmpfiles.d/linkspan.conf", _TMPFILES))
    return result


def _argument(word: str) -> str:
    """Returns a word of a command as systemd reads it (systemd.service, command lines)."""
    for char, escaped in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", "$$")):
        word = word.replace(char, escaped)
    return f'"{word}"' if set(word) & set(" \t'\"\\;") else word


def _credentials(name: str, credentials: Mapping[str, str]) -> str:
    lines = []
    for setting, file in credentials.items():
        if setting in CREDENTIALS[name]:
            variable = "LINKSPAN_" + setting.upper().replace(".", "_")
            lines += [f"LoadCredential={setting}:{file.replace('%', '%%')}", f"Environment={variable}=%d/{setting}"]
    return "".join(f"{line}\n" for line in lines)


def _homes(folders: Sequence[str]) -> str:
    """Returns the lines that hide the users' homes, but for the program's own folders in them."""
    shown = sorted({folder for folder in folders if any(PurePosixPath(folder).is_relative_to(home) for home in _HOMES)})
    if not shown:
        return "ProtectHome=yes\n"
    paths = " ".join(_argument(folder) for folder in shown)
    return f"ProtectHome=tmpfs\nBindReadOnlyPaths={paths}\n"
