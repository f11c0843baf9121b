"""The certificate authorities that every connection trusts: the public ones, and one's own.

SSL_CERT_FILE is OpenSSL's own variable, and replaces the authorities there. Here it adds to the
public ones (certifi's). One webhook with a private certificate must not cost the way to Azure,
whose certificates are public.
"""

import os
import ssl
from functools import cache
from pathlib import Path

import certifi


def wrong_with(file: Path) -> str | None:
    """Say why a file of authorities cannot be used; None if it can."""
    if not file.is_file():
        return "does not name a file of certificate authorities"
    try:
        if not file.read_bytes().strip():
            return "names an empty file"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cafile=file)
    except ssl.SSLError:
        return "names a file that is not a list of certificates in PEM"
    except OSError as error:
        return f"names a file that cannot be read: {error.strerror}"
    if not context.cert_store_stats()["x509"]:
        return "names a file without a certificate"
    return None


@cache
def bundle(file: Path | None) -> str:
    """The path of a file with the public authorities, and those of a file of one's own.

    The SDK of Blob Storage takes only a path. The bundle lies in memory (``memfd_create``): it
    needs no directory that can be written, and ends with the process, however that ends. It is
    read once, as the configuration is.

    Args:
        file: What SSL_CERT_FILE names, in PEM; None adds nothing.

    Raises:
        OSError: The file cannot be read any more.
    """
    public = certifi.where()
    if file is None:
        return public
    both = Path(public).read_bytes() + b"\n" + file.read_bytes()
    number = os.memfd_create("authorities")
    with open(number, "wb", closefd=False) as memory:
        memory.write(both)
    return f"/proc/self/fd/{number}"
