"""What is said of a server whose certificate cannot be accepted, or that speaks no TLS: why, so that nobody guesses."""

import asyncio
import re
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from nexudus_async import EndpointUnavailableError, PasswordCredentials, TokenEndpoint
from nexudus_async.testing import ManualClock
from tests.leaks import leaked

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
Key = ec.EllipticCurvePrivateKey


def certificate(name: str, key: Key, issuer: str, signed_by: Key, ends: datetime = NOW + DAY) -> bytes:
    """Return a certificate for `name`, as PEM; it began two days ago."""

    def named(common: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])

    builder = x509.CertificateBuilder(named(issuer), named(name), key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(NOW - 2 * DAY).not_valid_after(ends)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=name == issuer, path_length=None), critical=True)
    by = x509.AuthorityKeyIdentifier.from_issuer_public_key(signed_by.public_key())
    builder = builder.add_extension(by, critical=False)
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = builder.add_extension(own, critical=False)
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=name == issuer, crl_sign=name == issuer, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    builder = builder.add_extension(usage, critical=True)
    return builder.sign(signed_by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    ("name", "issuer", "ends", "why"),
    [
        ("localhost", "localhost", NOW + DAY, "self.signed certificate"),
        ("localhost", "our CA", NOW - DAY, "certificate has expired"),
        ("elsewhere", "our CA", NOW + DAY, "[Hh]ostname mismatch"),
        ("localhost", "another CA", NOW + DAY, "unable to get local issuer certificate"),
    ],
)
async def test_a_certificate_that_cannot_be_accepted_says_why(
    tmp_path: Path, clock: ManualClock, name: str, issuer: str, ends: datetime, why: str
) -> None:
    """Self-signed, expired, for another host, of an unknown authority: tried again, since it may be mended."""
    ours, theirs, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    signed_by = key if issuer == name else ours if issuer == "our CA" else theirs
    chain, private = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(certificate(name, key, issuer, signed_by, ends))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(chain, private)
    client_side = ssl.create_default_context(cadata=certificate("our CA", ours, "our CA", ours).decode())
    error = await refused_by(server_side, client_side, clock)
    assert not leaked(error, ["pa ss-word"])
    assert re.search(f"its certificate is not accepted: {why}", str(error))


async def refused_by(
    server_side: ssl.SSLContext | None, client_side: ssl.SSLContext, clock: ManualClock
) -> EndpointUnavailableError:
    """Sign in at a server on this machine, in vain."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_side)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
    async with server, aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=client_side)) as session:
        endpoint = TokenEndpoint(session, url, PasswordCredentials("ops@example.com", "pa ss-word"), clock=clock)
        with pytest.raises(EndpointUnavailableError, match="could not be reached") as caught:
            await endpoint.login()
    return caught.value


async def test_a_server_without_tls_says_so(clock: ManualClock) -> None:
    """As the system puts it."""
    error = await refused_by(None, ssl.create_default_context(), clock)
    assert "SSL" in str(error)
