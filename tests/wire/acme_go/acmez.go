package main

import (
	"context"
	"errors"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// dnsSolver puts what the library makes for a challenge into DNS.
type dnsSolver struct {
	given   settings
	account *acme.Account
}

func (s dnsSolver) Present(_ context.Context, challenge acme.Challenge) error {
	switch challenge.Type {
	case acme.ChallengeTypeDNSAccount01:
		return publish(s.given, challenge.DNSAccount01TXTRecordName(*s.account), challenge.DNS01KeyAuthorization())
	case acme.ChallengeTypeDNSPersist01:
		text := challenge.DNSPersist01TXTRecordValue(*s.account, challenge.IssuerDomainNames[0], true)
		return publish(s.given, challenge.DNSPersist01TXTRecordName(), text)
	default:
		return publish(s.given, challenge.DNS01TXTRecordName(), challenge.DNS01KeyAuthorization())
	}
}

func (dnsSolver) CleanUp(context.Context, acme.Challenge) error { return nil }

func register(ctx context.Context, client *acmez.Client) acme.Account {
	wanted := acme.Account{TermsOfServiceAgreed: true, PrivateKey: newKey()}
	return must(client.NewAccount(ctx, wanted))
}

func obtain(ctx context.Context, client *acmez.Client, account acme.Account, wanted acmez.OrderParameters, names ...string) acme.Certificate {
	own := must(acmez.OrderParametersFromCSR(account, must(acmez.NewCSR(newKey(), names))))
	own.Profile, own.Replaces = wanted.Profile, wanted.Replaces
	return must(client.ObtainCertificate(ctx, own))[0]
}

func problemOf(err error) string {
	var problem acme.Problem
	if errors.As(err, &problem) {
		return problem.Type
	}
	panic(err)
}

func acmezLife(ctx context.Context, given settings) findings {
	var account acme.Account
	client := &acmez.Client{
		Client:           &acme.Client{Directory: given.Directory, HTTPClient: trusting(given)},
		ChallengeSolvers: map[string]acmez.Solver{given.Challenge: dnsSolver{given, &account}},
	}
	account = register(ctx, client)
	directory := must(client.GetDirectory(ctx))

	first := obtain(ctx, client, account, acmez.OrderParameters{Profile: "short"}, given.Name)
	replaced := leafOf(first.ChainPEM)
	second := obtain(ctx, client, account, acmez.OrderParameters{Replaces: replaced}, given.Name, "*."+given.Name)

	identifiers := []acme.Identifier{{Type: "dns", Value: given.Name}}
	number := must(acme.ARIUniqueIdentifier(replaced))
	_, again := client.NewOrder(ctx, account, acme.Order{Identifiers: identifiers, Replaces: number})
	account = must(client.AccountKeyRollover(ctx, account, newKey()))
	must(struct{}{}, client.RevokeCertificate(ctx, account, replaced, nil, acme.ReasonSuperseded))
	after := must(client.GetRenewalInfo(ctx, replaced))
	return findings{
		"profiles":     directory.Meta.Profiles,
		"certificates": []string{string(first.ChainPEM), string(second.ChainPEM)},
		"window":       first.RenewalInfo.SuggestedWindow,
		"again":        problemOf(again),
		"revoked":      after.SuggestedWindow,
	}
}
