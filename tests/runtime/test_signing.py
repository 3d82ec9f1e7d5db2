"""Whose bundle it is."""

from __future__ import annotations

import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from gmme_edge.bundle.manifest import MANIFEST
from gmme_edge.bundle.signing import (
    SIGNATURE,
    PublicKey,
    make_key,
    sign_manifest,
    verify_signature,
)
from gmme_edge.cli.app import app
from gmme_edge.errors import BundleError, InputError, UsageError
from tests.bundles import make_bundle

# Made by minisign 0.11 (`-G -W`, `-S -t "for a test"`) of the 9 bytes that are named below.
THEIR_MANIFEST = b'{"a": 1}\n'
THEIR_KEY = "RWSRYphJtN1Xen+0ruV/ucAuho+YsS6+4s7UUJr4t/7DbVPKL7RkVoD+"
THEIR_SECRET = (
    "untrusted comment: minisign encrypted secret key\n"
    "RWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAkWKYSbTdV3rj9LVTADo2mhu7kVLOzEWNEn28Sit22763p2PrYGCRVH+0ruV/ucAuho+YsS6+4s7UUJr4t/7DbVPKL7RkVoD+AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
)
THEIR_SIGNATURES = {
    "hashed": (
        "untrusted comment: signature from minisign secret key\n"
        "RUSRYphJtN1XepjFa9nwCH5AnQ01fw3lbcdy6NULp98KH+hr+lMt3w0LJl49W4uaox5I6FOZ7qUVfQ4mNPtrtA1h9qACJONZvQE=\n"
        "trusted comment: for a test\n"
        "OMBWAOXYUngLl64xs0KO6+ee++8xDyFuNDE8VELNwlojGSzNHvdHj5Nlp5cu61pn09geCHzUC+/NYtP55xMNDA==\n"
    ),
    "plain": (
        "untrusted comment: signature from minisign secret key\n"
        "RWSRYphJtN1Xenwzh2b2eQ0qgbz9t5r66HOnCqZ17Odt1RaoctwjWKGBBuI2Ac0zo3b9re7Al65MnE01TGkqx2KujCi+1+mmrgo=\n"
        "trusted comment: for a test\n"
        "Zt1TR6wCQs43ETJVb7z14k7FjLVnDXSbkdJklVkwGCDnOLXohJCl3NWZMeQiGnlzLyx5y81JRyXQR9i1YIcoAw==\n"
    ),
}


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    make_key(tmp_path / "key")
    bundle = make_bundle(tmp_path / "bundle").path
    sign_manifest(bundle, tmp_path / "key", "for a test")
    return bundle


def pub(bundle: Path, name: str = "key") -> Path:
    return bundle.parent / f"{name}.pub"


def test_the_owner_is_known_by_file_and_by_line(signed: Path) -> None:
    assert verify_signature(signed, pub(signed)) == "for a test"
    assert verify_signature(signed, str(pub(signed))) == "for a test"
    assert verify_signature(signed, str(PublicKey.read(pub(signed)))) == "for a test"


def test_secret_keys_are_their_owner_s_and_never_replaced(tmp_path: Path) -> None:
    make_key(tmp_path / "key")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    before = (tmp_path / "key").read_bytes()
    with pytest.raises(UsageError, match="exists"):
        make_key(tmp_path / "key")
    (tmp_path / "key").rename(tmp_path / "other")
    with pytest.raises(UsageError, match=r"key\.pub exists"):
        make_key(tmp_path / "key")
    assert not (tmp_path / "key").exists() and (tmp_path / "other").read_bytes() == before


def test_a_pair_of_keys_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gmme_edge.bundle.signing.write_text", fail)
    with pytest.raises(InputError, match="No space left"):
        make_key(tmp_path / "key")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="no name for a key"):
        make_key(Path("/"))


def test_every_flipped_byte_is_noticed(signed: Path) -> None:
    """Of the manifest and of the signature, but for the line that says that it is not signed."""
    signature = (signed / SIGNATURE).read_bytes()
    free = signature.index(b"\n")
    for name, start, step in ((MANIFEST, 0, 97), (SIGNATURE, free, 1)):
        content = (signed / name).read_bytes()
        for i in range(start, len(content), step):
            for bit in (1, 32, 128):
                if name == SIGNATURE and i == len(content) - 1:
                    continue  # the last line's end
                changed = bytearray(content)
                changed[i] ^= bit
                (signed / name).write_bytes(changed)
                with pytest.raises(BundleError):
                    verify_signature(signed, pub(signed))
        (signed / name).write_bytes(content)
    assert verify_signature(signed, pub(signed))


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_any_bytes_as_a_signature_or_a_key_are_refused(signed: Path, content: bytes) -> None:
    kept = (signed / SIGNATURE).read_bytes()
    (signed / SIGNATURE).write_bytes(content)
    with pytest.raises(BundleError):
        verify_signature(signed, pub(signed))
    (signed / SIGNATURE).write_bytes(kept)
    noise = signed.parent / "noise"
    noise.write_bytes(content)
    with pytest.raises(UsageError, match="public key"):
        verify_signature(signed, noise)
    with pytest.raises(UsageError, match="secret key"):
        sign_manifest(signed, noise)


def test_another_key_is_named(signed: Path, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other")
    with pytest.raises(BundleError, match=other.name):
        verify_signature(signed, pub(signed, "other"))


def test_another_key_under_the_same_name_is_no_owner(signed: Path, tmp_path: Path) -> None:
    mine, other = PublicKey.read(pub(signed)), make_key(tmp_path / "other")
    with pytest.raises(BundleError, match="not what was signed"):
        verify_signature(signed, str(PublicKey(mine.identity, other.key)))


def remove(bundle: Path) -> None:
    (bundle / SIGNATURE).unlink()


def change_comment(bundle: Path) -> None:
    text = (bundle / SIGNATURE).read_text()
    (bundle / SIGNATURE).write_text(text.replace("for a test", "for a fest"))


def change_manifest(bundle: Path) -> None:
    (bundle / MANIFEST).write_bytes((bundle / MANIFEST).read_bytes() + b"\n")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (remove, "is not signed"),
        (change_comment, "not what was signed"),
        (change_manifest, "not what was signed"),
    ],
)
def test_what_is_not_signed_is_exit_code_3(
    signed: Path, change: Callable[[Path], None], told: str
) -> None:
    runner = CliRunner()
    arguments = ["verify", str(signed), "--trust", str(pub(signed))]
    change(signed)
    result = runner.invoke(app, arguments)
    assert result.exit_code == 3 and told in result.stderr


def test_the_commands(tmp_path: Path) -> None:
    runner, key = CliRunner(), tmp_path / "key"
    bundle = make_bundle(tmp_path / "bundle").path
    made = runner.invoke(app, ["sign", "--new-key", str(key)])
    assert made.exit_code == 0 and str(PublicKey.read(pub(bundle))) in made.stdout
    assert runner.invoke(app, ["sign", str(bundle), "--key", str(key)]).exit_code == 0
    assert verify_signature(bundle, pub(bundle)).startswith("timestamp:")
    for wrong in ([str(bundle)], [], [str(bundle), "--key", str(key), "--new-key", "x"]):
        assert runner.invoke(app, ["sign", *wrong]).exit_code == 2
    (bundle / "model.fp32.onnx").write_bytes(b"another")
    damaged = runner.invoke(app, ["sign", str(bundle), "--key", str(key)])
    assert damaged.exit_code == 3 and "model.fp32.onnx" in damaged.stderr


def test_a_key_of_the_wrong_kind_is_told_for_what_it_is(signed: Path) -> None:
    secret, public, none = pub(signed).with_suffix(""), pub(signed), signed.parent / "none"
    other = signed / MANIFEST
    for key, told in ((public, "it is a public key"), (none, "No such file or directory."),
                      (signed, "Is a directory."), (other, "no line of base64")):  # fmt: skip
        with pytest.raises(UsageError, match=told) as refused:
            sign_manifest(signed, key)
        assert "Errno" not in str(refused.value)
    for key, told in ((secret, "it is a secret key"), (str(none), "no file that can be read"),
                      (none, "No such file or directory."), (other, "no line of b")):  # fmt: skip
        with pytest.raises(UsageError, match=told):
            verify_signature(signed, key)
    missing = CliRunner().invoke(app, ["sign", str(signed)])
    assert missing.exit_code == 2 and "one is missing" in missing.stderr


def test_comments_are_one_line(signed: Path) -> None:
    with pytest.raises(UsageError, match="comment"):
        sign_manifest(signed, signed.parent / "key", "two\nlines")


def test_what_minisign_made_is_read(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_bytes(THEIR_MANIFEST)
    for algorithm, lines in THEIR_SIGNATURES.items():
        (tmp_path / SIGNATURE).write_text(lines)
        assert verify_signature(tmp_path, THEIR_KEY) == "for a test", algorithm
    secret = tmp_path / "their-key"
    secret.write_text(THEIR_SECRET)
    sign_manifest(tmp_path, secret, "again")
    assert verify_signature(tmp_path, THEIR_KEY) == "again"


@pytest.mark.skipif(shutil.which("minisign") is None, reason="minisign is not installed")
def test_minisign_reads_what_is_signed_here(signed: Path) -> None:
    check = ["minisign", "-V", "-p", str(pub(signed)), "-m", str(signed / MANIFEST)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "for a test" in done.stdout
    change_manifest(signed)
    assert subprocess.run(check, capture_output=True, check=False).returncode != 0
