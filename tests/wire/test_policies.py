"""The negotiated values are those of the policies, as the peer lists them and in the headers of IKE messages.

The peer is configured with exactly one proposal, from this file's own tables (strongSwan: IKEv2 cipher suites).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from linkspan.core.ipsec import algorithms
from linkspan.core.ipsec.crypto_profiles import PROFILES, CryptoProfile
from linkspan.drivers.linux import esp_backend
from tests.harness.ours import Ours, raw_charon
from tests.harness.peer import Peer, decoded
from tests.harness.recorder import AGGRESSIVE, IKE_SA_INIT, MAIN_MODE, Recorder
from tests.harness.strongswan import IKE_VERSIONS, needs_ikev1
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]

KERNEL = esp_backend.detect() == "kernel"

ENCRYPTION = {
    # API name: charon's keyword, its name of the algorithm, the listed key size
    "3des": ("3des", "3DES_CBC", None),
    "aes-128": ("aes128", "AES_CBC", "128"),
    "aes-192": ("aes192", "AES_CBC", "192"),
    "aes-256": ("aes256", "AES_CBC", "256"),
    "aes-128-ctr": ("aes128ctr", "AES_CTR", "128"),
    "aes-192-ctr": ("aes192ctr", "AES_CTR", "192"),
    "aes-256-ctr": ("aes256ctr", "AES_CTR", "256"),
    **{
        f"aes-{bits}-{mode}-{icv}": (f"aes{bits}{mode}{icv}", f"AES_{mode.upper()}_{icv}", str(bits))
        for mode in ("ccm", "gcm")
        for bits in (128, 192, 256)
        for icv in (8, 12, 16)
    },
}
INTEGRITY = {
    # API name: charon's keyword, its names of the integrity algorithm and of the corresponding PRF
    "sha1": ("sha1", "HMAC_SHA1_96", "PRF_HMAC_SHA1"),
    "sha256": ("sha256", "HMAC_SHA2_256_128", "PRF_HMAC_SHA2_256"),
    "sha384": ("sha384", "HMAC_SHA2_384_192", "PRF_HMAC_SHA2_384"),
    "sha512": ("sha512", "HMAC_SHA2_512_256", "PRF_HMAC_SHA2_512"),
    "aes-xcbc": ("aesxcbc", "AES_XCBC_96", "PRF_AES128_XCBC"),
    "aes-cmac": ("aescmac", "AES_CMAC_96", "PRF_AES128_CMAC"),
}
GROUPS = {
    "group2": ("modp1024", "MODP_1024"),
    "group5": ("modp1536", "MODP_1536"),
    "group14": ("modp2048", "MODP_2048"),
    "group15": ("modp3072", "MODP_3072"),
    "group16": ("modp4096", "MODP_4096"),
    "group17": ("modp6144", "MODP_6144"),
    "group18": ("modp8192", "MODP_8192"),
    "group19": ("ecp256", "ECP_256"),
    "group20": ("ecp384", "ECP_384"),
    "group21": ("ecp521", "ECP_521"),
    "group22": ("modp1024s160", "MODP_1024_160"),
    "group23": ("modp2048s224", "MODP_2048_224"),
    "group24": ("modp2048s256", "MODP_2048_256"),
    "group25": ("ecp192", "ECP_192"),
    "group26": ("ecp224", "ECP_224"),
    "group27": ("ecp224bp", "ECP_224_BP"),
    "group28": ("ecp256bp", "ECP_256_BP"),
    "group29": ("ecp384bp", "ECP_384_BP"),
    "group30": ("ecp512bp", "ECP_512_BP"),
    "group31": ("curve25519", "CURVE_25519"),
}
IKE1 = [name for name in ENCRYPTION if name in ("3des", "aes-128", "aes-192", "aes-256")]
HASHES1 = [name for name in INTEGRITY if name.startswith("sha")]
MODES = ("v2", "v1 main", "v1 aggressive") if "1" in IKE_VERSIONS else ("v2",)
TOGETHER = 50
"""Concurrent connections of a gateway; each IKEv1 connection has its own address of the peer."""
HEAVY = ("group16", "group17", "group18")
"""Groups whose key exchange takes up to half a second of a core."""
EVERY = (*ENCRYPTION,), (*INTEGRITY,), (*GROUPS,), (*ENCRYPTION,), (*INTEGRITY,), (*GROUPS,)


class Case(msgspec.Struct, frozen=True):
    """The values of a connection: IKE version and mode; encryption, integrity and group of IKE and of ESP."""

    mode: str
    cipher: str
    hash: str
    group: str
    esp_cipher: str
    esp_hash: str
    pfs: str

    @property
    def possible(self) -> bool:
        """True unless IKEv1 lacks a value: AEAD, CTR and AES hashes in phase 1, AES-CMAC in phase 2."""
        if self.mode == "v2":
            return True
        esp = self.esp_hash != "aes-cmac" or aead(self.esp_cipher)
        return self.cipher in IKE1 and self.hash in HASHES1 and esp


def aead(cipher: str) -> bool:
    return cipher.rpartition("-")[0].endswith(("ccm", "gcm"))


def covering(columns: tuple[Iterable[str], ...], possible: Callable[[Case], bool]) -> list[Case]:
    """Return cases that contain every possible pair of values (greedy, deterministic)."""
    names = [list(column) for column in columns]
    pairs = {
        (column, first, other, second)
        for column, other in itertools.combinations(range(len(names)), 2)
        for first in names[column]
        for second in names[other]
    }
    cases: list[Case] = []
    for column, first, other, second in sorted(pairs):
        if (column, first, other, second) not in pairs:
            continue
        row: dict[int, str] = {column: first, other: second}
        for place in [n for n in range(len(names)) if n not in row]:
            scored = [
                (
                    sum(
                        (*min((place, value), (at, had)), *max((place, value), (at, had))) in pairs
                        for at, had in row.items()
                    ),
                    -n,
                    value,
                )
                for n, value in enumerate(names[place])
                if fits(row | {place: value}, possible)
            ]
            if not scored:
                break
            row[place] = max(scored)[2]
        if len(row) < len(names):
            continue
        case = Case(*(row[place] for place in range(len(names))))
        cases.append(case)
        pairs -= {(a, row[a], b, row[b]) for a, b in itertools.combinations(range(len(names)), 2)}
    return cases


def fits(row: dict[int, str], possible: Callable[[Case], bool]) -> bool:
    """True if a partial case can be completed; missing columns get values that every case allows."""
    harmless = ("v2" if row.get(0) is None else row[0], "aes-128", "sha256", "group14", "aes-128", "sha256", "group14")
    return possible(Case(*(row.get(place, harmless[place]) for place in range(7))))


def sample() -> list[Case]:
    """Return cases with every pair of encryption and integrity algorithm in both phases and each possible IKE mode,
    and every group in both phases of IKEv1 and IKEv2; one case for each slow group."""
    light = [group for group in GROUPS if group not in HEAVY]
    every = list(itertools.product(ENCRYPTION, INTEGRITY))
    packets = [every[n * 7 % len(every)] for n in range(len(every))]  # 7 and 150 have no common divisor
    without = itertools.cycle(pair for pair in packets if pair[1] != "aes-cmac")
    modes = [("v2", pair, packets[n]) for n, pair in enumerate(every)]
    for mode in MODES[1:]:
        modes += [(mode, pair, next(without)) for pair in itertools.product(IKE1, HASHES1)]
        modes += [(mode, ("aes-128", "sha256"), next(without))]  # as many as light groups
    cases = [
        Case(mode, *phase1, light[n % len(light)], *phase2, light[n * 5 % len(light)])
        for n, (mode, phase1, phase2) in enumerate(modes)
    ]
    usual = "aes-128", "sha256"
    cases += [
        Case(mode, *usual, heavy, *usual, "group14") for mode, heavy in zip(itertools.cycle(MODES), HEAVY, strict=False)
    ]
    cases += [Case(mode, *usual, "group31", *usual, heavy) for mode in MODES[1:2] or MODES for heavy in HEAVY]
    return cases


def run(ours: Ours, peer: Peer, number: int, case: Case) -> str:
    """Bring a case up; return its fault, or an empty string."""
    version, _, mode = case.mode.partition(" ")
    cipher, digest, group = ENCRYPTION[case.cipher], INTEGRITY[case.hash], GROUPS[case.group]
    esp, mac, pfs = ENCRYPTION[case.esp_cipher], INTEGRITY[case.esp_hash], GROUPS[case.pfs]
    proposal = f"{cipher[0]}-{'prf' if aead(case.cipher) else ''}{digest[0]}-{group[0]}"
    packets = f"{esp[0]}-{pfs[0]}" if aead(case.esp_cipher) else f"{esp[0]}-{mac[0]}-{pfs[0]}"
    local_id, peer_id = f"case{number}.ours", f"case{number}.theirs"
    net = f"10.{200 + number // 250}.{number % 250}.0/24"
    peer.run("ip", "address", "replace", net.replace(".0/24", ".1/24"), "dev", "lo")
    extra: dict[str, Any] = {"aggressive": "yes"} if mode == "aggressive" else {}
    address = peer.v4
    if version == "v1":
        # IKEv1 sends the identity late: the responder selects its proposals by the addresses alone.
        address = f"198.51.100.{200 + number}"
        peer.run("ip", "address", "replace", f"{address}/24", "dev", "eth0")
        extra["local_addrs"] = [address]
    name = f"case{number}"
    peer.load(
        ours.v4,
        ours.psk,
        name=name,
        local=peer_id,
        remote=local_id,
        version=version[1:],
        proposals=[proposal],
        child={"esp_proposals": [packets], "local_ts": [net]},
        **extra,
    )
    ike = {"ike_version": version, "encryption_algorithm": case.cipher, "auth_algorithm": case.hash, "pfs": case.group}
    if mode:
        ike["phase1_negotiation_mode"] = mode
    link = ours.connect(
        peer,
        ike=ike,
        peer_address=address,
        peer_id=peer_id,
        local_id=local_id,
        peer_cidrs=[net],
        ipsec={"encryption_algorithm": case.esp_cipher, "auth_algorithm": case.esp_hash, "pfs": case.pfs},
    )
    wanted = {
        "version": version[1:],
        "encr-alg": cipher[1],
        "encr-keysize": cipher[2],
        "prf-alg": digest[2],
        "dh-group": group[1],
        "integ-alg": None if aead(case.cipher) else digest[1],
        "esp": (esp[1], esp[2], None if aead(case.esp_cipher) else mac[1], pfs[1]),
    }
    seen: dict[str, Any] = {}

    def as_wanted() -> bool:
        time.sleep(0.1)  # ten cases poll concurrently
        sas = [sa for sa in listed(peer, name) if sa["state"] == "ESTABLISHED"]
        children = [child for sa in sas for child in sa.get("child-sas", {}).values() if child["state"] == "INSTALLED"]
        seen.clear()
        if len(sas) == len(children) == 1:
            seen.update({key: sas[0].get(key) for key in wanted if key != "esp"})
            seen["esp"] = tuple(children[0].get(key) for key in ("encr-alg", "encr-keysize", "integ-alg", "dh-group"))
        return seen == wanted

    try:
        until(as_wanted, 15.0)
        # With a slow group one end may be up later than the other.
        until(lambda: ours.ping(net.replace(".0/24", ".1"), 1).received == 1, 5.0)
        # With user-space ESP a ping may be lost during the first rekey under load.
        until(lambda: ours.ping(net.replace(".0/24", ".1"), 3).received == 3, 5.0)
    except AssertionError:
        return f"{case}: {seen} instead of {wanted}; {link.reason}"
    arrived = sum(int(child["packets-in"]) for sa in listed(peer, name) for child in sa["child-sas"].values())
    return "" if arrived >= 4 else f"{case}: {arrived} ESP packets arrived"


def listed(peer: Peer, name: str) -> list[dict[str, Any]]:
    with peer.session() as session:
        return [decoded(message)[name] for message in session.list_sas({"ike": name})]


def all_come_up(ours: Ours, peer: Peer, cases: list[Case]) -> None:
    """Assert that all cases come up, several concurrently on one gateway."""
    # An earlier peer may have used the same addresses.
    ours.world.inside(ours.gateway, "ip", "neigh", "flush", "all")
    for start in range(0, len(cases), TOGETHER):
        some = list(enumerate(cases[start : start + TOGETHER]))
        with peer.recorder() as wire, ThreadPoolExecutor(10) as pool:
            wrong = [fault for fault in pool.map(lambda numbered: run(ours, peer, *numbered), some) if fault]
        assert not wrong, f"{len(wrong)} of {len(some)}:\n" + "\n".join(wrong)
        assert wire.plaintext == 0
        assert wire.esp >= 8 * len(some)
        ours.clear()
        for number, _ in some:
            peer.unload(f"case{number}")


@pytest.mark.shows(
    "ike_policy.encryption_algorithm",
    "ike_policy.auth_algorithm",
    "ike_policy.pfs",
    "ike_policy.ike_version",
    "ike_policy.phase1_negotiation_mode",
    "ipsec_policy.encryption_algorithm",
    "ipsec_policy.auth_algorithm",
    "ipsec_policy.pfs",
    "connection.ikepolicy_id",
    "connection.ipsecpolicy_id",
)
@pytest.mark.timeout(300)
def test_every_algorithm_of_each_policy_is_negotiated(ours: Ours, peer: Peer) -> None:
    cases = sample()
    assert all(case.possible for case in cases)
    for place, values in enumerate(EVERY, 1):
        used = {msgspec.structs.astuple(case)[place] for case in cases}
        assert used == set(values), "the sample does not contain all values"
    all_come_up(ours, peer, cases)


@pytest.mark.shows("ike_policy.crypto_profile", "ipsec_policy.crypto_profile")
@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_policies_take_the_algorithms_of_a_profile(ours: Ours, peer: Peer, profile: CryptoProfile) -> None:
    version = profile.ikepolicy["ike_version"][1:]
    if version not in IKE_VERSIONS:
        pytest.skip("this strongSwan has no IKEv1")
    cipher, prf, group = (profile.ikepolicy[name] for name in ("encryption_algorithm", "auth_algorithm", "pfs"))
    keyword, _, _ = ENCRYPTION[cipher]
    integrity = f"-{INTEGRITY[prf][0]}"
    ike = f"{keyword}{integrity.replace('-', '-prf') if aead(cipher) else integrity}-{GROUPS[group][0]}"
    esp = f"{keyword}{'' if aead(cipher) else integrity}-{GROUPS[group][0]}"
    assert (profile.ike_proposal, profile.esp_proposal) == (ike, esp)
    peer.load(ours.v4, ours.psk, proposals=[ike], child={"esp_proposals": [esp]}, version=version)
    named = {"crypto_profile": profile.name}
    link = ours.connect(peer, ike=named, ipsec=named)
    link.wait("ACTIVE", 30.0)
    link.assert_pings()
    (sa,) = peer.sas()
    _, name, bits = ENCRYPTION[cipher]
    for listed in (sa, *sa["child-sas"].values()):
        assert (listed["encr-alg"], listed["encr-keysize"]) == (name, bits)
    assert (sa["version"], sa["prf-alg"], sa["dh-group"]) == (version, INTEGRITY[prf][2], GROUPS[group][1])


@pytest.mark.whole
@pytest.mark.timeout(3000)
def test_every_pair_of_values_is_negotiated(ours: Ours, peer: Peer) -> None:
    all_come_up(ours, peer, covering((MODES, *EVERY), lambda case: case.possible))


def first(seen: Recorder) -> tuple[int, int]:
    """Return IKE version and exchange type of the last initial message of the gateway."""
    packets = [packet.ike for packet in seen.ike(sent=False) if packet.ike and packet.ike.initial]
    return packets[-1].version, packets[-1].exchange


@needs_ikev1
@pytest.mark.shows("ike_policy.ike_version", "ike_policy.phase1_negotiation_mode")
def test_version_and_mode_are_in_the_first_message(ours: Ours, peer: Peer) -> None:
    with peer.recorder() as seen:
        peer.load(ours.v4, ours.psk, version="1", aggressive="yes")
        link = ours.connect(peer, ike={"ike_version": "v1", "phase1_negotiation_mode": "aggressive"})
        link.wait("ACTIVE")
        assert first(seen) == (1, AGGRESSIVE)
        link.assert_pings()
        peer.load(ours.v4, ours.psk, version="1")
        link.set_ike(phase1_negotiation_mode="main")
        until(lambda: first(seen) == (1, MAIN_MODE), 10.0, lambda: str(link.shown))
        until(lambda: (link.status, link.reason) == ("ACTIVE", ""), 15.0, lambda: str(link.shown))
        peer.load(ours.v4, ours.psk)
        link.set_ike(ike_version="v2")
        until(lambda: first(seen) == (2, IKE_SA_INIT), 10.0, lambda: str(link.shown))
        until(lambda: [sa["version"] for sa in peer.sas()] == ["2"], 15.0, lambda: str(peer.sas()))
        link.wait("ACTIVE")
        link.assert_pings()


def test_ah_esp_reads_error_with_its_reason(ours: Ours, peer: Peer) -> None:
    """strongSwan would silently negotiate ESP only."""
    peer.load(ours.v4, ours.psk)
    link = ours.connect(peer, ipsec={"transform_protocol": "ah-esp"})
    link.wait("ERROR")
    assert link.reason.startswith("ah-esp is not possible: strongSwan would negotiate ESP only")
    assert peer.sas() == []
    link.set_ipsec(transform_protocol="esp")
    link.wait("ACTIVE")


@pytest.mark.shows("ipsec_policy.transform_protocol", "ipsec_policy.encapsulation_mode")
@pytest.mark.skipif(KERNEL, reason="the kernel can do both")
@pytest.mark.parametrize(
    ("values", "words", "back"),
    [
        ({"transform_protocol": "ah"}, "AH needs the kernel's IPsec", {"transform_protocol": "esp"}),
        ({"encapsulation_mode": "transport"}, "transport mode needs the kernel's", {"encapsulation_mode": "tunnel"}),
    ],
)
def test_values_without_user_space_support_read_error_at_once(
    ours: Ours, peer: Peer, values: dict[str, str], words: str, back: dict[str, str]
) -> None:
    peer.load(ours.v4, ours.psk)
    link = ours.connect(peer, ipsec=values)
    link.wait("ERROR", 5.0)
    assert link.reason.startswith(words)
    assert peer.sas() == []
    link.set_ipsec(**back)
    link.wait("ACTIVE")
    link.assert_pings()
    link.set_ipsec(**values)
    link.wait("ERROR", 5.0)
    assert link.reason.startswith(words)
    peer.wait_down()


@pytest.mark.shows("ipsec_policy.transform_protocol", "ipsec_policy.encapsulation_mode")
@pytest.mark.skipif(not KERNEL, reason="needs the kernel's IPsec")
@pytest.mark.parametrize("version", IKE_VERSIONS)
def test_ah_and_transport_in_the_kernel(ours: Ours, peer: Peer, version: str) -> None:
    """AH in tunnel mode carries pings. Transport mode is for traffic between the two ends (RFC 4301 4.1): with networks
    behind the gateways it reads ERROR at once, with the reason. tests/drivers/test_transport.py covers it."""
    digests = {"sha1": ("sha1", "HMAC_SHA1_96"), "sha512": ("sha512", "HMAC_SHA2_512_256")}
    if version == "2":
        digests["aes-cmac"] = ("aescmac", "AES_CMAC_96")
    for name, (word, listed_as) in digests.items():
        peer.load(ours.v4, ours.psk, version=version, child={"ah_proposals": [f"{word}-modp2048"], "esp_proposals": []})
        link = ours.connect(
            peer,
            ike={"ike_version": f"v{version}"},
            ipsec={"transform_protocol": "ah", "auth_algorithm": name},
        )
        link.wait_rekeyed(30.0)
        agreed = [(sa["protocol"], sa["mode"], sa["integ-alg"]) for sa in peer.children()]
        assert agreed == [("AH", "TUNNEL", listed_as)]
        assert ours.ping(peer.in4, 3).received == 3
        assert sum(int(sa["packets-in"]) for sa in peer.children()) >= 3
        ours.clear()
        peer.unload()
    if version == "1":
        return  # The tunnel does not come up either, but charon logs no cause, so the reason stays empty.
    peer.load(ours.v4, ours.psk, version=version)
    link = ours.connect(peer, ike={"ike_version": f"v{version}"}, ipsec={"encapsulation_mode": "transport"})
    link.wait("ERROR", 10.0)
    assert link.reason.startswith("transport mode protects only traffic between the gateways")
    assert peer.sas() == []
    link.set_ipsec(encapsulation_mode="tunnel")
    link.wait("ACTIVE", 40.0)
    # A packet socket also shows decrypted packets, so plaintext cannot be counted here.
    assert ours.ping(peer.in4, 3).received == 3


def test_charon_has_every_algorithm_of_the_api(ours: Ours) -> None:
    """Compares the API's algorithms with charon's list (VICI get-algorithms)."""
    with raw_charon(ours) as session:
        has = {kind: set(names) for kind, names in decoded(session.get_algorithms()).items()}
    for name, word in algorithms.ENCRYPTION.items():
        assert algorithms.TRANSFORMS[word] == ENCRYPTION[name][1]
        assert algorithms.TRANSFORMS[word] in has["aead" if algorithms.is_aead(name) else "encryption"]
    for name, word in algorithms.INTEGRITY.items():
        assert algorithms.TRANSFORMS[word] == INTEGRITY[name][1]
        assert algorithms.TRANSFORMS[word] in has["integrity"]
        assert INTEGRITY[name][2] in has["prf"]
    for name, word in algorithms.GROUPS.items():
        assert algorithms.TRANSFORMS[word] == GROUPS[name][1]
        assert algorithms.TRANSFORMS[word] in has.get("ke", has.get("dh", set()))
