"""The system calls that a gateway's charon may use, as a filter of the kernel (seccomp(2)).

Every other one fails with EPERM. libseccomp makes the program for the machine's architecture, so nothing here is a
number of a system call. No system call of another architecture passes.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Iterator
from typing import Final

PROGRAM_AT: Final = 0x10000
"""The address of the program's name in the one execve(2) that passes: in the lowest page that a process may have."""
FIRST_MAPPED: Final = 0x100000
"""Below it nothing can be mapped, so that a program which runs has no such name any more."""

_PLAIN: Final = """
    accept accept4 access alarm arch_prctl bind brk capget capset chmod chown clock_getres clock_gettime
    clock_nanosleep close close_range connect dup dup2 dup3 epoll_create1 epoll_ctl epoll_pwait epoll_wait eventfd2 exit
    exit_group faccessat faccessat2 fadvise64 fchmod fchmodat fchown fchownat fcntl fcntl64 flock fstat fstat64
    fstatat64 ftruncate futex futex_time64 futex_waitv getcwd getdents64 getegid geteuid getgid getgroups getpeername
    getpid getppid getrandom getresgid getresuid getrlimit getsockname getsockopt gettid gettimeofday getuid ioctl kill
    lchown listen lseek lstat madvise membarrier mkdir mkdirat mprotect munmap nanosleep newfstatat open openat pipe
    pipe2 poll ppoll ppoll_time64 prctl pread64 prlimit64 pselect6 pwrite64 read readlink readlinkat readv recv recvfrom
    recvmmsg recvmsg rename renameat renameat2 restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask
    rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 sched_getaffinity sched_getparam
    sched_getscheduler sched_get_priority_max sched_get_priority_min sched_setscheduler sched_yield select send sendmmsg
    sendmsg sendto set_robust_list set_tid_address setgid setgroups setresgid setresuid setrlimit setsockopt setuid
    shutdown sigaltstack socketpair stat statfs statx sysinfo tgkill time times umask uname unlink unlinkat wait4 write
    writev
""".split()  # noqa: SIM905 # a list of words
_FAMILIES: Final = (1, 2, 10)
"""AF_UNIX, AF_INET, AF_INET6."""
_NETLINK: Final = 16
_PROTOCOLS: Final = (0, 6)
"""NETLINK_ROUTE and NETLINK_XFRM: not NETLINK_NETFILTER, the leak guard's."""
_CLONE_THREAD: Final = 0x10000
_MAP_GROWSDOWN: Final = 0x100
_MREMAP_TO: Final = 6
"""MREMAP_FIXED and MREMAP_DONTUNMAP, with which the caller says where to."""

_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
_EPERM: Final = 1
_ENOSYS: Final = 38
_EQ: Final = 4
_GE: Final = 5
_MASKED_EQ: Final = 7


class _Comparison(ctypes.Structure):
    """struct scmp_arg_cmp (seccomp.h): with `_MASKED_EQ`, `a` is the mask and `b` the value."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operation", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


ArgumentCondition = tuple[int, int, int, int]
"""The number of an argument, a comparison, and its one or two values."""
SystemCallRule = tuple[str, int, tuple[ArgumentCondition, ...]]
"""A system call, what happens to it, and the conditions on its arguments."""


def rules() -> Iterator[SystemCallRule]:
    """Yield what differs from the default, EPERM."""
    for name in _PLAIN:
        yield name, _ALLOW, ()
    for family in _FAMILIES:
        yield "socket", _ALLOW, ((0, _EQ, family, 0),)
    for protocol in _PROTOCOLS:
        yield "socket", _ALLOW, ((0, _EQ, _NETLINK, 0), (2, _EQ, protocol, 0))
    yield "clone", _ALLOW, ((0, _MASKED_EQ, _CLONE_THREAD, _CLONE_THREAD),)
    # Its flags are in memory, where no filter looks; the C library then uses clone.
    yield "clone3", _ERRNO | _ENOSYS, ()
    yield "execve", _ALLOW, ((0, _EQ, PROGRAM_AT, 0),)
    for name in ("mmap", "mmap2"):
        stays = (3, _MASKED_EQ, _MAP_GROWSDOWN, 0)
        yield name, _ALLOW, ((0, _EQ, 0, 0), stays)
        yield name, _ALLOW, ((0, _GE, FIRST_MAPPED, 0), stays)
    yield "mremap", _ALLOW, ((3, _MASKED_EQ, _MREMAP_TO, 0),)


@functools.cache
def program() -> bytes:
    """Return the filter, as the kernel takes it. Raises OSError without libseccomp, or if it refuses."""
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError as error:
        raise OSError(f"{error}; install libseccomp2") from error
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(_ERRNO | _EPERM)))
    file = os.memfd_create("system-calls")
    try:
        for name, action, conditions in rules():
            number = library.seccomp_syscall_resolve_name(name.encode())
            if number == -1:  # newer than this libseccomp, so the C library has something older to use
                continue
            comparisons = (_Comparison * len(conditions))(*(_Comparison(*condition) for condition in conditions))
            _check(
                library.seccomp_rule_add_array(context, ctypes.c_uint32(action), number, len(conditions), comparisons)
            )
        _check(library.seccomp_export_bpf(context, file))
        return os.pread(file, os.fstat(file).st_size, 0)
    finally:
        os.close(file)
        library.seccomp_release(context)


def _check(result: int) -> None:
    if result:
        raise OSError(-result, f"libseccomp: {os.strerror(-result)}")
