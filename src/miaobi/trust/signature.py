"""C2PA: a statement in the file, signed with a certificate, that it was generated and is unchanged since (specification 2).

Signing comes last, since it is over every byte of the file, the other labels included. It needs a certificate: files are signed as soon as
one lies in the folder `c2pa` of the home folder, or in that of `MIAOBI_C2PA`. Our own certificate proves that nothing was changed, and that
two files come from the same hand; who that is, others believe only from an authority on their list of trust.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import miaobi
from miaobi.core.artifact import new_folder, read_bytes
from miaobi.core.errors import ArtifactError, MiaobiError, MissingExtra, UsageError
from miaobi.core.home import home
from miaobi.core.language import tr
from miaobi.trust import stored
from miaobi.trust.stored import Data
from miaobi.trust.xmp import GENERATED

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from miaobi.core.types import Label

CERTIFICATES, KEY, ROOT = "certificate.pem", "key.pem", "root.pem"
KINDS = frozenset(  # what c2pa-python signs of what we write; a FLAC gets an ID3 tag before it, which players and we stumble over
    {"image/png", "image/jpeg", "image/webp", "image/gif", "image/tiff", "audio/wav", "audio/mpeg", "audio/mp4", "video/mp4"}
)
TRUSTED_YEARS = 10
MOST_BYTES = 1 << 20  # of a file with certificates or a key
UNKNOWN_SIGNER = "signingCredential.untrusted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a file's signature says: whether the bytes are those that were signed, by whom, and whether we know them."""

    valid: bool
    known: bool
    signer: str
    problems: tuple[str, ...] = ()  # codes of the specification

    def __str__(self) -> str:
        if not self.valid:
            return tr("Its C2PA signature does NOT hold ({problems}).", problems=", ".join(self.problems))
        if self.known:
            return tr("Signed (C2PA) by {signer}, whose certificate is trusted here; nothing was changed since.", signer=self.signer)
        return tr("Signed (C2PA) as {signer}, who is not known here; nothing was changed since.", signer=self.signer)


def folder() -> Path:
    """Where certificate and key lie."""
    chosen = os.environ.get("MIAOBI_C2PA")
    return Path(chosen).expanduser() if chosen else home() / "c2pa"


def signs() -> bool:
    """Whether files are signed here.

    Raises:
        ArtifactError: there is a certificate without a key, or a key without a certificate.
    """
    there = [(folder() / name).is_file() for name in (CERTIFICATES, KEY)]
    if any(there) != all(there):
        raise ArtifactError("{folder} needs both {certificate} and {key} to sign files", folder=folder(), certificate=CERTIFICATES, key=KEY)
    return all(there)


def name() -> str:
    """In whose name files are signed here.

    Raises:
        MissingExtra: the package is not installed.
        ArtifactError: the certificate is damaged.
    """
    _package()
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    with _explained():
        subject = x509.load_pem_x509_certificates(read_bytes(folder() / CERTIFICATES, limit=MOST_BYTES))[0].subject
        return str(next(iter(subject.get_attributes_for_oid(NameOID.COMMON_NAME))).value)


def signed(data: bytes, mime: str, label: Label) -> bytes:
    """The file with a signature in place of any former one; itself where nothing is signed here, or a file of this kind cannot be.

    Raises:
        MissingExtra: there is a certificate, but not the package.
        ArtifactError: certificate and key do not fit, or are no such.
    """
    if not signs_kind(mime):
        return data
    output = io.BytesIO()
    sign(io.BytesIO(data), output, mime, label)
    return output.getvalue()


def signs_kind(mime: str) -> bool:
    """Whether files of this kind are signed here; raises as `signs` does."""
    return mime in KINDS and signs()


def sign(source: BinaryIO, target: BinaryIO, mime: str, label: Label) -> None:
    """The file of `source` with a signature, into `target`; raises as `signed` does."""
    c2pa = _package()
    from c2pa import C2paSignerInfo, C2paSigningAlg

    certificates, key = (read_bytes(folder() / name, limit=MOST_BYTES) for name in (CERTIFICATES, KEY))
    with _explained(), _context(c2pa) as context:
        info = C2paSignerInfo(alg=getattr(C2paSigningAlg, _algorithm(key)), sign_cert=certificates, private_key=key, ta_url=None)
        with c2pa.Signer.from_info(info) as signer, c2pa.Builder(json.dumps(_statement(label)), context=context) as builder:
            builder.sign(signer, mime, source, target)


def read(data: Data, mime: str) -> Signature | None:
    """The signature of a file; None where it has none, or this cannot be known because the package is not here."""
    if mime not in KINDS or not stored.contains(data, b"c2pa"):
        return None
    try:
        c2pa = _package()
    except MissingExtra:
        return None
    try:
        with stored.opened(data) as file, _context(c2pa) as context, c2pa.Reader(mime, file, context=context) as reader:
            state, told = str(reader.get_validation_state()), json.loads(reader.json())
    except c2pa.C2paError as error:
        return None if "ManifestNotFound" in str(error) else Signature(valid=False, known=False, signer="", problems=(str(error)[:200],))
    active = told.get("manifests", {}).get(told.get("active_manifest", ""), {})
    codes = tuple(dict.fromkeys(entry.get("code", "") for entry in told.get("validation_status", [])))
    who = active.get("signature_info", {})
    signer = str(who.get("common_name") or who.get("issuer") or "?")
    wrong = tuple(code for code in codes if code != UNKNOWN_SIGNER)
    return Signature(valid=state in ("Valid", "Trusted"), known=state == "Trusted", signer=signer, problems=wrong)


def new_certificate(name: str, *, into: Path | None = None) -> Path:
    """A certificate of one's own, and the root that it hangs on: what readers need in order to trust it is `root.pem`.

    The root's key is forgotten at once, so nothing else will ever be issued by it.

    Raises:
        UsageError: an empty name, or a certificate is there already.
        MissingExtra: the package is not installed.
    """
    target = into or folder()
    if not name.strip() or len(name) > 64:
        raise UsageError("a certificate needs a name of 1 to 64 letters: the studio or person who answers for the files")
    if target.exists():
        raise UsageError("{folder} is there already; a new certificate would make two signers of one. Move it away first", folder=target)
    _package()
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = _certificate(name, root_key.public_key(), root_key, authority=True)
    leaf = _certificate(name, key.public_key(), root_key, authority=False)
    with new_folder(target) as made:
        made.chmod(0o700)
        (made / ROOT).write_bytes(root.public_bytes(Encoding.PEM))
        (made / CERTIFICATES).write_bytes(leaf.public_bytes(Encoding.PEM) + root.public_bytes(Encoding.PEM))
        (made / KEY).touch(0o600)
        (made / KEY).write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return target


def _certificate(name: str, public: Any, key: Any, *, authority: bool) -> Certificate:
    """An X.509 certificate with what the specification (14.5) asks of a signer's, or of the authority above it, signed by the authority."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def named(common: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common), x509.NameAttribute(NameOID.ORGANIZATION_NAME, name)])

    root = named("miaobi root")

    uses = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False)
    uses |= {"encipher_only": False, "decipher_only": False}
    now = datetime.now(UTC) - timedelta(minutes=5)  # clocks differ
    builder = (
        x509.CertificateBuilder()
        .subject_name(root if authority else named(name))
        .issuer_name(root)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=365 * TRUSTED_YEARS))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, **uses), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    if not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=True)
    return builder.sign(key, hashes.SHA256())


def _algorithm(key: bytes) -> str:
    """What the key signs by, of the specification's list."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    private = load_pem_private_key(key, password=None)
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return {256: "ES256", 384: "ES384", 521: "ES512"}[private.curve.key_size]
    if isinstance(private, rsa.RSAPrivateKey):
        return "PS256"
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ED25519"
    raise ValueError("a key of another kind than ECDSA, RSA and Ed25519")


def _statement(label: Label) -> dict[str, Any]:
    """What is signed: that this was made by a model, by which, and when."""
    agent = {"name": "miaobi", "version": miaobi.__version__}
    created = {
        "action": "c2pa.created",
        "when": label.created,
        "digitalSourceType": GENERATED,
        "softwareAgent": agent,
        "description": f"{label.family} {label.model}",
    }
    return {
        "claim_generator_info": [agent],
        "title": label.content_sha256,
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [created]}}],
    }


@functools.cache
def _package() -> Any:
    try:
        import c2pa
        import cryptography  # noqa: F401  # the same extra brings it
    except ImportError:
        raise MissingExtra(tr("signing files (C2PA)"), "c2pa", "c2pa-python") from None
    return c2pa


def _context(c2pa: Any) -> Any:
    """Settings of one signing or reading: no thumbnails (they are larger than our pictures), and whom to trust."""
    settings: dict[str, Any] = {"builder": {"thumbnail": {"enabled": False}}}
    if (folder() / ROOT).is_file():
        settings["trust"] = {"user_anchors": read_bytes(folder() / ROOT, limit=MOST_BYTES).decode("utf-8", "replace")}
    return c2pa.Context.from_dict(settings)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """While a file is signed: what is wrong is almost always the person's own certificate."""
    try:
        yield
    except MiaobiError:
        raise
    except Exception as error:  # the library's errors, and those of `cryptography`, have no base in common
        raise ArtifactError("{folder}: nothing can be signed with this certificate: {error}", folder=folder(), error=error) from None
