"""How the keys of two nodes stand to each other."""

import pytest

from consent_server.tokens.keyset import KeySet, differences

AT = 1000
OLD, NOW, NEXT = [10, "old"], [500, "now"], [1600, "next"]


def held(*signing: list[int | str], refresh: str = "1 a", sealing: str = "s") -> KeySet:
    return KeySet(signing=list(signing), refresh=[[10, refresh]], sealing=sealing)


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        pytest.param(held(NOW), held(NOW), {}, id="the same"),
        pytest.param(held(OLD, NOW), held(NOW), {}, id="an old key is retired here later"),
        pytest.param(held(NOW), held(NOW, NEXT), {}, id="a key that is not in use yet has time to be copied"),
        pytest.param(held(OLD), held(OLD, NOW), {"signing": "behind"}, id="a key that was not copied is in use"),
        pytest.param(held(OLD, NOW), held(OLD), {"signing": "ahead"}, id="the other lacks ours"),
        pytest.param(held(NEXT), held(NOW, NEXT), {"signing": "ahead"}, id="retired at once here first"),
        pytest.param(held(NOW, NEXT), held(NEXT), {"signing": "ahead"}, id="retired at once there first"),
        pytest.param(held(NOW), held([500, "other"]), {"signing": "apart"}, id="made twice"),
        pytest.param(held(NOW), held(NOW, refresh="1 b"), {"refresh": "apart"}, id="one version, two keys"),
        pytest.param(held(NOW), held(NOW, sealing="t"), {"sealing": "apart"}, id="sealing keys"),
    ],
)
def test_differences(ours: KeySet, theirs: KeySet, expected: dict[str, str]) -> None:
    assert differences(ours, theirs, AT) == expected
