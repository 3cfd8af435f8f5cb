package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"net"
	"os"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-attestation/attest"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// channel is a TPM behind a socket.
type channel struct{ net.Conn }

func (channel) MeasurementLog() ([]byte, error) { return nil, nil }

func open(given settings) *attest.TPM {
	socket := must(net.Dial("unix", given.TPM))
	return must(attest.OpenTPM(&attest.OpenConfig{CommandChannel: channel{socket}}))
}

// attestationKey makes a key that says what the TPM knows of other keys, and leaves it in a file for later.
func attestationKey(_ context.Context, given settings) findings {
	tpm := open(given)
	defer tpm.Close()
	made := must(tpm.NewAK(&attest.AKConfig{Algorithm: attest.Algorithm(given.Algorithm)}))
	defer made.Close(tpm)
	must(struct{}{}, os.WriteFile(given.Blob, must(made.Marshal()), 0o600))
	return findings{"public": encodePublic(made.Public())}
}

// tpmDevice attests for challenges, and makes the CSR with the key that it attested.
type tpmDevice struct {
	given  settings
	tpm    *attest.TPM
	signer *attest.AK
	key    *attest.Key
}

func (*tpmDevice) Present(context.Context, acme.Challenge) error { return nil }
func (*tpmDevice) CleanUp(context.Context, acme.Challenge) error { return nil }

// Payload makes a key in the TPM and returns what the TPM says of it.
func (d *tpmDevice) Payload(_ context.Context, challenge acme.Challenge) (any, error) {
	digest := sha256.Sum256([]byte(challenge.KeyAuthorization))
	other := map[string]attest.Algorithm{"RSA": attest.ECDSA, "ECDSA": attest.RSA}[d.given.Algorithm]
	config := &attest.KeyConfig{Algorithm: other, Size: other.Size(), QualifyingData: digest[:]}
	var err error
	if d.key, err = d.tpm.NewKey(d.signer, config); err != nil {
		return nil, err
	}
	said := d.key.CertificationParameters()
	statement, err := cbor.Marshal(map[string]any{"fmt": "tpm", "attStmt": map[string]any{
		"ver":      "2.0",
		"alg":      map[string]int{"RSA": -257, "ECDSA": -7}[d.given.Algorithm],
		"x5c":      d.given.X5C,
		"sig":      said.CreateSignature,
		"certInfo": said.CreateAttestation,
		"pubArea":  said.Public,
	}})
	return map[string]string{"attObj": base64.RawURLEncoding.EncodeToString(statement)}, err
}

// CSR asks for the device's name, with the key in the TPM.
func (d *tpmDevice) CSR(_ context.Context, identifiers []acme.Identifier) (*x509.CertificateRequest, error) {
	signer, err := d.key.Private(d.key.Public())
	if err != nil {
		return nil, err
	}
	template := x509.CertificateRequest{
		Subject:         pkix.Name{CommonName: d.given.Name},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: permanentIdentifier(d.given.Name)}},
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, signer.(crypto.Signer))
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificateRequest(der)
}

// permanentIdentifier returns a subjectAltName with one PermanentIdentifier (RFC 4043).
func permanentIdentifier(name string) []byte {
	type otherName struct {
		Type  asn1.ObjectIdentifier
		Value struct {
			Name string `asn1:"utf8"`
		} `asn1:"explicit,tag:0"`
	}
	type names struct {
		Other otherName `asn1:"tag:0"`
	}
	wanted := names{Other: otherName{Type: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 3}}}
	wanted.Other.Value.Name = name
	return must(asn1.Marshal(wanted))
}

func device(ctx context.Context, given settings) findings {
	tpm := open(given)
	defer tpm.Close()
	signer := must(tpm.LoadAK(must(os.ReadFile(given.Blob))))
	defer signer.Close(tpm)
	own := &tpmDevice{given: given, tpm: tpm, signer: signer}
	client := &acmez.Client{
		Client:           &acme.Client{Directory: given.Directory, HTTPClient: trusting(given)},
		ChallengeSolvers: map[string]acmez.Solver{acme.ChallengeTypeDeviceAttest01: own},
	}
	wanted := acmez.OrderParameters{
		Account:     register(ctx, client),
		Identifiers: []acme.Identifier{{Type: "permanent-identifier", Value: given.Name}},
		CSR:         own,
	}
	chains, err := client.ObtainCertificate(ctx, wanted)
	if own.key != nil {
		defer own.key.Close()
	}
	if err != nil {
		return findings{"refused": err.Error()}
	}
	return findings{"certificates": []string{string(chains[0].ChainPEM)}, "public": encodePublic(own.key.Public())}
}
