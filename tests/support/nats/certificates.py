"""Certificates for tests: an authority, and what it signs, by OpenSSL's own command."""

from __future__ import annotations

import subprocess
from pathlib import Path


class CertificateAuthority:
    """An authority whose files are in `folder`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self.certificate = folder / "ca.pem"
        self._key = folder / "ca-key.pem"
        use = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]  # which Python 3.13 insists on
        options = ["-subj", "/CN=authority", "-days", "2", *use]
        _openssl("req", "-x509", *_new_key(self._key), *options, "-out", self.certificate)

    def sign(self, name: str, *, is_expired: bool = False) -> tuple[Path, Path]:
        """A certificate for loopback and its private key, of which others can read nothing."""
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}-key.pem"
        request, names = self._folder / f"{name}.csr", self._folder / f"{name}.ext"
        names.write_text("subjectAltName=IP:127.0.0.1,IP:::1,DNS:localhost\nauthorityKeyIdentifier=keyid\n")
        _openssl("req", *_new_key(key), "-subj", f"/CN={name}", "-out", request)
        signed_by = ["-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial", "-extfile", names]
        signing = ["x509", "-req", "-in", request, *signed_by, "-out", certificate]
        if not is_expired:
            _openssl(*signing, "-days", "2")
        else:
            try:
                _openssl(*signing, "-days", "-1")
            except subprocess.CalledProcessError:  # OpenSSL 3.5 takes times, and no days that are gone
                _openssl(*signing, "-not_before", "20200101000000Z", "-not_after", "20200102000000Z")
        key.chmod(0o600)
        return certificate, key

    def revoke(self, certificate: Path) -> Path:
        """The list of what this authority does not vouch for any more, with a certificate that it signed."""
        known, settings, revoked = (self._folder / name for name in ("index.txt", "ca.conf", "crl.pem"))
        known.touch()
        settings.write_text(
            f"[ca]\ndefault_ca = all\n[all]\ndatabase = {known}\ndefault_md = sha256\ndefault_crl_days = 2\n"
        )
        authority: list[str | Path] = ["ca", "-config", settings, "-cert", self.certificate, "-keyfile", self._key]
        _openssl(*authority, "-revoke", certificate)
        _openssl(*authority, "-gencrl", "-out", revoked)
        return revoked

    def encrypt(self, key: Path) -> None:
        """Replace a key by itself under a passphrase."""
        secret = key.with_suffix(".encrypted")
        _openssl("ec", "-in", key, "-aes256", "-passout", "pass:word", "-out", secret)
        secret.chmod(0o600)
        secret.replace(key)


def _new_key(file: Path) -> list[str | Path]:
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", file]


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
