"""Certificates for Docker's TLS: https://docs.docker.com/engine/security/protect-access/ names the files."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path


_OTHER_USES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("crl_sign", "encipher_only", "decipher_only"),
)


class Authority:
    """One that issues certificates into a folder, its own as ca.pem among them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("the rig's authority")
        signs = x509.KeyUsage(key_cert_sign=True, **dict.fromkeys(_OTHER_USES, False))
        made = (
            self._draft(self._name, self._key, 1)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(signs, critical=True)
        )
        self._sign(made, folder / "ca.pem")

    def issue(self, name: str, *addresses: str, days: float = 1) -> tuple[Path, Path]:
        """A certificate and its key, NAMEcert.pem and NAMEkey.pem: good since yesterday, and for so many days more."""
        key = ec.generate_private_key(ec.SECP256R1())
        draft = self._draft(_name(name or "client"), key, days)
        if addresses:
            owned = [x509.IPAddress(ipaddress.ip_address(each)) for each in addresses]
            draft = draft.add_extension(x509.SubjectAlternativeName(owned), critical=False)
        paths = (self.folder / f"{name}cert.pem", self.folder / f"{name}key.pem")
        self._sign(draft, paths[0])
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        _write(paths[1], key.private_bytes(*form))
        return paths

    def _draft(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: float) -> x509.CertificateBuilder:
        now, own = datetime.now(UTC), self._key.public_key()
        return (
            x509.CertificateBuilder()
            .issuer_name(self._name)
            .subject_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=days))
            # Python 3.13 refuses certificates without these.
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(own), critical=False)
        )

    def _sign(self, draft: x509.CertificateBuilder, path: Path) -> None:
        _write(path, draft.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
