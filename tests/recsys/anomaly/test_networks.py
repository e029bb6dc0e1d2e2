import pytest

from recsys.anomaly.networks import is_within, parse_networks

NETWORKS = parse_networks(["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"])


@pytest.mark.parametrize("ip", ["10.0.0.0", "10.255.255.255", "2001:db8::1", "192.0.2.7"])
def test_addresses_of_a_network_lie_within(ip: str) -> None:
    assert is_within(ip, NETWORKS)


@pytest.mark.parametrize("ip", ["11.0.0.1", "2001:db9::1", "192.0.2.8", "unknown", "", "10.0.0.0/8"])
def test_others_and_what_is_no_address_do_not(ip: str) -> None:
    assert not is_within(ip, NETWORKS)
    assert not is_within(ip, [])
