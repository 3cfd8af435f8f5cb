package main

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"

	"golang.org/x/crypto/acme"
)

func requestFor(name string) []byte {
	template := x509.CertificateRequest{DNSNames: []string{name}}
	return must(x509.CreateCertificateRequest(rand.Reader, &template, newKey()))
}

func typeOf(err error) string {
	var problem *acme.Error
	if errors.As(err, &problem) {
		return problem.ProblemType
	}
	panic(err)
}

// authorizeByDNS shows control over a name before there is an order.
func authorizeByDNS(ctx context.Context, client *acme.Client, given settings) *acme.Authorization {
	made := must(client.Authorize(ctx, given.Name))
	for _, challenge := range made.Challenges {
		if challenge.Type == "dns-01" {
			text := must(client.DNS01ChallengeRecord(challenge.Token))
			must(struct{}{}, publish(given, "_acme-challenge."+given.Name, text))
			must(client.Accept(ctx, challenge))
		}
	}
	return must(client.WaitAuthorization(ctx, made.URI))
}

func cryptoLife(ctx context.Context, given settings) findings {
	client := &acme.Client{DirectoryURL: given.Directory, HTTPClient: trusting(given), Key: newKey()}
	must(client.Register(ctx, &acme.Account{}, acme.AcceptTOS))
	before := authorizeByDNS(ctx, client, given)
	order := must(client.AuthorizeOrder(ctx, acme.DomainIDs(given.Name)))
	chain, url, err := client.CreateOrderCert(ctx, order.FinalizeURL, requestFor(given.Name), true)
	must(chain, err)
	alternates := must(client.ListCertAlternates(ctx, url))

	must(struct{}{}, client.AccountKeyRollover(ctx, newKey()))
	contact := must(client.UpdateReg(ctx, &acme.Account{Contact: []string{"mailto:pki@example.com"}})).Contact
	must(struct{}{}, client.RevokeAuthorization(ctx, before.URI))
	_, lost := client.AuthorizeOrder(ctx, acme.DomainIDs(given.Name, "go.google.com"))
	must(struct{}{}, client.RevokeCert(ctx, nil, chain[0], acme.CRLReasonSuperseded))
	givenBack := must(client.GetAuthorization(ctx, before.URI)).Status
	must(struct{}{}, client.DeactivateReg(ctx))
	_, gone := client.AuthorizeOrder(ctx, acme.DomainIDs(given.Name))

	certificate := ""
	for _, der := range chain {
		certificate += encode("CERTIFICATE", der)
	}
	return findings{
		"before":       before.Status,
		"order":        order.Status,
		"certificates": []string{certificate},
		"alternates":   len(alternates),
		"contact":      contact,
		"forbidden":    typeOf(lost),
		"given back":   givenBack,
		"gone":         typeOf(gone),
	}
}
