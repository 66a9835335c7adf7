"""Make a self-signed certificate for HTTPS: `dog cert`."""

import contextlib
import functools
import json
import os
import secrets
from pathlib import Path

import click

from dog.cli.exit_status import OutputError
from dog.errors import StartError, install_command, short_reason
from dog.files import link_new
from dog.logs import escape
from dog.machine_addresses import machine_names

__all__ = ["cert"]

INSTRUCTIONS = """\
{certificate} is the certificate. It is valid until {ends_on} for {names}.
{key} is its private key. Keep it on this machine, and let nobody else read it.

Add these lines to dog.toml, above the first line in brackets:

tls_certificate = {certificate_toml}
tls_key = {key_toml}
{hosts_line}
Its SHA-256 fingerprint:

{fingerprint}

Browsers warn at the first visit, because the certificate is self-signed. Look at the certificate in the warning, and
continue only if its SHA-256 fingerprint is the one above. To avoid the warning, copy {certificate} (never the key) to
the device and make its browser or its system trust it. See docs/deploying.md.
"""


_file_option = functools.partial(click.option, type=click.Path(path_type=Path), metavar="FILE", show_default=True)


@click.command()
@click.option(
    "--name",
    "extra_names",
    multiple=True,
    metavar="NAME",
    help="Another name or address of this machine, such as dog.lan. You can repeat this option.",
)
@_file_option("--certificate", default=Path("dog-certificate.pem"), help="File to write the certificate to.")
@_file_option("--key", default=Path("dog-key.pem"), help="File to write its private key to.")
@click.option("--overwrite", is_flag=True, help="Replace existing files. A running server loads the new ones.")
def cert(extra_names: tuple[str, ...], certificate: Path, key: Path, overwrite: bool) -> None:
    """Make a self-signed certificate for HTTPS.

    It is valid for the names and addresses of this machine.
    """
    try:
        from dog.tls.self_signed import make_certificate, parse_name
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("cryptography"):
            raise
        problem = "dog cert needs the package cryptography. Install it: "
        raise StartError(problem + install_command("cryptography")) from None
    for path in (certificate, key):
        _check_path(path, overwrite)
    if certificate.resolve() == key.resolve():
        raise click.UsageError("The certificate and its key can't be in the same file. Name two files.")
    names = []
    for text in extra_names:
        try:
            names.append(parse_name(text))
        except ValueError:
            problem = "is not a name or an address. Write one such as dog.lan or 192.0.2.7, without a scheme or a port."
            raise click.UsageError(f"--name: {text[:80]!r} {problem}") from None
    hosts = [name.value for name in names if isinstance(name.value, str) and not name.value.startswith("*")]
    for text in machine_names():
        with contextlib.suppress(ValueError):  # a host name may be invalid in a certificate
            names.append(parse_name(text))
    names = list(dict.fromkeys(names))
    made = make_certificate(f"D.O.G. on {names[0].value}", names)
    _write_files({key: (made.key, 0o600), certificate: (made.certificate, 0o666)}, overwrite)
    text = INSTRUCTIONS.format(
        certificate=certificate,
        key=key,
        ends_on=made.ends_at.date(),
        names=", ".join(str(name.value) for name in names),
        certificate_toml=json.dumps(str(certificate.absolute()), ensure_ascii=False),
        key_toml=json.dumps(str(key.absolute()), ensure_ascii=False),
        hosts_line=f"hosts = {json.dumps(hosts)}\n" if hosts else "",
        fingerprint=made.fingerprint,
    )
    for line in text.split("\n")[:-1]:
        click.echo(escape(line))


def _check_path(path: Path, overwrite: bool) -> None:
    """Raise click.UsageError if the path can't or must not be written."""
    if not str(path.absolute()).isprintable():
        raise click.UsageError(f"{str(path)!r} can't be written into dog.toml. Name another file.")
    if not path.parent.is_dir():
        raise click.UsageError(f"The folder {str(path.parent)!r} does not exist. Create it first.")
    if path.is_dir():
        raise click.UsageError(f"{str(path)!r} is a folder. Name a file.")
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise click.UsageError(f"{str(path)!r} is a link or a device and is not replaced. Name a file.")
    if path.exists() and not overwrite:
        raise click.UsageError(f"{str(path)!r} exists already. Name another file, or add --overwrite to replace it.")


def _write_files(files: dict[Path, tuple[bytes, int]], overwrite: bool) -> None:
    """Write each file under a temporary name, then rename all of them.

    The temporary files have the final mode from the start. Readers see only complete files. If one can't be written,
    none is changed. Raise OutputError then.
    """
    written: dict[Path, Path] = {}
    path = Path()
    try:
        for path, (data, mode) in files.items():
            temp_path = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
            descriptor = os.open(temp_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            written[path] = temp_path
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
        for path, temp_path in written.items():
            if overwrite:
                os.replace(temp_path, path)
            else:
                link_new(temp_path, path)
    except OSError as error:
        raise OutputError(f"{str(path)!r} can't be written: {short_reason(error)}. Name another file.") from None
    finally:
        for temp_path in written.values():
            temp_path.unlink(missing_ok=True)
