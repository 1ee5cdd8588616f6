"""The connection to an engine: TLS that is verified, ssh that never asks, and words for whatever goes wrong."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
from typing import TYPE_CHECKING, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from engine_api import Engine

from compiler.clean import one_line
from compiler.engine import connected
from compiler.engine_fault import EngineFault
from compiler.forward import SshFailed, command, forwarded

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("sockets_left_by_docker_py")
NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)


class Signer(NamedTuple):
    """Who signs certificates: its own, and the key for it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def made(name: str, address: str, signer: Signer | None, ends: dt.datetime) -> Signer:
    """A certificate of this name and address; without a signer, one that signs."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer.certificate.subject if signer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - 2 * DAY)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
    )
    return Signer(builder.sign(signer.key if signer else key, hashes.SHA256()), key)


def kept(folder: Path, name: str, owner: Signer) -> None:
    """Writes NAME.pem and NAME-key.pem."""
    (folder / f"{name}.pem").write_bytes(owner.certificate.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}-key.pem").write_bytes(
        owner.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


CASES = {
    "good": ("127.0.0.1", True, DAY, ""),
    "expired": ("127.0.0.1", True, -DAY, "certificate has expired"),
    "another name": ("127.0.0.2", True, DAY, "certificate is not valid for '127.0.0.1'"),
    "another signer": ("127.0.0.1", False, DAY, "unable to get local issuer certificate"),
}


@pytest.mark.parametrize("case", CASES)
def test_tls_is_verified_on_both_sides(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address, ours, ends, says = CASES[case]
    signer, stranger = (made(name, "127.0.0.1", None, NOW + DAY) for name in ("signer", "stranger"))
    kept(tmp_path, "server", made("engine", address, signer if ours else stranger, NOW + ends))
    kept(tmp_path, "cert", made("client", "127.0.0.1", signer, NOW + DAY))
    kept(tmp_path, "ca", signer)
    (tmp_path / "cert-key.pem").rename(tmp_path / "key.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tmp_path / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server-key.pem")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    with Engine(context, lambda *_: (0, "", "")) as engine:
        if not says:
            with connected(engine.url, 5) as connection:
                assert connection.version() == "20.10.24"
            return
        with pytest.raises(EngineFault, match=says), connected(engine.url, 5):
            pass


def test_plain_tcp_for_those_who_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_TLS_VERIFY", raising=False)
    with Engine(None, lambda *_: (0, "", "")) as engine, connected(engine.url, 5) as connection:
        assert connection.version() == "20.10.24"


def test_tls_without_its_files_says_which_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    with pytest.raises(EngineFault) as fault, connected("tcp://127.0.0.1:1", 5):
        pass
    assert f"there is no {tmp_path}/ca.pem" in fault.value.cause
    assert "DOCKER_CERT_PATH" in fault.value.to_do


def test_a_port_where_nobody_listens() -> None:
    with pytest.raises(EngineFault) as fault, connected("tcp://127.0.0.1:1", 5):
        pass
    assert (fault.value.step, fault.value.cause) == ("connect", "Connection refused")
    assert "tcp://127.0.0.1:1" in fault.value.to_do


def test_no_proxy_of_the_web_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{listener.getsockname()[1]}")
    with pytest.raises(EngineFault, match="Connection refused"), connected("tcp://127.0.0.1:1", 5):
        pass
    listener.settimeout(0)
    with listener, pytest.raises(BlockingIOError):
        listener.accept()


def test_ssh_is_given_what_the_address_says_and_never_asks() -> None:
    words = command("ssh://admin@10.0.0.1:2222", "/run/socket", 20)
    assert words[:2] == ("ssh", "-T")
    assert "BatchMode=yes" in words
    assert "ConnectTimeout=20" in words
    way = ("-L", "/run/socket:/var/run/docker.sock")
    assert words[-9:] == ("-p", "2222", "-l", "admin", *way, "--", "10.0.0.1", "cat")


def test_without_ssh_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SshFailed, match="no ssh on this machine"), forwarded("ssh://10.0.0.1", 5):
        pass


def test_what_a_daemon_says_is_one_line_that_moves_no_cursor() -> None:
    assert one_line("a\x1b[31m\r\nb\x07\x9bc") == "a b c"
    assert len(one_line("x" * 9999)) == 500
