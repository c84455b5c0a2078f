"""H17: which addresses count as public, and names that no resolver can take."""

import contextlib
import ipaddress
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consent_server.outbound import fields, session
from consent_server.outbound.addresses import is_public, is_public_or_loopback
from consent_server.outbound.errors import NotAllowed, Unreachable

PUBLIC = ["8.8.8.8", "192.0.1.0", "198.17.255.255", "2a00:1450:4009::1", "2001:4860::1", "2001:200::1", "3ffd::1"]
# An IPv4 address in IPv6 form is judged as itself.
PUBLIC += ["::ffff:8.8.8.8", "64:ff9b::808:808"]
LOOPBACK = ["127.0.0.1", "127.255.255.255", "::1"]
# Of each block its first and last address. IPv4: https://www.iana.org/assignments/iana-ipv4-special-registry and multicast.
SPECIAL_V4 = {
    "0.0.0.0/8": "RFC 791",
    "10.0.0.0/8": "RFC 1918",
    "100.64.0.0/10": "RFC 6598",
    "168.63.129.16/32": "a cloud platform's services",
    "169.254.0.0/16": "RFC 3927",
    "172.16.0.0/12": "RFC 1918",
    "192.0.0.0/24": "RFC 6890",
    "192.0.0.0/29": "RFC 7335",
    "192.0.0.8/32": "RFC 7600",
    "192.0.0.9/32": "RFC 7723",
    "192.0.0.10/32": "RFC 8155",
    "192.0.0.170/31": "RFC 8880",
    "192.0.0.192/32": "a cloud platform's services",
    "192.0.2.0/24": "RFC 5737",
    "192.31.196.0/24": "RFC 7535",
    "192.52.193.0/24": "RFC 7450",
    "192.88.99.0/24": "RFC 7526",
    "192.168.0.0/16": "RFC 1918",
    "192.175.48.0/24": "RFC 7534",
    "198.18.0.0/15": "RFC 2544",
    "198.51.100.0/24": "RFC 5737",
    "203.0.113.0/24": "RFC 5737",
    "224.0.0.0/4": "RFC 5771",
    "240.0.0.0/4": "RFC 1112",
    "255.255.255.255/32": "RFC 8190",
}
# IPv6: https://www.iana.org/assignments/iana-ipv6-special-registry, and what lies outside of global unicast (RFC 4291).
SPECIAL_V6 = {
    "::/128": "RFC 4291",
    "::/96": "RFC 4291, IPv4-compatible",
    "::ffff:0:0:0/96": "RFC 2765, IPv4-translated",
    "64:ff9b:1::/48": "RFC 8215",
    "100::/64": "RFC 6666",
    "100:0:0:1::/64": "RFC 9780",
    "200::/7": "RFC 4048, returned",
    "400::/6": "unassigned",
    "1000::/4": "unassigned",
    "2001::/23": "RFC 2928",
    "2001::/32": "RFC 4380",
    "2001:1::1/128": "RFC 7723",
    "2001:1::2/128": "RFC 8155",
    "2001:1::3/128": "RFC 9665",
    "2001:2::/48": "RFC 5180",
    "2001:3::/32": "RFC 7450",
    "2001:4:112::/48": "RFC 7535",
    "2001:10::/28": "RFC 4843",
    "2001:20::/28": "RFC 7343",
    "2001:30::/28": "RFC 9374",
    "2001:db8::/32": "RFC 3849",
    "2002::/16": "RFC 7526",
    "2002:808:808::/48": "RFC 3056, around a public address",
    "2620:4f:8000::/48": "RFC 7534",
    "3ffe::/16": "RFC 3701, returned",
    "3fff::/20": "RFC 9637",
    "4000::/2": "unassigned",
    "5f00::/16": "RFC 9602",
    "fc00::/7": "RFC 4193",
    "fe80::/10": "RFC 4291",
    "fec0::/10": "RFC 3879",
    "ff00::/8": "RFC 4291",
}


@pytest.mark.parametrize("address", PUBLIC + LOOPBACK)
def test_public_addresses_and_loopback(address: str) -> None:
    parsed = ipaddress.ip_address(address)
    assert is_public(parsed) is (address in PUBLIC)
    assert is_public_or_loopback(parsed)


@pytest.mark.parametrize("block", [*SPECIAL_V4, *SPECIAL_V6])
def test_H17_no_address_of_a_special_block_is_public(block: str) -> None:
    network = ipaddress.ip_network(block)
    for address in (network[0], network[-1]):
        assert not is_public(address)
        assert is_public_or_loopback(address) is (str(address) in LOOPBACK)


@pytest.mark.parametrize("block", SPECIAL_V4)
@pytest.mark.parametrize("prefix", ["::ffff:0:0", "64:ff9b::"], ids=["mapped", "translated"])
def test_H17_an_ipv4_address_in_ipv6_form_is_judged_as_itself(block: str, prefix: str) -> None:
    inside = ipaddress.IPv4Network(block)[0]
    address = ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) + int(inside))
    assert not is_public(address)
    assert not is_public_or_loopback(address)


def test_H17_a_scope_does_not_change_an_address() -> None:
    assert not is_public_or_loopback(ipaddress.ip_address("fe80::1%eth0"))


HOSTS = [
    "xn--",
    "XN--",
    "a..b",
    ".a",
    "a.",
    "-a",
    "a-",
    "a_b",
    "*",
    "a%2eb",
    "%00",
    "a" * 64 + ".b",
    ".".join(["a" * 63] * 4),
    "[::1%25eth0]",
    "[v1.x]",
    "[",
    "1.2.3.400",
]


@pytest.mark.parametrize("host", HOSTS)
def test_H17_a_name_that_is_none_is_refused_by_the_guard(host: str) -> None:
    with pytest.raises(NotAllowed) as refused:
        session.checked_url(f"https://{host}/")
    assert str(refused.value) == "-: url"
    with pytest.raises(Unreachable) as refused:
        session._redirected(httpx.URL("https://member.example/"), f"https://{host}/")
    assert refused.value.kind == "redirect"


@pytest.mark.parametrize(
    "name", ["xn--mmber-bsa.example", "xn--a", "a.b-c.d9", "localhost", "127.0.0.1", "[2a00::1]", "[::ffff:1.2.3.4]"]
)
def test_names_and_literals_that_encode_are_taken(name: str) -> None:
    assert session._host(session.checked_url(f"https://{name}:8443/path?query")) == name.strip("[]")


ANY = st.text(st.characters(codec=None), max_size=40)
HOSTILE = st.one_of(ANY, st.text("xn-.a:[]%0@/\\?#*~é\u2100\uff0e\udc80\0", max_size=30), st.sampled_from(HOSTS))


@given(HOSTILE)
@example("xn--")
def test_H17_whatever_the_host_the_guard_returns_or_refuses(host: str) -> None:
    try:
        url = session.checked_url(f"https://{host}/")
    except NotAllowed:
        return
    assert session._HOST.fullmatch(session._host(url))


@given(HOSTILE, st.sampled_from(["", "//", "https://", "/", "?"]))
@example("xn--", "//")
@example("\udc80", "")
def test_H17_whatever_the_location_it_is_followed_on_its_own_origin_or_refused(location: str, before: str) -> None:
    here = httpx.URL("https://member.example:8443/")
    with contextlib.suppress(Unreachable):
        there = session._redirected(here, before + location)
        assert (there.scheme, there.raw_host, there.port) == ("https", b"member.example", 8443)


@given(HOSTILE)
@example("[")
@example("a:b")
def test_H17_a_url_in_a_document_can_be_taken_apart(host: str) -> None:
    """Pages name the host of such a URL: one that urlsplit cannot read would be a fault there."""
    try:
        url = fields.url({"logo": f"https://{host}"}, "logo")
    except ValueError:
        return
    assert urlsplit(url).hostname


def unencodable(host: str, port: int) -> list[str]:
    raise UnicodeError("label too long")


@pytest.mark.parametrize("look_up", [unencodable, lambda host, port: ["no address"]], ids=["unencodable", "no address"])
def test_H17_a_resolver_that_fails_is_a_refusal(settings, session_of, wire, look_up) -> None:
    with pytest.raises(Unreachable) as refused:
        session_of(settings, allowed=[wire.member], look_up=look_up).get("https://member.example/")
    assert refused.value.kind == "dns"
