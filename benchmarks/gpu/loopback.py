"""The loopback interface: down in a fresh network namespace (`unshare -n`), and a check's server listens there."""

import fcntl
import socket
import struct

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_REQUEST = "16sh14x"


def bring_up() -> bool:
    """True when it is up, or could be brought up (which takes root in the namespace)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            asked = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, struct.pack(_REQUEST, b"lo", 0))
            flags = struct.unpack(_REQUEST, asked)[1]
            if not flags & _IFF_UP:
                fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack(_REQUEST, b"lo", flags | _IFF_UP))
        except OSError:
            return False
    return True
