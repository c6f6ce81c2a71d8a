"""Confines itself and becomes charon: the program that `drivers.charon.confinement` starts.

It is the first process of a process namespace. A step that fails ends it with a line on standard error, and charon does
not start.

The file imports nothing but the standard library, and of that only what is imported within a millisecond: it is run
without the site-packages, for every start of a charon.
"""

import ctypes
import errno
import marshal
import os
import resource
import sys

PROGRAM_AT = 0x10000
"""Where the name of charon's program is, the same as in `drivers.charon.system_calls`."""
CAPABILITIES = (10, 12)
"""CAP_NET_BIND_SERVICE for port 500, which charon drops itself, and CAP_NET_ADMIN."""
LARGEST_FILE = 16 << 20
"""Bytes. The log is rotated before; a flood between two looks at it ends here."""
ADDRESS_SPACE = 1 << 40
"""Bytes, far more than charon uses, and too few to be given the pages below the first one that may be mapped."""

_READ_ONLY = ("usr", "lib", "lib32", "lib64", "libx32", "bin", "sbin")
_FILES = (
    *("etc/ld.so.cache", "etc/ssl/openssl.cnf", "etc/pki/tls/openssl.cnf", "etc/crypto-policies", "etc/localtime"),
    # Their names are in selectors that charon lists.
    *("etc/protocols", "etc/services"),
)
_DEVICES = ("null", "random", "urandom")
_ROOT = "/sys"
"""The private root is made over a directory of which nothing is needed in it."""

_CLONE = {"mount": 0x20000, "uts": 0x4000000, "ipc": 0x8000000, "user": 0x10000000, "network": 0x40000000}
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
_DETACH = 2
_SET_KEEPCAPS, _SET_SECCOMP, _CAPBSET_DROP, _SET_NO_NEW_PRIVS, _CAP_AMBIENT = 8, 22, 24, 38, 47
_FILTER, _RAISE = 2, 2
_CAPABILITY_VERSION = 0x20080522
_SIGPIPE, _SIGXFSZ = 13, 25
_DEFAULT, _IGNORED = 0, 1
_CHARACTER_DEVICE = 0o020000

_libc = ctypes.CDLL(None, use_errno=True)


class Order:
    """What to start: `program` with `arguments` as `uid`, in the network namespace of the descriptor `network`, and
    in the user namespace of `owner`, -1 for none. `directory`: charon's own, its /run. `configuration`: the text of
    /etc/strongswan.conf. `tun`: it needs /dev/net/tun. `system_calls`: the filter of its system calls.
    """

    program: str
    arguments: list[str]
    environment: dict[str, str]
    uid: int
    network: int
    owner: int
    directory: str
    configuration: str
    tun: bool
    system_calls: bytes

    def __init__(self, fields: dict[str, object]) -> None:
        self.__dict__.update(fields)


def main(descriptor: int) -> None:
    """Confine this process and execute the program; `descriptor` is that of a file with the fields of `Order`."""
    try:
        _run(descriptor)
    except OSError as error:
        sys.exit(f"charon cannot be confined: {error}")


def _run(descriptor: int) -> None:
    with os.fdopen(descriptor, "rb") as file:
        order = Order(marshal.load(file))  # noqa: S302 # written by the program that has started this one
    name = _place(order.program)
    _limit()
    _call(_libc.setns(order.network, _CLONE["network"]), "setns")
    _call(_libc.unshare(_CLONE["mount"] | _CLONE["uts"] | _CLONE["ipc"]), "unshare")
    processes = os.open("/proc", os.O_PATH)
    _make_root(order)
    if order.owner >= 0:
        _call(_libc.setns(order.owner, _CLONE["user"]), "setns")
        _forbid_user_namespaces(processes)
    for number in (processes, order.network, order.owner):
        if number >= 0:
            os.close(number)
    _drop(order.uid)
    os.umask(0o077)
    _execute(name, order)


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    # A write beyond the limit fails, and does not end charon. Python ignores SIGPIPE, and charon inherits it.
    _libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    _libc.signal(_SIGXFSZ, _IGNORED)
    _libc.signal(_SIGPIPE, _DEFAULT)


# -- the private root ----------------------------------------------------------------------------------------------


def _make_root(order: Order) -> None:
    os.umask(0o022)
    program, directory = os.path.realpath(order.program), os.path.realpath(order.directory)
    _mount("", "/", "", _REC | _PRIVATE)
    _mount("tmpfs", _ROOT, "tmpfs", _NOSUID, "mode=0755,size=32m,nr_inodes=256")
    os.chdir(_ROOT)
    for path in _READ_ONLY:
        if os.path.islink(f"/{path}"):
            os.symlink(os.readlink(f"/{path}"), path)
        elif os.path.isdir(f"/{path}"):
            _bind(f"/{path}", path, _RDONLY | _NOSUID | _NODEV)
    for path in _FILES:
        if os.path.exists(f"/{path}"):
            _bind(os.path.realpath(f"/{path}"), path, _RDONLY | _NOSUID | _NODEV | _NOEXEC)
    _write("etc/strongswan.conf", order.configuration.encode(), 0o644)
    for device in _DEVICES:
        _bind(f"/dev/{device}", f"dev/{device}", _NOSUID | _NOEXEC)
    if order.tun:
        _bind_tun()
    # A program that its process cannot read has no core dumps, and no other process can look into it.
    with open(program, "rb") as file:
        _write("program", file.read(), 0o111)
    _mount(f"{_ROOT}/program", f".{program}", "", _BIND)
    _bind(directory, "run", _NOSUID | _NODEV | _NOEXEC)
    os.mkdir("proc")
    _mount("proc", "proc", "proc", _RDONLY | _NOSUID | _NODEV | _NOEXEC, "hidepid=2")
    _mount("", ".", "", _REMOUNT | _BIND | _RDONLY | _NOSUID)
    _call(_libc.pivot_root(b".", b"."), "pivot_root")
    _call(_libc.umount2(b".", _DETACH), "umount")
    os.chdir("/")


def _bind_tun() -> None:
    """Make the TUN device usable without root's rights on the file: the network namespace is what protects it."""
    if os.stat("/dev/net/tun").st_mode & 0o006 == 0o006:
        _bind("/dev/net/tun", "dev/net/tun", _NOSUID | _NOEXEC)
        return
    os.makedirs("dev/net", exist_ok=True)
    os.mknod("dev/net/tun", _CHARACTER_DEVICE, os.stat("/dev/net/tun").st_rdev)
    os.chmod("dev/net/tun", 0o666)  # noqa: S103 # as udev makes it


def _bind(source: str, target: str, flags: int) -> None:
    if os.path.isdir(source):
        os.makedirs(target)
    else:
        _write(target, b"", 0o600)
    _mount(source, target, "", _BIND | _REC)
    _mount("", target, "", _REMOUNT | _BIND | flags)


def _write(path: str, content: bytes, mode: int) -> None:
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
    os.chmod(path, mode)


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    result = _libc.mount(
        source.encode() or None, target.encode(), kind.encode() or None, ctypes.c_ulong(flags), options.encode()
    )
    _call(result, f"mount of {target}")


# -- rights --------------------------------------------------------------------------------------------------------


def _forbid_user_namespaces(processes: int) -> None:
    """Let nobody in this user namespace create another one, in which it would have all capabilities."""
    file = os.open("sys/user/max_user_namespaces", os.O_WRONLY, dir_fd=processes)
    os.write(file, b"0")
    os.close(file)


def _drop(uid: int) -> None:
    """Become this uid with `CAPABILITIES` alone, and for good."""
    for number in range(64):
        if number not in CAPABILITIES and _libc.prctl(_CAPBSET_DROP, number, 0, 0, 0):
            if ctypes.get_errno() != errno.EINVAL:  # the kernel has no more of them
                _call(-1, "prctl")
            break
    _call(_libc.prctl(_SET_KEEPCAPS, 1, 0, 0, 0), "prctl")
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    mask = sum(1 << number for number in CAPABILITIES)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    _call(_libc.capset(header, (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)), "capset")
    for number in CAPABILITIES:
        _call(_libc.prctl(_CAP_AMBIENT, _RAISE, number, 0, 0), "prctl")
    _call(_libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")


# -- the program ---------------------------------------------------------------------------------------------------


def _place(program: str) -> int:
    """Put the program's name where the filter of system calls expects it; return the address."""
    _libc.mmap.restype = ctypes.c_void_p
    private, anonymous, fixed = 2, 0x20, 0x100000  # MAP_FIXED_NOREPLACE
    size = resource.getpagesize()
    address = _libc.mmap(ctypes.c_void_p(PROGRAM_AT), size, 3, private | anonymous | fixed, -1, 0)
    if address != PROGRAM_AT:
        raise OSError(ctypes.get_errno(), "there is no room for the program's name")
    ctypes.memmove(PROGRAM_AT, program.encode() + b"\0", len(program.encode()) + 1)
    return PROGRAM_AT


def _execute(name: int, order: Order) -> None:
    def strings(values: list[str]) -> ctypes.Array[ctypes.c_char_p]:
        return (ctypes.c_char_p * (len(values) + 1))(*(value.encode() for value in values), None)

    class Filter(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))

    arguments = strings([order.program, *order.arguments])
    environment = strings([f"{key}={value}" for key, value in order.environment.items()])
    compiled = Filter(len(order.system_calls) // 8, order.system_calls)
    _call(_libc.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(compiled), 0, 0), "the filter of system calls")
    _call(_libc.execve(ctypes.c_void_p(name), arguments, environment), order.program)


def _call(result: int, name: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
