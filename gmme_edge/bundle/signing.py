"""Signatures of a bundle's manifest, which holds the hash of every other file.

Ed25519 in the formats of minisign, so `minisign` and `gmme-edge sign` serve each other:

    manifest.json.minisig   beside the manifest: a signature of its exact bytes
    KEY.pub                 the public key, also usable as the one line of text that it holds
    KEY                     the secret key, without a password; readable by its owner only

A changed manifest, also by `evaluate --record`, has to be signed again.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from gmme_edge.bundle.manifest import MANIFEST
from gmme_edge.bundle.reading import MOST_MANIFEST_BYTES, read_bounded
from gmme_edge.errors import BundleError, UsageError, reason, require, shorten
from gmme_edge.files import naming_full_disk, write_text
from gmme_edge.inputs import read_start
from gmme_edge.public import public

SIGNATURE = f"{MANIFEST}.minisig"
_COMMENT, _TRUSTED = "untrusted comment: ", "trusted comment: "
_PLAIN, _HASHED = b"Ed", b"ED"  # a signature of the bytes, or of their BLAKE2b-512
_NO_PASSWORD, _CHECKSUM = b"\0\0", b"B2"
_N_ID, _N_KEY, _N_SIGNATURE = 8, 32, 64
_N_PUBLIC, _N_SECRET = len(_PLAIN) + _N_ID + _N_KEY, 158
_MOST_BYTES = 64 << 10


@dataclass(frozen=True)
class PublicKey:
    """Whom to trust; `str` gives the line that stands for it."""

    identity: bytes
    key: bytes

    def __str__(self) -> str:
        return base64.b64encode(_PLAIN + self.identity + self.key).decode()

    @property
    def name(self) -> str:
        """As minisign prints it."""
        return self.identity[::-1].hex().upper()

    @staticmethod
    def read(trust: str | Path) -> PublicKey:
        """A public key from a file, or from the line itself.

        Raises:
            UsageError: it is neither.
        """
        if not isinstance(trust, (str, Path)):
            raise UsageError(f"The public key is {shorten(trust)}.", "its line, or its file.")
        text = str(trust)
        try:
            if isinstance(trust, Path) or _is_file(text):
                text = read_start(Path(trust), _MOST_BYTES).decode("utf-8")
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            raw = base64.b64decode(lines[-1], validate=True)
        except OSError as error:
            raise _no_key("public", str(trust), reason(error)) from error
        except (ValueError, IndexError) as error:
            is_file = isinstance(trust, Path) or _is_file(str(trust))
            why = (
                "it holds no line of base64"
                if is_file
                else "no file that can be read, and no line of one"
            )
            raise _no_key("public", str(trust), why) from error
        if len(raw) == _N_SECRET:
            raise _no_key("public", str(trust), "it is a secret key; its public one ends in .pub")
        if len(raw) != _N_PUBLIC or raw[:2] != _PLAIN:
            raise _no_key("public", str(trust), f"it holds {len(raw)} bytes of another kind")
        return PublicKey(raw[2:10], raw[10:])


@public
def make_key(path: Path) -> PublicKey:
    """Write a new secret key to `path` and its public key to ``PATH.pub``.

    Raises:
        UsageError: one of the two is there already.
        MissingDependencyError: no cryptography.
    """
    keys = _ed25519("make a key")
    if not path.name:
        raise UsageError(f"{path} is no name for a key.", "the name of a new file.")
    public_path = path.with_name(path.name + ".pub")
    for each in (path, public_path):
        if each.exists() or each.is_symlink():
            raise UsageError(f"{each} exists.", "a new name: keys are never replaced.")
    secret = keys.Ed25519PrivateKey.generate()
    public = PublicKey(os.urandom(_N_ID), secret.public_key().public_bytes_raw())
    pair = public.identity + secret.private_bytes_raw() + public.key
    plain = _PLAIN + _NO_PASSWORD + _CHECKSUM + bytes(48) + pair + bytes(_N_KEY)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with naming_full_disk(path), os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{_COMMENT}gmme-edge secret key, no password\n{_encode(plain)}\n")
        write_text(public_path, f"{_COMMENT}minisign public key {public.name}\n{public}\n")
    except BaseException:
        path.unlink()  # half a pair is of no use, and would be in the way
        raise
    return public


@public
def sign_manifest(folder: Path, key: Path, comment: str = "") -> Path:
    """Sign a bundle's manifest, in a folder; returns the signature's path.

    Args:
        key: a secret key's file, of `make_key` or of ``minisign -G -W``.
        comment: one line that is signed too; default the time and the manifest's hash.

    Raises:
        UsageError: no such key, a key with a password, or a comment of several lines.
        BundleError: no manifest.
        MissingDependencyError: no cryptography.
    """
    identity, secret = _read_secret(key)
    content = _read(folder, MANIFEST)
    told = comment or f"timestamp:{int(time.time())}\tsha256:{hashlib.sha256(content).hexdigest()}"
    if "\n" in told or "\r" in told:
        raise UsageError(f"The comment is {told!r}.", "one line of text.")
    signature = secret.sign(_digest(content))
    lines = (
        f"{_COMMENT}signature of a gmme-edge bundle's {MANIFEST}",
        _encode(_HASHED + identity + signature),
        f"{_TRUSTED}{told}",
        _encode(secret.sign(signature + told.encode())),
    )
    path = folder / SIGNATURE
    write_text(path, "\n".join(lines) + "\n")
    return path


@public
def verify_signature(folder: Path, trust: str | Path) -> str:
    """`check_signature` for the manifest as it lies in `folder`; returns the signed comment."""
    return check_signature(folder, _read(folder, MANIFEST), trust)


def check_signature(folder: Path, content: bytes, trust: str | Path) -> str:
    """Raise unless `content` is a manifest that the owner of a key signed.

    Args:
        folder: the bundle's, or a zip file of it.
        content: the bytes of the manifest that will be used, read once.
        trust: a public key's file, or its line.

    Returns:
        The comment that was signed with it.

    Raises:
        BundleError: no signature, another key's, or not one of these bytes.
        UsageError: `trust` is no public key.
        MissingDependencyError: no cryptography.
    """
    public = PublicKey.read(trust)
    keys = _ed25519("check a signature")
    path = folder / SIGNATURE
    algorithm, identity, signature, told, whole = _parse_signature(folder)
    if identity != public.identity:
        signer = PublicKey(identity, b"").name
        raise BundleError(
            f"{path} was made with the key {signer}.",
            f"a signature of the trusted key {public.name}.",
            "get the bundle from whom you trust, or trust the other key after you checked it.",
        )
    key = keys.Ed25519PublicKey.from_public_bytes(public.key)
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, _digest(content) if algorithm == _HASHED else content)
        key.verify(whole, signature + told)
    except InvalidSignature:
        raise BundleError(
            f"{folder / MANIFEST} is not what was signed: the signature does not fit.",
            f"the manifest that the key {public.name} signed.",
            "do not use this bundle; if you changed the manifest yourself, sign it again.",
        ) from None
    return told.decode()


def _parse_signature(folder: Path) -> tuple[bytes, bytes, bytes, bytes, bytes]:
    """Algorithm, key, signature, signed comment, and the signature of both."""
    path = folder / SIGNATURE
    try:
        data = _read(folder, SIGNATURE)
    except BundleError as error:
        raise BundleError(
            f"{folder} is not signed: {error.got}",
            f"a {SIGNATURE} beside the manifest.",
            "gmme-edge sign BUNDLE --key KEY, by whom you trust.",
        ) from error
    try:
        # Exactly these lines: what is not signed could be changed without a word.
        _, first, told, second, *rest = data.decode("utf-8").split("\n")
        raw, whole = _decode(first), _decode(second)
        if rest not in ([], [""]) or not told.startswith(_TRUSTED):
            raise ValueError("it has other lines")
        if len(raw) != 2 + _N_ID + _N_SIGNATURE or raw[:2] not in (_PLAIN, _HASHED):
            raise ValueError("its signature is of another kind")
        if len(whole) != _N_SIGNATURE:
            raise ValueError("its last line is of another kind")
    except ValueError as error:
        raise BundleError(
            f"{path} is no signature: {error}.", "a file in minisign's format.", "sign it again."
        ) from error
    return raw[:2], raw[2:10], raw[10:], told[len(_TRUSTED) :].encode(), whole


def _read_secret(path: Path) -> tuple[bytes, Any]:
    """The key's identity, and what signs with it."""
    try:
        lines = read_start(path, _MOST_BYTES).decode("utf-8").splitlines()
        raw = _decode(lines[1])
    except (OSError, ValueError, IndexError) as error:
        why = reason(error) if isinstance(error, OSError) else "it holds no line of base64"
        raise _no_key("secret", str(path), why) from error
    if len(raw) == _N_PUBLIC:
        raise _no_key("secret", str(path), "it is a public key; the secret one has no .pub")
    if raw[:2] == _PLAIN and raw[2:4] != _NO_PASSWORD:
        raise UsageError(
            f"{path} is a key with a password.",
            "a key without one.",
            f"minisign -S -s {path} -m BUNDLE/{MANIFEST} makes the same signature.",
        )
    pair = raw[54:126]
    if len(raw) != _N_SECRET or raw[:2] != _PLAIN:
        raise _no_key("secret", str(path), "it is of another kind")
    identity, seed, public = pair[:8], pair[8:40], pair[40:]
    secret = _ed25519("sign a bundle").Ed25519PrivateKey.from_private_bytes(seed)
    if secret.public_key().public_bytes_raw() != public:
        raise _no_key("secret", str(path), "its two halves do not fit: it is damaged")
    return identity, secret


def _read(folder: Path, name: str) -> bytes:
    try:
        return read_bounded(folder, name, MOST_MANIFEST_BYTES)
    except OSError as error:
        raise BundleError(
            f"{folder / name} cannot be read: {reason(error)}.", "a bundle's file."
        ) from error


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False


def _no_key(kind: str, what: str, why: str) -> UsageError:
    return UsageError(
        f"{what} is no {kind} key: {why}.",
        f"a {kind} key's file" + (", or its line of text." if kind == "public" else "."),
        "gmme-edge sign --new-key KEY makes a pair.",
    )


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content).digest()


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _decode(line: str) -> bytes:
    """Strictly: of one signature there is one spelling only."""
    raw = base64.b64decode(line, validate=True)
    if _encode(raw) != line:
        raise binascii.Error("its base64 is not the usual spelling")
    return raw


def _ed25519(purpose: str) -> ModuleType:
    return require("cryptography.hazmat.primitives.asymmetric.ed25519", purpose)
