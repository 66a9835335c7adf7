"""Public and private addresses."""

import pytest

from dog.public_addresses import is_public, resolve_public


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "93.184.216.34", "172.15.0.1", "2a00:1450:4001:80b::200e", "::ffff:9.9.9.9", "2002:0909:0909::1"],
)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "10.3.2.1",
        "172.31.255.255",
        "192.168.0.7",
        "127.1.2.3",
        "169.254.169.254",
        "100.127.0.1",
        "198.19.0.1",
        "0.0.0.0",
        "239.1.1.1",
        "250.0.0.1",
        "::",
        "::1",
        "fe80::7%eth1",
        "fd12::1",
        "fec0::1",
        "ff05::1",
        "2001:db8::5",
        "::ffff:192.168.0.7",
        "::192.168.0.7",
        "2002:c0a8:0007::1",
        "64:ff9b::c0a8:7",
        "64:ff9b:1::808:808",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "porch",
        "",
    ],
)
def test_all_other_addresses_are_private(address: str) -> None:
    assert not is_public(address)


def test_a_name_of_this_machine_has_no_public_address() -> None:
    assert resolve_public("localhost") == []
    assert resolve_public("8.8.4.4") == ["8.8.4.4"]
    with pytest.raises(OSError, match=r"."):
        resolve_public("porch.invalid")
