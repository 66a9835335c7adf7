"""The settings that say who may come in, and how: users, certificates, proxies, limits."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from dog.settings.about import ACCESS, LIMITS, About
from dog.settings.camera_fields import CameraFields
from dog.settings.checks import check_hosts, check_networks

__all__ = ["AccessFields"]


class AccessFields(CameraFields, frozen=True, kw_only=True):
    """Who may do what, by which way, and how much of it. A struct has one line of bases: the cameras' stand before."""

    auth: Annotated[
        bool,
        About(
            group=ACCESS,
            meaning="Require people to log in and scripts to send a token. See docs/security.md.",
            right="true or false",
            metavar="BOOLEAN",
            common=True,
        ),
    ] = False
    anonymous: Annotated[
        Literal["nothing", "view", "capture", "manage"],
        About(
            group=ACCESS,
            meaning="Role of people who are not logged in, if auth is on.",
            right="one of nothing, view, capture, manage",
            metavar="ROLE",
        ),
    ] = "nothing"
    open: Annotated[
        bool,
        About(
            group=ACCESS,
            meaning="Allow everybody who can reach the service to watch and take photos without logging in.",
            right="true or false",
            metavar="BOOLEAN",
            common=True,
        ),
    ] = False
    session_days: Annotated[
        float,
        Meta(gt=0, le=3650),
        About(
            group=ACCESS,
            meaning="Lifetime of a login.",
            right="a number of days above 0, at most 3650",
            metavar="DAYS",
        ),
    ] = 30.0
    hosts: Annotated[
        tuple[str, ...],
        About(
            group=ACCESS,
            meaning="More host names that browsers may use for the service. Its IP addresses, this machine's name and"
            " the host of base_url always work.",
            right="names such as dog.lan, separated by commas (in dog.toml: a list); leave it empty for none",
            metavar="NAMES",
            check=check_hosts,
        ),
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...],
        About(
            group=ACCESS,
            meaning="Proxies whose Forwarded and X-Forwarded-* headers are trusted.",
            right="addresses or networks such as 127.0.0.1 or 10.0.0.0/8, separated by commas (in dog.toml: a list);"
            " leave it empty for none",
            metavar="ADDRESSES",
            check=check_networks,
        ),
    ] = ()
    tls_certificate: Annotated[
        Path | None,
        About(
            group=ACCESS,
            meaning="Certificate chain for HTTPS. `dog cert` makes a self-signed certificate.",
            right="the path of a PEM file; leave it empty for plain HTTP",
            metavar="FILE",
            none=("",),
            common=True,
        ),
    ] = None
    tls_key: Annotated[
        Path | None,
        About(
            group=ACCESS,
            meaning="Private key of the certificate, if it is not in the same file.",
            right="the path of a PEM file; leave it empty if the certificate's file contains the key",
            metavar="FILE",
            none=("",),
            common=True,
        ),
    ] = None
    login_attempts: Annotated[
        int,
        Meta(ge=1, le=10_000),
        About(
            group=LIMITS,
            meaning="Failed logins that an account or a client address may have before further attempts have to wait.",
            right="a whole number from 1 to 10000",
            metavar="NUMBER",
        ),
    ] = 10
    presses_per_minute: Annotated[
        int,
        Meta(ge=1, le=100_000),
        About(
            group=LIMITS,
            meaning="New photos per minute that one user or one client address may take on average.",
            right="a whole number from 1 to 100000",
            metavar="NUMBER",
        ),
    ] = 120
    download_per_hour: Annotated[
        int,
        Meta(ge=1, le=1_000_000_000),
        About(
            group=LIMITS,
            meaning="MiB per hour that one user or one client address may download on average: photos and live views.",
            right="a whole number of MiB from 1 to 1000000000",
            metavar="MIB",
        ),
    ] = 50_000
