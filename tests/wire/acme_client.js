// What the npm package acme-client is told to do: settings in JSON on the command line, findings on stdout.
'use strict';

const { execFileSync } = require('node:child_process');
const http = require('node:http');
const tls = require('node:tls');

const settings = JSON.parse(process.argv[2]);
const acme = require(settings.module);

const KEYS = {
    'RSA': () => acme.crypto.createPrivateRsaKey(2048),
    'P-256': () => acme.crypto.createPrivateEcdsaKey('P-256'),
    'P-384': () => acme.crypto.createPrivateEcdsaKey('P-384'),
};
const tokens = new Map();
const certificates = new Map();

function listen(server, port) {
    return new Promise((resolve) => server.listen(port, '127.0.0.1', () => resolve(server)));
}

const answers = {
    'http-01': (authz, challenge, text) => tokens.set(`/.well-known/acme-challenge/${challenge.token}`, text),
    'dns-01': (authz, challenge, text) => execFileSync(settings.hook, [authz.identifier.value, text]),
    'tls-alpn-01': async (authz, challenge, text) => {
        const [key, cert] = await acme.crypto.createAlpnCertificate(authz, text);
        certificates.set(authz.identifier.value, tls.createSecureContext({ key, cert }));
    },
};

async function issue(client, type, names, key) {
    const [, csr] = await acme.crypto.createCsr({ altNames: names }, key);
    return client.auto({
        csr,
        termsOfServiceAgreed: true,
        email: 'pki@example.com',
        skipChallengeVerification: true, // its own check asks the system's resolver
        challengePriority: [type],
        challengeCreateFn: (authz, challenge, text) => answers[challenge.type](authz, challenge, text),
        challengeRemoveFn: async () => {},
    });
}

async function refusal(work) {
    try {
        await work;
        return '';
    }
    catch (error) {
        return error.message;
    }
}

async function live() {
    const client = new acme.Client({
        directoryUrl: settings.directory,
        accountKey: await KEYS[settings.key](),
        externalAccountBinding: settings.eab ? { kid: settings.eab[0], hmacKey: settings.eab[1] } : undefined,
        backoffMin: 100,
        backoffMax: 1000,
    });
    const found = { certificates: [] };
    for (const [type, names] of Object.entries(settings.names)) {
        const key = await acme.crypto.createPrivateEcdsaKey();
        found.certificates.push(await issue(client, type, names, key));
    }
    found.contact = (await client.updateAccount({ contact: ['mailto:ca@example.com'] })).contact;
    await client.updateAccountKey(await KEYS[settings.key]());
    const [name] = settings.names['http-01'];
    found.certificates.push(await issue(client, 'http-01', [name], await acme.crypto.createPrivateRsaKey()));
    const order = await client.createOrder({ identifiers: [{ type: 'dns', value: name }] });
    const [authorization] = await client.getAuthorizations(order);
    found.authorization = (await client.deactivateAuthorization(authorization)).status;
    found.lost = (await client.getOrder(order)).status;
    const names = [name, 'node.google.com'].map((value) => ({ type: 'dns', value }));
    found.forbidden = await refusal(client.createOrder({ identifiers: names }));
    for (const pem of found.certificates) {
        await client.revokeCertificate(acme.crypto.splitPemChain(pem)[0], { reason: 4 });
    }
    found.ended = (await client.updateAccount({ status: 'deactivated' })).status;
    found.after = await refusal(client.getOrder(order));
    return found;
}

async function main() {
    const servers = [
        await listen(http.createServer((request, response) => {
            response.statusCode = tokens.has(request.url) ? 200 : 404;
            response.end(tokens.get(request.url));
        }), settings.http),
        await listen(tls.createServer({
            ALPNProtocols: ['acme-tls/1'],
            SNICallback: (name, done) => done(null, certificates.get(name)),
        }), settings.tls),
    ];
    servers[1].on('tlsClientError', () => {});
    try {
        console.log(JSON.stringify(await live()));
    }
    finally {
        servers.forEach((server) => server.close());
        servers[0].closeAllConnections();
    }
}

main().catch((error) => {
    console.error(error);
    process.exit(1);
});
