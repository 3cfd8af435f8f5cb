// What libraries for Go are told to do: SETTINGS in JSON on the command line, findings in JSON on stdout.
package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"time"
)

type settings struct {
	Do        string   `json:"do"`
	Directory string   `json:"directory"`
	Root      string   `json:"root"`
	Records   string   `json:"records"` // a TXT record a line
	Name      string   `json:"name"`
	Challenge string   `json:"challenge"`
	TPM       string   `json:"tpm"` // a socket
	Blob      string   `json:"blob"`
	Algorithm string   `json:"algorithm"`
	X5C       [][]byte `json:"x5c"`
}

type findings map[string]any

func main() {
	var given settings
	must(struct{}{}, json.Unmarshal([]byte(os.Args[1]), &given))
	work := map[string]func(context.Context, settings) findings{
		"acmez":           acmezLife,
		"x/crypto":        cryptoLife,
		"attestation key": attestationKey,
		"device":          device,
	}[given.Do]
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	must(struct{}{}, json.NewEncoder(os.Stdout).Encode(work(ctx, given)))
}

// must returns the value; an error is the end.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func newKey() *ecdsa.PrivateKey {
	return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
}

// trusting returns an HTTP client that trusts one root.
func trusting(given settings) *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(must(os.ReadFile(given.Root)))
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
}

// publish adds a TXT record.
func publish(given settings, name, text string) error {
	file, err := os.OpenFile(given.Records, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = fmt.Fprintf(file, "%s. %s\n", name, text)
	return err
}

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func encodePublic(key crypto.PublicKey) string {
	return encode("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(key)))
}

func leafOf(chain []byte) *x509.Certificate {
	block, _ := pem.Decode(chain)
	return must(x509.ParseCertificate(block.Bytes))
}
