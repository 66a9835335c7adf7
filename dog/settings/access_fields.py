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
            meaning="Whether people log in, and scripts show a token; docs/security.md says more.",
            right="true or false",
            metavar="BOOLEAN",
        ),
    ] = False
    anonymous: Annotated[
        Literal["nothing", "view", "capture", "manage"],
        About(
            group=ACCESS,
            meaning="What those may do who are not logged in, where others are.",
            right="one of nothing, view, capture, manage",
            metavar="ROLE",
        ),
    ] = "nothing"
    open: Annotated[
        bool,
        About(
            group=ACCESS,
            meaning="Whether everybody who reaches the service from elsewhere may watch and press, without logging in.",
            right="true or false",
            metavar="BOOLEAN",
        ),
    ] = False
    session_days: Annotated[
        float,
        Meta(gt=0, le=3650),
        About(
            group=ACCESS,
            meaning="How long who has logged in stays so.",
            right="a number of days above 0, at most 3650",
            metavar="DAYS",
        ),
    ] = 30.0
    hosts: Annotated[
        tuple[str, ...],
        About(
            group=ACCESS,
            meaning="Names that browsers may call it by, beside its addresses, this machine's name and base_url's.",
            right="names such as dog.lan, with commas between them (in dog.toml a list); empty for none",
            metavar="NAMES",
            check=check_hosts,
        ),
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...],
        About(
            group=ACCESS,
            meaning="The proxies that are believed who asked them, by which name and whether by HTTPS.",
            right="addresses or networks such as 127.0.0.1 or 10.0.0.0/8, with commas between them; empty for none",
            metavar="ADDRESSES",
            check=check_networks,
        ),
    ] = ()
    tls_certificate: Annotated[
        Path | None,
        About(
            group=ACCESS,
            meaning="The certificate to serve HTTPS with, and the chain behind it; `dog cert` makes one.",
            right="the path of a PEM file; empty for plain HTTP",
            metavar="FILE",
            none=("",),
        ),
    ] = None
    tls_key: Annotated[
        Path | None,
        About(
            group=ACCESS,
            meaning="The certificate's private key, where it is not in the same file.",
            right="the path of a PEM file; empty where the certificate's file has it",
            metavar="FILE",
            none=("",),
        ),
    ] = None
    login_attempts: Annotated[
        int,
        Meta(ge=1, le=10_000),
        About(
            group=LIMITS,
            meaning="How many wrong passwords an account, or an address, may have before each next one waits longer.",
            right="a whole number from 1 to 10000",
            metavar="NUMBER",
        ),
    ] = 10
    presses_per_minute: Annotated[
        int,
        Meta(ge=1, le=100_000),
        About(
            group=LIMITS,
            meaning="How many new photos a minute one user, or one address, may ask for in the long run.",
            right="a whole number from 1 to 100000",
            metavar="NUMBER",
        ),
    ] = 120
    download_per_hour: Annotated[
        int,
        Meta(ge=1, le=1_000_000_000),
        About(
            group=LIMITS,
            meaning="How much one user, or one address, may be sent an hour in the long run: pictures, live views.",
            right="a whole number of MiB from 1 to 1000000000",
            metavar="MIB",
        ),
    ] = 50_000
