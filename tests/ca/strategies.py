"""Names as hypothesis draws them: all of them are such as RFC 5280 allows."""

from __future__ import annotations

from hypothesis import strategies as st

from ca import der, names
from ca.names import Attribute, DirectoryName, DistinguishedName, GeneralName, IpAddress, OtherName, RegisteredId

LABELS = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,20}[a-z0-9_])?", fullmatch=True)
DOMAINS = st.lists(LABELS, min_size=1, max_size=5).map(".".join)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=16)
OIDS = st.lists(st.integers(0, 2**40), min_size=1, max_size=6).map(lambda arcs: ".".join(("1.3", *map(str, arcs))))
DISTINGUISHED = st.lists(
    st.lists(
        st.builds(Attribute, st.sampled_from(["2.5.4.3", "2.5.4.10", "2.5.4.11"]), TEXTS),
        min_size=1,
        max_size=2,
        unique_by=lambda attribute: attribute.oid,
    ),
    max_size=4,
).map(lambda rdns: DistinguishedName(tuple(tuple(rdn) for rdn in rdns)))
GENERAL: st.SearchStrategy[GeneralName] = st.one_of(
    DOMAINS.map(names.dns_name),
    DOMAINS.map(lambda domain: names.dns_name(f"*.{domain}")),
    st.ip_addresses().map(IpAddress),
    st.builds(lambda user, domain: names.email_address(f"{user}@{domain}"), LABELS, DOMAINS),
    DOMAINS.map(lambda domain: names.uri(f"spiffe://{domain}/pump")),
    OIDS.map(RegisteredId),
    st.builds(OtherName, OIDS, TEXTS.map(der.utf8)),
    DISTINGUISHED.map(DirectoryName),
)
