"""The words of policy files for what PKIX numbers: subject attributes, purposes, extensions and request attributes."""

from __future__ import annotations

from ca.plan import KeyUsage

SUBJECT_ATTRIBUTES: dict[str, str] = {
    "C": "2.5.4.6",
    "CN": "2.5.4.3",
    "DC": "0.9.2342.19200300.100.1.25",
    "L": "2.5.4.7",
    "O": "2.5.4.10",
    "OU": "2.5.4.11",
    "ST": "2.5.4.8",
    "UID": "0.9.2342.19200300.100.1.1",
    "description": "2.5.4.13",
    "dnQualifier": "2.5.4.46",
    "emailAddress": "1.2.840.113549.1.9.1",
    "givenName": "2.5.4.42",
    "organizationIdentifier": "2.5.4.97",
    "pseudonym": "2.5.4.65",
    "serialNumber": "2.5.4.5",
    "street": "2.5.4.9",
    "surname": "2.5.4.4",
    "title": "2.5.4.12",
    "unstructuredAddress": "1.2.840.113549.1.9.8",
    "unstructuredName": "1.2.840.113549.1.9.2",
}
"""Subject attributes (X.520, RFC 4519, RFC 2985) by the names that administrators write."""

ATTRIBUTE_NAMES = {oid: word for word, oid in SUBJECT_ATTRIBUTES.items()}

ATTRIBUTE_BOUNDS: dict[str, int] = {
    "C": 2,
    "L": 128,
    "ST": 128,
    "description": 1024,
    "emailAddress": 255,
    "pseudonym": 128,
    "street": 128,
    "unstructuredAddress": 255,
    "unstructuredName": 255,
}
"""Upper bounds (RFC 5280 appendix A.1, RFC 2985); what is not here has 64 characters."""

DEFAULT_BOUND = 64

PURPOSES: dict[str, str] = {
    "OCSPSigning": "1.3.6.1.5.5.7.3.9",
    "anyExtendedKeyUsage": "2.5.29.37.0",
    "certificateRequestAgent": "1.3.6.1.4.1.311.20.2.1",
    "clientAuth": "1.3.6.1.5.5.7.3.2",
    "cmcCA": "1.3.6.1.5.5.7.3.27",
    "cmcRA": "1.3.6.1.5.5.7.3.28",
    "codeSigning": "1.3.6.1.5.5.7.3.3",
    "documentSigning": "1.3.6.1.5.5.7.3.36",
    "emailProtection": "1.3.6.1.5.5.7.3.4",
    "ipsecIKE": "1.3.6.1.5.5.7.3.17",
    "kdcAuthentication": "1.3.6.1.5.2.3.5",
    "serverAuth": "1.3.6.1.5.5.7.3.1",
    "smartcardLogon": "1.3.6.1.4.1.311.20.2.2",
    "timeStamping": "1.3.6.1.5.5.7.3.8",
}
"""Extended key usages (RFC 5280 section 4.2.1.12 and others) by name."""

PURPOSE_NAMES = {oid: word for word, oid in PURPOSES.items()}

NEVER_REQUESTED_PURPOSES = frozenset(
    PURPOSES[word]
    for word in (
        "OCSPSigning",
        "anyExtendedKeyUsage",
        "certificateRequestAgent",
        "cmcCA",
        "cmcRA",
        "kdcAuthentication",
        "smartcardLogon",
        "timeStamping",
    )
)
"""Purposes that give power over others: a profile may force some, a request can never bring them."""

CA_USAGES = frozenset({KeyUsage.KEY_CERT_SIGN, KeyUsage.CRL_SIGN})
"""Key usages of a CA: no end entity has them."""

SUBJECT_ALT_NAME = "2.5.29.17"
KEY_USAGE = "2.5.29.15"
EXTENDED_KEY_USAGE = "2.5.29.37"
BASIC_CONSTRAINTS = "2.5.29.19"

EXTENSION_NAMES: dict[str, str] = {
    "2.5.29.14": "subjectKeyIdentifier",
    KEY_USAGE: "keyUsage",
    SUBJECT_ALT_NAME: "subjectAltName",
    BASIC_CONSTRAINTS: "basicConstraints",
    "2.5.29.30": "nameConstraints",
    "2.5.29.31": "cRLDistributionPoints",
    "2.5.29.32": "certificatePolicies",
    "2.5.29.33": "policyMappings",
    "2.5.29.35": "authorityKeyIdentifier",
    "2.5.29.36": "policyConstraints",
    EXTENDED_KEY_USAGE: "extendedKeyUsage",
    "2.5.29.54": "inhibitAnyPolicy",
    "1.3.6.1.5.5.7.1.1": "authorityInfoAccess",
    "1.3.6.1.5.5.7.1.14": "proxyCertInfo",
    "1.3.6.1.5.5.7.1.24": "tlsFeature",
    "1.3.6.1.5.5.7.48.1.5": "ocspNoCheck",
    "1.3.6.1.4.1.311.20.2": "microsoftTemplateName",
    "1.3.6.1.4.1.311.21.7": "microsoftTemplate",
    "1.3.6.1.4.1.311.21.10": "microsoftApplicationPolicies",
    "1.3.6.1.4.1.311.25.2": "microsoftSecurityIdentifier",
    "2.16.840.1.113730.1.1": "netscapeCertType",
    "2.16.840.1.113730.1.13": "netscapeComment",
}

POWERFUL_EXTENSIONS = frozenset(
    {
        "2.5.29.30",  # name constraints, policy mappings and constraints, inhibit-any: a CA's
        "2.5.29.32",  # an issuance policy can be linked to a group (ESC13)
        "2.5.29.33",
        "2.5.29.36",
        "2.5.29.54",
        "1.3.6.1.5.5.7.1.14",
        "1.3.6.1.5.5.7.48.1.5",  # an OCSP responder that nobody can revoke
        "1.3.6.1.4.1.311.21.10",  # application policies overrule the EKU in AD (ESC15)
        "1.3.6.1.4.1.311.25.2",  # who one is to a domain controller
    }
)
"""Extensions that would give a certificate more power than its profile says."""

REQUEST_ATTRIBUTE_NAMES: dict[str, str] = {
    "1.2.840.113549.1.9.2": "unstructuredName",
    "1.2.840.113549.1.9.7": "challengePassword",
    "1.2.840.113549.1.9.8": "unstructuredAddress",
    "1.3.6.1.4.1.311.13.2.1": "microsoftEnrollmentNameValue",
    "1.3.6.1.4.1.311.13.2.3": "microsoftOsVersion",
    "1.3.6.1.4.1.311.21.20": "microsoftRequestClientInfo",
    "1.3.6.1.4.1.311.13.2.2": "microsoftEnrollmentCsp",
}


def name_of(oid: str, names: dict[str, str]) -> str:
    """Return the word for an object identifier, or the dotted form."""
    return names.get(oid, oid)
